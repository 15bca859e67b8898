"""Weights & Biases; `WANDB_MODE=offline` keeps everything here until `wandb sync`."""

from collections.abc import Mapping
from uuid import uuid4

from vla_bench.core.errors import MissingExtraError
from vla_bench.training.trackers.base import TrackedRun, trackers


@trackers.named("wandb")
class WeightsAndBiases:
    """Log to a run that keeps its identity when training is resumed."""

    def __init__(self, run: TrackedRun) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("--tracker wandb", "wandb", "wandb") from None
        identity = run.folder / "wandb-run-id.txt"
        resumed = bool(run.first_step) and identity.is_file()
        if not resumed:
            identity.write_text(uuid4().hex[:8], encoding="utf-8")
        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=identity.read_text(encoding="utf-8"),
            resume="allow" if resumed else None,
            dir=str(run.folder),
            config=dict(run.config),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the numbers of one step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()
