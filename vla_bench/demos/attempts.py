"""Finished demonstrations of an unfinished file, and the work of a collection worker."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import DemonstrationFileError, OutputMismatchError
from vla_bench.core.files import written_whole
from vla_bench.demos.demonstration import Demonstration
from vla_bench.demos.devices import DeviceStoppedError
from vla_bench.demos.filters import without_noops
from vla_bench.demos.header import FileHeader
from vla_bench.demos.options import CollectOptions
from vla_bench.demos.recording import Recorder
from vla_bench.demos.store import DemonstrationFile
from vla_bench.demos.writing import StoredDemonstration, write_part

# ~ Finished demonstrations of an unfinished file: a file each, so that nothing finished is ever lost.


@dataclass(frozen=True)
class Attempt:
    """One finished attempt at a task."""

    success: bool
    source: StoredDemonstration | None  # where it is kept; failures need not be


@dataclass
class Attempts:
    """Every finished attempt of a collection: `suite.task` -> index -> attempt."""

    by_task: dict[str, dict[int, Attempt]] = field(default_factory=lambda: defaultdict(dict))

    def outcomes(self, task_id: str) -> dict[int, bool]:
        """Return index -> success of one task."""
        return {index: attempt.success for index, attempt in self.by_task[task_id].items()}

    def source(self, task_id: str, index: int) -> StoredDemonstration | None:
        """Return where an attempt is kept."""
        return self.by_task[task_id][index].source


class PartialFiles:
    """The folder `<output>.parts` beside an output."""

    def __init__(self, output: Path) -> None:
        self.folder = output.with_name(f"{output.name}.parts")
        self._configuration = self.folder / "configuration.json"

    def begin(self, configuration: Mapping[str, Any]) -> None:
        """Make the folder, or go on with one of the same configuration; raise `OutputMismatchError` otherwise."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*.tmp*"):  # of a process that was killed while writing
            leftover.unlink()
        if self._configuration.is_file() and self._has_attempts():
            require_same_configuration(self.folder, json.loads(self._configuration.read_text()), configuration)
            return
        with written_whole(self._configuration) as temporary:
            temporary.write_text(json.dumps(configuration, indent=2))

    def _has_attempts(self) -> bool:
        """Whether an attempt was finished; a folder without one binds nobody to its options."""
        return any(path.suffix in (".hdf5", ".failed") for path in self.folder.iterdir())

    def write(self, header: FileHeader, demonstration: Demonstration, name: str = "") -> None:
        """Write a finished demonstration under a name, by default that of its episode."""
        write_part(self.folder / f"{name or _part_name(demonstration.identity)}.hdf5", header, demonstration)

    def write_failure(self, identity: EpisodeIdentity) -> None:
        """Note a failed attempt that is not kept, so that it is not made again."""
        with written_whole(self.folder / f"{_part_name(identity)}.failed") as temporary:
            temporary.touch()

    def finished(self) -> dict[str, StoredDemonstration]:
        """Return name -> where it lies, sorted; a part that cannot be read is deleted, so that it is made again."""
        found: dict[str, StoredDemonstration] = {}
        for path in sorted(self.folder.glob("*.hdf5")):
            try:
                with DemonstrationFile(path) as part:
                    part.summary("demo_0")
            except DemonstrationFileError:
                path.unlink()
                continue
            found[path.stem] = StoredDemonstration(path, "demo_0")
        return found

    def attempts(self) -> Attempts:
        """Return the finished attempts of a collection."""
        found = Attempts()
        for path in sorted(self.folder.glob("*.failed")):
            task_id, index = path.stem.rsplit("-", 1)
            found.by_task[task_id][int(index)] = Attempt(False, None)
        for source in self.finished().values():
            with DemonstrationFile(source.path) as part:
                summary = part.summary(source.name)
            found.by_task[summary.identity.task_id][summary.identity.index] = Attempt(summary.success, source)
        return found

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def read_attempts(output: Path, configuration: Mapping[str, Any], wanted: int) -> tuple[Attempts, int]:
    """Return the attempts that a finished file holds, and how many of each task it was made for.

    What filters left out counts as done only where as many are `wanted` as then: among more it may stay.
    Raise `OutputMismatchError` where it was made with another configuration, `DemonstrationFileError` where it is not
    a demonstration file at all.
    """
    found = Attempts()
    with DemonstrationFile(output) as file:
        collection = file.header.collection
        if "configuration" not in collection:
            raise OutputMismatchError(output, ["it was not collected from experts"])
        require_same_configuration(output, collection["configuration"], configuration)
        for name in file.names:
            summary = file.summary(name)
            identity = summary.identity
            found.by_task[identity.task_id][identity.index] = Attempt(
                summary.success, StoredDemonstration(output, name)
            )
        for task_id, indices in collection["failed"].items():
            for index in indices:
                found.by_task[task_id].setdefault(index, Attempt(False, None))
        if wanted == int(collection["episodes"]):
            for task_id, index, *_ in collection.get("dropped", ()):
                found.by_task[task_id].setdefault(index, Attempt(True, None))
    return found, int(collection["episodes"])


def require_same_configuration(path: Path, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise `OutputMismatchError` that names every difference between two configurations."""
    names = [name for name in {**there, **asked} if there.get(name) != asked.get(name)]
    if names:
        raise OutputMismatchError(path, [f"{name} {there.get(name)}, not {asked.get(name)}" for name in names])


def _part_name(identity: EpisodeIdentity) -> str:
    return f"{identity.task_id}-{identity.index:06d}"


# ~ What a worker process does for a collection: it records an episode and keeps it as a part.

RecorderFactory = Callable[[CollectOptions], Recorder]


@dataclass(frozen=True)
class AttemptResult:
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

    def __call__(self) -> Callable[[EpisodeIdentity], AttemptResult]:
        """Return what records and keeps one episode."""
        record, parts = self.recorder(self.options), PartialFiles(self.options.output)

        def attempt(identity: EpisodeIdentity) -> AttemptResult:
            try:
                demonstration = record(identity)
            except DeviceStoppedError:
                return AttemptResult(False, 0, None, stopped=True)
            header = record.header()
            if self.options.filters.noops is not None:
                demonstration = without_noops(demonstration, self.options.filters.noops)
            if demonstration.success or self.options.stores_failures:
                parts.write(header, record.complete(demonstration))
            else:
                parts.write_failure(identity)
            return AttemptResult(demonstration.success, demonstration.steps, header)

        return attempt
