"""Checkpoints of a fine-tuning run: training state, the file that a run resumes from, and the checkpoint folders.

The output folder holds the last checkpoint, and within it the best (`best`) and numbered ones (`step-000100`).
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from vla_bench.core.errors import CheckpointError
from vla_bench.core.files import written_whole
from vla_bench.models.openvla.checkpoint import atomic_folder
from vla_bench.training.distributed import ProcessGroup
from vla_bench.training.validation import Validation

# ~ What changes while a network is trained, and what is told of it.

_LOSS_SMOOTHING = 0.95  # of the reported loss


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
        self.loss = loss if self.loss is None else _LOSS_SMOOTHING * self.loss + (1 - _LOSS_SMOOTHING) * loss
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
        return _validation_of_entry(self.history[-1]) if self.history else None

    @property
    def best_validation(self) -> Validation | None:
        """The validation with the least action error."""
        return next((_validation_of_entry(entry) for entry in self.history if entry["step"] == self.best_step), None)


@dataclass(frozen=True)
class StepResult:
    """Means over the samples of one optimiser step; NaN where they were not measured."""

    loss: float
    gradient_norm: float
    action_l1: float
    token_accuracy: float


def _validation_of_entry(entry: dict[str, Any]) -> Validation | None:
    return None if entry["validation"] is None else Validation(**entry["validation"])


# ~ What a run that was stopped goes on from: state, trained weights, optimiser and random numbers, in one file.


def save_training_state(
    path: Path,
    state: TrainingState,
    weights: Mapping[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    processes: ProcessGroup,
    device: torch.device,
) -> None:
    """Write what a resumed run needs; every process adds its random numbers."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    random = processes.gathered((torch.get_rng_state(), cuda))
    if not processes.is_main:
        return
    content = {
        "state": asdict(state),
        "weights": {name: value.detach().cpu() for name, value in weights.items()},
        "optimiser": optimiser.state_dict(),
        "random": random,
    }
    with written_whole(path) as temporary:
        torch.save(content, temporary)


def restore_training_state(
    path: Path,
    weights: Mapping[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    processes: ProcessGroup,
    device: torch.device,
) -> TrainingState:
    """Return the state in `path`, with weights, optimiser and random numbers as they were.

    Raises `CheckpointError` for a file that is damaged, of another network or of another number of processes.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        with torch.no_grad():
            for name, value in weights.items():
                value.copy_(content["weights"][name])
        optimiser.load_state_dict(content["optimiser"])
        state = TrainingState(**content["state"])
        random = content["random"]
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, OSError, UnpicklingError) as error:
        raise CheckpointError(path, f"cannot be resumed ({error}); delete it to start anew") from error
    if len(random) != processes.count:
        problem = f"it was trained by {len(random)} processes, and is resumed by {processes.count}"
        raise CheckpointError(path, f"{problem}; start as many, or delete it to start anew")
    host, cuda = random[processes.rank]
    torch.set_rng_state(host)
    if cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(cuda, device)
    return state


# ~ What a run leaves in its output folder: the last checkpoint, and within it the best and numbered ones.

BEST_FOLDER = "best"
_STEP_PREFIX = "step-"


def write_checkpoint(output: Path, write: Callable[[Path], None], *, step: int, is_best: bool, numbered: int) -> None:
    """Put what `write` writes into `output` in place of the last checkpoint, whole or not at all.

    Where it is the best so far it is `output/best` too; the newest `numbered` ones stay as `output/step-...`. Equal
    files are one on the disk (hard links) where the file system has them.
    """
    with atomic_folder(output) as folder:
        write(folder)
        files = list(folder.iterdir())
        copies = [BEST_FOLDER] if is_best else []
        copies += [f"{_STEP_PREFIX}{step:06d}"] if numbered else []
        for name in copies:
            (folder / name).mkdir()
            for file in files:
                _link_or_copy(str(file), str(folder / name / file.name))
        for name in _retained_checkpoints(output, numbered - 1, without=copies):
            shutil.copytree(output / name, folder / name, copy_function=_link_or_copy)


def _retained_checkpoints(output: Path, numbered: int, without: list[str]) -> list[str]:
    """Return the names of the earlier checkpoints that stay."""
    if not output.is_dir():
        return []
    names = sorted(path.name for path in output.iterdir() if path.is_dir() and path.name not in without)
    steps = [name for name in names if name.startswith(_STEP_PREFIX)]
    return [name for name in names if name == BEST_FOLDER] + steps[len(steps) - max(0, numbered) :]


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
    return target
