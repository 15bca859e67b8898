"""Storage of certificates in an SQLite file that several runs may share."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import Closing
from vla_bench.results.certificates import Certificate

_SCHEMA = """
CREATE TABLE IF NOT EXISTS certificates (
    subject TEXT NOT NULL, robot TEXT NOT NULL,
    suite TEXT NOT NULL, task TEXT NOT NULL, episode_index INTEGER NOT NULL, seed INTEGER NOT NULL,
    variant TEXT NOT NULL,
    scene_hash TEXT NOT NULL, physics_hash TEXT NOT NULL, solved INTEGER NOT NULL, steps INTEGER NOT NULL,
    shown_in TEXT NOT NULL, seconds REAL NOT NULL, date TEXT NOT NULL,
    PRIMARY KEY (subject, robot, suite, task, variant, seed, episode_index)
);
"""
_BUSY_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class CertificateSubject:
    """Whose certificates: a task under a perturbation with a robot. Those of another fingerprint are another's."""

    suite: str
    task: str
    variant: str
    robot: str
    fingerprint: str  # of all that the expert's success depends on


class CertificateStore(Closing):
    """The file at `path`, made where it is not there; several processes may write to it.

    Raise `VlaBenchError` for a file of another kind.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        try:
            self._connection.executescript(_SCHEMA)
            self._connection.execute("SELECT subject, shown_in FROM certificates LIMIT 1")
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise VlaBenchError(f"{path} is no file of certificates: {error}. Delete it, or name another.") from None

    def add(self, subject: CertificateSubject, certificates: Iterable[Certificate], seconds: float, date: str) -> None:
        """Keep what an episode each has shown; `seconds` is what one took. Those with errors are not kept."""
        rows = [
            (
                *(subject.fingerprint, subject.robot, subject.suite, subject.task),
                *(one.episode.index, one.episode.seed, subject.variant),
                *(one.scene_hash, one.physics_hash, int(one.solved), one.steps, one.shown_in, seconds, date),
            )
            for one in certificates
            if not one.error
        ]
        self._connection.executemany(f"INSERT OR REPLACE INTO certificates VALUES ({','.join('?' * 14)})", rows)

    def certificates(self, subject: CertificateSubject, seed: int) -> list[Certificate]:
        """Return what is known, by index."""
        rows = self._connection.execute(
            "SELECT episode_index, scene_hash, physics_hash, solved, steps, shown_in FROM certificates "
            "WHERE subject=? AND robot=? AND suite=? AND task=? AND variant=? AND seed=? ORDER BY episode_index",
            (subject.fingerprint, subject.robot, subject.suite, subject.task, subject.variant, seed),
        )
        return [
            Certificate(
                EpisodeIdentity(subject.suite, subject.task, index, seed, subject.variant),
                *(scene_hash, physics_hash, bool(solved), steps, shown_in),
            )
            for index, scene_hash, physics_hash, solved, steps, shown_in in rows
        ]

    def last_date(self) -> str:
        """Return the day of the latest certificate, "" where there is none."""
        return self._connection.execute("SELECT max(date) FROM certificates").fetchone()[0] or ""

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
