"""What a worker process does for a collection: it records an episode and keeps it as a part."""

from collections.abc import Callable
from dataclasses import dataclass

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.demos.devices.device import DeviceStoppedError
from vla_bench.demos.filters import without_noops
from vla_bench.demos.header import FileHeader
from vla_bench.demos.options import CollectOptions
from vla_bench.demos.parts import Parts
from vla_bench.demos.recording import Recorder

RecorderFactory = Callable[[CollectOptions], Recorder]


@dataclass(frozen=True)
class Attempted:
    """How an attempt went."""

    success: bool
    steps: int
    header: FileHeader | None  # None where there was nothing to record
    stopped: bool = False  # by the person at the device


@dataclass(frozen=True)
class RecordingFactory:
    """Goes to the worker process, where it makes the recorder."""

    options: CollectOptions
    recorder: RecorderFactory

    def __call__(self) -> Callable[[EpisodeIdentity], Attempted]:
        """Return what records and keeps one episode."""
        record, parts = self.recorder(self.options), Parts(self.options.output)

        def attempt(identity: EpisodeIdentity) -> Attempted:
            try:
                demonstration = record(identity)
            except DeviceStoppedError:
                return Attempted(False, 0, None, stopped=True)
            header = record.header()
            if self.options.filters.noops is not None:
                demonstration = without_noops(demonstration, self.options.filters.noops)
            if demonstration.success or self.options.keeps_failures:
                parts.keep(header, record.complete(demonstration))
            else:
                parts.note_failure(identity)
            return Attempted(demonstration.success, demonstration.steps, header)

        return attempt
