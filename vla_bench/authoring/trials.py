"""Expert trials on fresh scenes without rendering, and their store."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.files import Closing
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.experts import Expert


@dataclass(frozen=True)
class Trial:
    """Result of one episode of an expert."""

    index: int  # episode index
    success: bool
    steps: int  # control steps


def try_expert(environment: VlaBenchEnv, expert: Expert, identity: EpisodeIdentity) -> Trial:
    """Run one episode of an expert to its end."""
    environment.reset(seed=identity.scene_seed())
    world = environment.simulation.world
    expert.reset(world, identity.generator("expert"))
    steps, ended = 0, False
    while not ended:
        _, terminated, truncated, info = environment.advance(expert.act(world))
        steps, ended = steps + 1, terminated or truncated
    return Trial(identity.index, bool(info["success"]), steps)


def mean_steps(trials: Sequence[Trial]) -> float | None:
    """Return the mean length of the successful episodes, or None without any."""
    lengths = [trial.steps for trial in trials if trial.success]
    return sum(lengths) / len(lengths) if lengths else None


_SCHEMA = """
CREATE TABLE IF NOT EXISTS trials (
    subject TEXT NOT NULL, task TEXT NOT NULL, robot TEXT NOT NULL, expert TEXT NOT NULL, episode INTEGER NOT NULL,
    success INTEGER NOT NULL, steps INTEGER NOT NULL, seconds REAL NOT NULL, date TEXT NOT NULL,
    PRIMARY KEY (subject, task, robot, expert, episode)
);
CREATE TABLE IF NOT EXISTS rates (
    subject TEXT NOT NULL, task TEXT NOT NULL, robot TEXT NOT NULL,
    per_minute REAL NOT NULL, demonstrations INTEGER NOT NULL, date TEXT NOT NULL,
    PRIMARY KEY (subject, task, robot)
);
"""


@dataclass(frozen=True)
class Subject:
    """The subject of trials: an expert on a task with a robot, with one fingerprint."""

    task: str  # id
    robot: str
    expert: str  # of `vla_bench.experts.catalogue`
    fingerprint: str


class TrialStore(Closing):
    """A SQLite file of trial outcomes, created if needed; long measurements can be interrupted. One process writes
    to it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(_SCHEMA)

    def add(self, subject: Subject, trial: Trial, seconds: float, date: str) -> None:
        """Store one outcome durably."""
        identity = (subject.fingerprint, subject.task, subject.robot, subject.expert, trial.index)
        outcome = (int(trial.success), trial.steps, seconds, date)
        self._connection.execute("INSERT OR REPLACE INTO trials VALUES (?,?,?,?,?,?,?,?,?)", identity + outcome)

    def trials(self, subject: Subject, episodes: int) -> tuple[Trial, ...]:
        """Return the stored outcomes of the first `episodes` episodes, in order."""
        rows = self._connection.execute(
            "SELECT episode, success, steps FROM trials WHERE subject=? AND task=? AND robot=? AND expert=? "
            "AND episode<? ORDER BY episode",
            (subject.fingerprint, subject.task, subject.robot, subject.expert, episodes),
        )
        return tuple(Trial(index, bool(success), steps) for index, success, steps in rows)

    def last_date(self, subjects: Sequence[Subject]) -> str:
        """Return the day of the latest trial of any of them, or "" without any."""
        dates = []
        for subject in subjects:
            identity = (subject.fingerprint, subject.task, subject.robot, subject.expert)
            query = "SELECT max(date) FROM trials WHERE subject=? AND task=? AND robot=? AND expert=?"
            dates.append(self._connection.execute(query, identity).fetchone()[0] or "")
        return max(dates, default="")

    def set_rate(self, subject: Subject, per_minute: float, demonstrations: int, date: str) -> None:
        """Store the number of demonstrations per minute."""
        row = (subject.fingerprint, subject.task, subject.robot, per_minute, demonstrations, date)
        self._connection.execute("INSERT OR REPLACE INTO rates VALUES (?,?,?,?,?,?)", row)

    def rate(self, subject: Subject) -> float | None:
        """Return the number of demonstrations per minute, or None if not measured."""
        identity = (subject.fingerprint, subject.task, subject.robot)
        query = "SELECT per_minute FROM rates WHERE subject=? AND task=? AND robot=?"
        row = self._connection.execute(query, identity).fetchone()
        return None if row is None else float(row[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
