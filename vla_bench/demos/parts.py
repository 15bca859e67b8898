"""Finished demonstrations of an unfinished collection: one file each, so that nothing finished is ever lost."""

import json
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import DemonstrationFileError, OutputMismatchError
from vla_bench.core.paths import written_whole
from vla_bench.demos.demonstration import Demonstration
from vla_bench.demos.header import FileHeader
from vla_bench.demos.store import DemonstrationFile
from vla_bench.demos.writing import Source, write_part


@dataclass(frozen=True)
class Attempt:
    """One finished attempt at a task."""

    success: bool
    source: Source | None  # where it is kept; failures need not be


@dataclass
class Attempts:
    """Every finished attempt of a collection: task name -> index -> attempt."""

    by_task: dict[str, dict[int, Attempt]] = field(default_factory=lambda: defaultdict(dict))

    def outcomes(self, task: str) -> dict[int, bool]:
        """Return index -> success of one task."""
        return {index: attempt.success for index, attempt in self.by_task[task].items()}

    def source(self, task: str, index: int) -> Source | None:
        """Return where an attempt is kept."""
        return self.by_task[task][index].source


class Parts:
    """The folder `<output>.parts` beside the output of a collection."""

    def __init__(self, output: Path) -> None:
        self.folder = output.with_name(f"{output.name}.parts")
        self._configuration = self.folder / "configuration.json"

    def begin(self, configuration: Mapping[str, Any]) -> None:
        """Make the folder, or go on with one of the same configuration; raise `OutputMismatchError` otherwise."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*.tmp*"):  # of a process that was killed while writing
            leftover.unlink()
        if self._configuration.is_file():
            check_same(self.folder, json.loads(self._configuration.read_text()), configuration)
            return
        with written_whole(self._configuration) as temporary:
            temporary.write_text(json.dumps(configuration, indent=2))

    def keep(self, header: FileHeader, demonstration: Demonstration) -> None:
        """Write a finished demonstration."""
        write_part(self._path(demonstration.identity, "hdf5"), header, demonstration)

    def note_failure(self, identity: EpisodeIdentity) -> None:
        """Note a failed attempt that is not kept, so that it is not made again."""
        with written_whole(self._path(identity, "failed")) as temporary:
            temporary.touch()

    def finished(self) -> Attempts:
        """Return what is there; a part that cannot be read is deleted, so that it is made again."""
        found = Attempts()
        for path in sorted(self.folder.glob("*.failed")):
            task, index = path.stem.rsplit("-", 1)
            found.by_task[task][int(index)] = Attempt(False, None)
        for path in sorted(self.folder.glob("*.hdf5")):
            try:
                with DemonstrationFile(path) as part:
                    summary = part.summary("demo_0")
            except DemonstrationFileError:
                path.unlink()
                continue
            identity = summary.identity
            found.by_task[identity.task][identity.index] = Attempt(summary.success, Source(path, "demo_0"))
        return found

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, identity: EpisodeIdentity, ending: str) -> Path:
        return self.folder / f"{identity.task}-{identity.index:06d}.{ending}"


def attempts_in(output: Path, configuration: Mapping[str, Any]) -> tuple[Attempts, int]:
    """Return the attempts that a finished file holds, and how many successes of each task it was made for.

    Raise `OutputMismatchError` where it was made with another configuration, `DemonstrationFileError` where it is not
    a demonstration file at all.
    """
    found = Attempts()
    with DemonstrationFile(output) as file:
        collection = file.header.collection
        if "configuration" not in collection:
            raise OutputMismatchError(output, ["it was not collected from experts"])
        check_same(output, collection["configuration"], configuration)
        for name in file.names:
            summary = file.summary(name)
            identity = summary.identity
            found.by_task[identity.task][identity.index] = Attempt(summary.success, Source(output, name))
        for task, indices in collection["failed"].items():
            for index in indices:
                found.by_task[task].setdefault(index, Attempt(False, None))
    return found, int(collection["episodes"])


def check_same(path: Path, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise `OutputMismatchError` that names every difference between two configurations."""
    names = [name for name in {**there, **asked} if there.get(name) != asked.get(name)]
    if names:
        raise OutputMismatchError(path, [f"{name} {there.get(name)}, not {asked.get(name)}" for name in names])
