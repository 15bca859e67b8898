"""A run folder opened for writing: its description and its ledger, read once and kept up to date in memory."""

from collections.abc import Iterable
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import OutputMismatchError
from vla_bench.core.files import Closing
from vla_bench.results.episode_record import KEY, EpisodeRecord
from vla_bench.results.errors import LedgerError
from vla_bench.results.ledger import LEDGER_NAME, Ledger
from vla_bench.results.run_info import RUN_INFO_NAME, RunInfo


class RunFolder(Closing):
    """Open the run folder at `path`, which need not exist; nothing is written before `start`.

    Raise `RunFolderError` or `LedgerError` if one of its files is damaged or belongs to something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = RunInfo.read(path) if (path / RUN_INFO_NAME).exists() else None  # None: no session began here yet
        self._ledger = Ledger(path / LEDGER_NAME) if (path / LEDGER_NAME).exists() else None
        try:
            recorded = [] if self._ledger is None else self._ledger.records()
        except BaseException:
            self.close()
            raise
        if recorded and self.info is None:  # their conditions are unknown, so that no run can continue them
            self.close()
            problem = f"it has episodes, but the folder has no {RUN_INFO_NAME} with their conditions. Restore that file"
            raise LedgerError(path / LEDGER_NAME, problem)
        self._records = {record.identity: record for record in recorded}
        self._done = {record.identity for record in recorded if record.outcome != "error"}

    @property
    def started(self) -> RunInfo:
        """The description of the run, after `start`."""
        if self.info is None:
            raise ValueError(f"No session of the run in {self.path} has been started. Call `start` first.")
        return self.info

    def missing(self, episodes: Iterable[EpisodeIdentity]) -> list[EpisodeIdentity]:
        """Return those of `episodes` that this session must still run.

        Episodes that ended in an error in earlier sessions are included: each session tries them once more.
        """
        return [episode for episode in episodes if episode not in self._done]

    def records(self) -> dict[EpisodeIdentity, EpisodeRecord]:
        """Return all records in the order of the ledger, which does not depend on the order of completion."""
        ordered = sorted(self._records.values(), key=lambda record: [getattr(record, name) for name in KEY])
        return {record.identity: record for record in ordered}

    def require_seed(self, seed: int) -> None:
        """Raise `OutputMismatchError` if recorded episodes have another base seed."""
        if others := {episode.seed for episode in self._records} - {seed}:
            raise OutputMismatchError(self.path, [f"seed: {min(others)}, then {seed}"])

    def require_same_configuration(self, info: RunInfo) -> None:
        """Raise `OutputMismatchError` if the folder holds a run of another configuration than `info`."""
        if self.info is not None and (differences := self.info.differences(info)):
            raise OutputMismatchError(self.path, differences)

    def start(self, info: RunInfo) -> None:
        """Begin the session that `info` describes: write `run.json`, and create the ledger if there is none.

        Raise `OutputMismatchError`, and write nothing, if the folder holds a run of another configuration.
        """
        self.require_same_configuration(info)
        self.info = info if self.info is None else self.info.continued_by(info)
        self.info.write(self.path)
        if self._ledger is None:
            self._ledger = Ledger(self.path / LEDGER_NAME)

    def append(self, record: EpisodeRecord) -> None:
        """Write the record of an episode to the ledger."""
        if self._ledger is None:
            raise ValueError(f"No session of the run in {self.path} has been started. Call `start` first.")
        self._ledger.append(record)
        self._records[record.identity] = record
        self._done.add(record.identity)

    def finish(self, verdict: str = "") -> None:
        """Write into `run.json` that the session ended now, and why the plan stopped early, if it did."""
        self.info = self.started.finished_now(verdict)
        self.info.write(self.path)

    def close(self) -> None:
        """Close the ledger."""
        if self._ledger is not None:
            self._ledger.close()
