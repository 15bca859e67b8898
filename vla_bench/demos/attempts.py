"""Attempts of a collection: finished demonstrations of an unfinished file, and the work of a collection worker."""

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


@dataclass(frozen=True)
class Attempt:
    """One finished attempt at a task."""

    success: bool
    stored: StoredDemonstration | None  # None for an attempt whose demonstration was not stored


@dataclass
class Attempts:
    """All finished attempts of a collection."""

    by_task: dict[str, dict[int, Attempt]] = field(default_factory=lambda: defaultdict(dict))  # `suite.task` -> index

    def outcomes(self, task_id: str) -> dict[int, bool]:
        """Return index -> success of one task."""
        return {index: attempt.success for index, attempt in self.by_task[task_id].items()}

    def stored(self, task_id: str, index: int) -> StoredDemonstration | None:
        """Return the stored demonstration of an attempt; None where it was not stored."""
        return self.by_task[task_id][index].stored


class PartialFiles:
    """The folder `<output>.parts` of an unfinished output: one file for each finished demonstration.

    Nothing that was finished is lost when the process ends.
    """

    def __init__(self, output: Path) -> None:
        self.folder = output.with_name(f"{output.name}.parts")
        self._configuration = self.folder / "configuration.json"

    def begin(self, configuration: Mapping[str, Any]) -> None:
        """Create the folder, or resume one of the same configuration; raise `OutputMismatchError` otherwise."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*.tmp*"):  # of a process that was killed while writing
            leftover.unlink()
        if self._configuration.is_file() and self._has_attempts():
            require_same_configuration(self.folder, json.loads(self._configuration.read_text()), configuration)
            return
        with written_whole(self._configuration) as temporary:
            temporary.write_text(json.dumps(configuration, indent=2))

    def _has_attempts(self) -> bool:
        """Return whether an attempt was finished; a folder without one may be used with other options."""
        return any(path.suffix in (".hdf5", ".failed") for path in self.folder.iterdir())

    def write(self, header: FileHeader, demonstration: Demonstration, name: str = "") -> None:
        """Write a finished demonstration under `name`, by default the name of its episode."""
        write_part(self.folder / f"{name or _part_name(demonstration.identity)}.hdf5", header, demonstration)

    def write_failure(self, identity: EpisodeIdentity) -> None:
        """Record a failed attempt whose demonstration is not stored, so that it is not repeated."""
        with written_whole(self.folder / f"{_part_name(identity)}.failed") as temporary:
            temporary.touch()

    def finished(self) -> dict[str, StoredDemonstration]:
        """Return name -> finished demonstration, sorted by name.

        A part that cannot be read is deleted, so that it is made again.
        """
        found: dict[str, StoredDemonstration] = {}
        for path in sorted(self.folder.glob("*.hdf5")):
            try:
                with DemonstrationFile(path) as part:
                    found[path.stem] = StoredDemonstration(path, "demo_0", part.summary("demo_0"))
            except DemonstrationFileError:
                path.unlink()
        return found

    def attempts(self) -> Attempts:
        """Return the finished attempts of a collection."""
        found = Attempts()
        for path in sorted(self.folder.glob("*.failed")):
            task_id, index = path.stem.rsplit("-", 1)
            found.by_task[task_id][int(index)] = Attempt(False, None)
        for stored in self.finished().values():
            identity = stored.summary.identity
            found.by_task[identity.task_id][identity.index] = Attempt(stored.summary.success, stored)
        return found

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def read_attempts(output: Path, configuration: Mapping[str, Any], wanted: int) -> tuple[Attempts, int]:
    """Return the attempts that a finished file holds, and the number of episodes of each task it was made for.

    Demonstrations that filters dropped count as done only where `wanted` is that number: in a larger collection the
    filters may accept them.

    Raises:
        OutputMismatchError: the file was made with another configuration.
        DemonstrationFileError: the file is not a demonstration file.
    """
    found = Attempts()
    with DemonstrationFile(output) as file:
        collection = file.header.collection
        if "configuration" not in collection:
            raise OutputMismatchError(output, ["it was not collected from experts"])
        require_same_configuration(output, collection["configuration"], configuration)
        for name in file.names:
            summary = file.summary(name)
            stored = StoredDemonstration(output, name, summary)
            found.by_task[summary.identity.task_id][summary.identity.index] = Attempt(summary.success, stored)
        for task_id, indices in collection["failed"].items():
            for index in indices:
                found.by_task[task_id].setdefault(index, Attempt(False, None))
        if wanted == int(collection["episodes"]):
            for task_id, index, *_ in collection.get("dropped", ()):
                found.by_task[task_id].setdefault(index, Attempt(True, None))
    return found, int(collection["episodes"])


def require_same_configuration(path: Path, stored: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """Raise `OutputMismatchError` that names every difference between two configurations."""
    names = [name for name in {**stored, **requested} if stored.get(name) != requested.get(name)]
    if names:
        raise OutputMismatchError(path, [f"{name} {stored.get(name)}, not {requested.get(name)}" for name in names])


RecorderFactory = Callable[[CollectOptions], Recorder]


@dataclass(frozen=True)
class AttemptResult:
    """Result of one attempt."""

    success: bool
    steps: int
    header: FileHeader | None  # None where nothing was recorded
    stopped: bool = False  # by the person at the device


@dataclass(frozen=True)
class RecordingFactory:
    """Factory of a worker's recording function; it is pickled to the worker process, which creates the recorder."""

    options: CollectOptions
    recorder: RecorderFactory

    def __call__(self) -> Callable[[EpisodeIdentity], AttemptResult]:
        """Return the function that records and stores one episode."""
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


def _part_name(identity: EpisodeIdentity) -> str:
    return f"{identity.task_id}-{identity.index:06d}"
