"""What changes while a network is trained, and what is told of it."""

from dataclasses import asdict, dataclass, field
from typing import Any

from vla_bench.training.validation import Validation

_SMOOTHING = 0.95  # of the reported loss


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run is."""

    step: int
    steps: int
    loss: float  # smoothed
    learning_rate: float
    samples_per_s: float
    validation: Validation | None  # the latest


@dataclass
class TrainingState:
    """Everything that changes while training, apart from weights and optimiser."""

    step: int = 0
    loss: float | None = None  # smoothed
    elapsed_s: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry for each validation
    best_step: int | None = None  # of the least action error of all validations
    kept_step: int = 0  # of the last checkpoint
    stopped: bool = False  # before its last step, since nothing improved any more

    def advance(self, loss: float, seconds: float) -> None:
        """Count a step whose loss was `loss`."""
        self.loss = loss if self.loss is None else _SMOOTHING * self.loss + (1 - _SMOOTHING) * loss
        self.step += 1
        self.elapsed_s += seconds

    def validated(self, validation: Validation | None, patience: int | None) -> bool:
        """Add a validation, and return whether the network has never been better.

        The run stops once `patience` validations in a row brought nothing; None: never.
        """
        best = self.best_validation
        made = None if validation is None else asdict(validation)
        self.history.append({"step": self.step, "loss": self.loss, "validation": made})
        improved = validation is not None and (best is None or validation.action_l1 < best.action_l1)
        if improved:
            self.best_step = self.step
        since = sum(entry["step"] > (self.best_step or 0) for entry in self.history)
        self.stopped = patience is not None and validation is not None and since >= patience
        return improved

    @property
    def latest_validation(self) -> Validation | None:
        """The last validation made."""
        return _validation(self.history[-1]) if self.history else None

    @property
    def best_validation(self) -> Validation | None:
        """The validation with the least action error."""
        return next((_validation(entry) for entry in self.history if entry["step"] == self.best_step), None)


@dataclass(frozen=True)
class StepResult:
    """Means over the samples of one optimiser step; NaN where they were not measured."""

    loss: float
    gradient_norm: float
    action_l1: float
    token_accuracy: float


def _validation(entry: dict[str, Any]) -> Validation | None:
    return None if entry["validation"] is None else Validation(**entry["validation"])
