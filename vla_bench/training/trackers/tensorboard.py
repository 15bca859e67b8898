"""TensorBoard: event files that `tensorboard --logdir` shows."""

from collections.abc import Mapping

from vla_bench.core.errors import MissingExtraError
from vla_bench.training.trackers.base import TrackedRun, trackers


@trackers.named("tensorboard")
class TensorBoard:
    """Write scalars into the run's folder; a resumed run hides those of steps that it makes again."""

    def __init__(self, run: TrackedRun) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("--tracker tensorboard", "tensorboard", "tensorboard") from None
        purge = run.first_step + 1 if run.first_step else None
        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=purge)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one scalar for each number."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
