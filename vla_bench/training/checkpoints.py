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

_LOSS_SMOOTHING = 0.95  # of the reported loss: exponential moving average


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a training run."""

    step: int
    steps: int
    loss: float  # smoothed
    learning_rate: float
    samples_per_s: float
    validation: Validation | None  # the latest


@dataclass
class TrainingState:
    """The state of a training run apart from weights, optimizer and random generators."""

    step: int = 0
    loss: float | None = None  # smoothed
    elapsed_s: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per validation
    best_step: int | None = None  # with the lowest validation action error
    kept_step: int = 0  # step of the last checkpoint
    stopped: bool = False  # early, because validation no longer improved

    def advance(self, loss: float, seconds: float) -> None:
        """Count one step with its loss and duration."""
        self.loss = loss if self.loss is None else _LOSS_SMOOTHING * self.loss + (1 - _LOSS_SMOOTHING) * loss
        self.step += 1
        self.elapsed_s += seconds

    def add_validation(self, validation: Validation | None, patience: int | None) -> bool:
        """Record a validation, and return whether its action error is the lowest so far.

        The run stops after `patience` validations in a row without improvement; None: it never stops early.
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
        """The most recent validation."""
        return _validation_of_entry(self.history[-1]) if self.history else None

    @property
    def best_validation(self) -> Validation | None:
        """The validation with the lowest action error."""
        return next((_validation_of_entry(entry) for entry in self.history if entry["step"] == self.best_step), None)


@dataclass(frozen=True)
class StepResult:
    """Means over the samples of one optimizer step; NaN where not measured."""

    loss: float
    gradient_norm: float
    action_l1: float
    token_accuracy: float


def _validation_of_entry(entry: dict[str, Any]) -> Validation | None:
    return None if entry["validation"] is None else Validation(**entry["validation"])


def save_training_state(
    path: Path,
    state: TrainingState,
    weights: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    processes: ProcessGroup,
    device: torch.device,
) -> None:
    """Write the file that a run resumes from, with the random state of every process."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    random = processes.all_gather((torch.get_rng_state(), cuda))
    if not processes.is_main:
        return
    content = {
        "state": asdict(state),
        "weights": {name: value.detach().cpu() for name, value in weights.items()},
        "optimiser": optimizer.state_dict(),
        "random": random,
    }
    with written_whole(path) as temporary:
        torch.save(content, temporary)


def restore_training_state(
    path: Path,
    weights: Mapping[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
    processes: ProcessGroup,
    device: torch.device,
) -> TrainingState:
    """Return the state in `path`, and restore weights, optimizer and random generators in place.

    Raises `CheckpointError` if the file is damaged or was written for another network or number of processes.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        with torch.no_grad():
            for name, value in weights.items():
                value.copy_(content["weights"][name])
        optimizer.load_state_dict(content["optimiser"])
        state = TrainingState(**content["state"])
        random = content["random"]
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, OSError, UnpicklingError) as error:
        raise CheckpointError(
            path, f"cannot be resumed ({error}); delete it to start again from the first step"
        ) from error
    if len(random) != processes.count:
        problem = f"was written by {len(random)} processes, but {processes.count} resume it"
        raise CheckpointError(
            path, f"{problem}; start {len(random)} processes, or delete it to start again from the first step"
        )
    host, cuda = random[processes.rank]
    torch.set_rng_state(host)
    if cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(cuda, device)
    return state


BEST_FOLDER = "best"
_STEP_PREFIX = "step-"


def write_checkpoint(output: Path, write: Callable[[Path], None], *, step: int, is_best: bool, numbered: int) -> None:
    """Replace the last checkpoint in `output` atomically by the files that `write` writes.

    The best checkpoint so far is also stored as `output/best`, and the newest `numbered` ones as `output/step-...`.
    Copies are hard links if the file system supports them.
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
    """Return the folder names of the earlier checkpoints to retain."""
    if not output.is_dir():
        return []
    names = sorted(path.name for path in output.iterdir() if path.is_dir() and path.name not in without)
    steps = [name for name in names if name.startswith(_STEP_PREFIX)]
    return [name for name in names if name == BEST_FOLDER] + steps[len(steps) - max(0, numbered) :]


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # the file system has no hard links
        shutil.copy2(source, target)
    return target
