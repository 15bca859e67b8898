"""Expert trials on fresh scenes without rendering, and their store."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.files import Closing
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.experts import Expert

# ~ Trials of experts on fresh scenes, without rendering.


@dataclass(frozen=True)
class Trial:
    """How one episode of an expert went."""

    index: int  # of the episode
    success: bool
    steps: int  # control steps


def try_expert(environment: VlaBenchEnv, expert: Expert, identity: EpisodeIdentity) -> Trial:
    """Run one episode to its end."""
    environment.reset(seed=identity.scene_seed())
    world = environment.simulation.world
    expert.reset(world, identity.generator("expert"))
    steps, ended = 0, False
    while not ended:
        _, terminated, truncated, info = environment.advance(expert.act(world))
        steps, ended = steps + 1, terminated or truncated
    return Trial(identity.index, bool(info["success"]), steps)


def mean_steps(trials: Sequence[Trial]) -> float | None:
    """Return the mean length of the successful episodes, None where there is none."""
    lengths = [trial.steps for trial in trials if trial.success]
    return sum(lengths) / len(lengths) if lengths else None


# ~ Outcomes of trials as they happen, so that an hour of them can be stopped and goes on later: one SQLite file.

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
    """Whose trials: an expert on a task with a robot. Those of another fingerprint are another subject's."""

    task: str  # id
    robot: str
    expert: str  # of `vla_bench.experts.catalogue`
    fingerprint: str


class TrialStore(Closing):
    """The file at `path`, made where it is not there; one process writes to it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(_SCHEMA)

    def add(self, subject: Subject, trial: Trial, seconds: float, date: str) -> None:
        """Keep one outcome, for good from here on."""
        identity = (subject.fingerprint, subject.task, subject.robot, subject.expert, trial.index)
        outcome = (int(trial.success), trial.steps, seconds, date)
        self._connection.execute("INSERT OR REPLACE INTO trials VALUES (?,?,?,?,?,?,?,?,?)", identity + outcome)

    def trials(self, subject: Subject, episodes: int) -> tuple[Trial, ...]:
        """Return what is known of the first `episodes` episodes, in order."""
        rows = self._connection.execute(
            "SELECT episode, success, steps FROM trials WHERE subject=? AND task=? AND robot=? AND expert=? "
            "AND episode<? ORDER BY episode",
            (subject.fingerprint, subject.task, subject.robot, subject.expert, episodes),
        )
        return tuple(Trial(index, bool(success), steps) for index, success, steps in rows)

    def last_date(self, subjects: Sequence[Subject]) -> str:
        """Return the day of the latest trial of any of them, "" where there is none."""
        dates = []
        for subject in subjects:
            identity = (subject.fingerprint, subject.task, subject.robot, subject.expert)
            query = "SELECT max(date) FROM trials WHERE subject=? AND task=? AND robot=? AND expert=?"
            dates.append(self._connection.execute(query, identity).fetchone()[0] or "")
        return max(dates, default="")

    def set_rate(self, subject: Subject, per_minute: float, demonstrations: int, date: str) -> None:
        """Keep how many demonstrations a minute were made."""
        row = (subject.fingerprint, subject.task, subject.robot, per_minute, demonstrations, date)
        self._connection.execute("INSERT OR REPLACE INTO rates VALUES (?,?,?,?,?,?)", row)

    def rate(self, subject: Subject) -> float | None:
        """Return how many demonstrations a minute were made, None where that was not measured."""
        identity = (subject.fingerprint, subject.task, subject.robot)
        query = "SELECT per_minute FROM rates WHERE subject=? AND task=? AND robot=?"
        row = self._connection.execute(query, identity).fetchone()
        return None if row is None else float(row[0])

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
