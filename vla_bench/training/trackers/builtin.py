"""Built-in trackers: none, jsonl (`metrics.jsonl`), TensorBoard and Weights & Biases.

With `WANDB_MODE=offline` Weights & Biases stores everything locally until `wandb sync`.
"""

import json
import math
from collections.abc import Mapping
from uuid import uuid4

from vla_bench.core.errors import MissingExtraError
from vla_bench.core.files import written_whole
from vla_bench.training.trackers.tracker import TrackedRun, trackers


@trackers.named("none")
class NoTracker:
    """A tracker that discards all values."""

    def __init__(self, run: TrackedRun) -> None:
        pass

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Discard the values."""

    def close(self) -> None:
        """Do nothing."""


LOG_FILE = "metrics.jsonl"


@trackers.named("jsonl")
class JsonLines:
    """Write one line per logged step; a resumed run first removes the lines of the steps that it repeats."""

    def __init__(self, run: TrackedRun) -> None:
        path = run.folder / LOG_FILE
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines if _step_of_line(line) <= run.first_step] if run.first_step else []
        with written_whole(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line with the finite values."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _step_of_line(line: str) -> float:
    """Return the step of a line; infinity for an incomplete line after a crash."""
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf


@trackers.named("tensorboard")
class TensorBoard:
    """Write scalars as event files into the run's folder; a resumed run hides those of the steps that it repeats."""

    def __init__(self, run: TrackedRun) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("--tracker tensorboard", "tensorboard", "tensorboard") from None
        purge = run.first_step + 1 if run.first_step else None
        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=purge)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one scalar per value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


@trackers.named("wandb")
class WeightsAndBiases:
    """Log to a Weights & Biases run; resumed training continues the same run."""

    def __init__(self, run: TrackedRun) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("--tracker wandb", "wandb", "wandb") from None
        run_id = run.folder / "wandb-run-id.txt"
        resumed = bool(run.first_step) and run_id.is_file()
        if not resumed:
            run_id.write_text(uuid4().hex[:8], encoding="utf-8")
        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=run_id.read_text(encoding="utf-8"),
            resume="allow" if resumed else None,
            dir=str(run.folder),
            config=dict(run.config),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of one step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Flush and finish the run."""
        self._run.finish()
