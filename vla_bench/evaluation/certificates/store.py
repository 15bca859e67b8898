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
    """The task, variant, robot and fingerprint that a certificate applies to."""

    suite: str
    task: str
    variant: str
    robot: str
    fingerprint: str  # of everything that the success of the expert depends on


class CertificateStore(Closing):
    """The certificate file at `path`, created if missing; several processes may write to it.

    Raise `VlaBenchError` if the file is not a certificate file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        try:
            self._connection.executescript(_SCHEMA)
            self._connection.execute("SELECT subject, shown_in FROM certificates LIMIT 1")
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise VlaBenchError(
                f"{path} is not a certificate file: {error}. Delete it, or choose another file."
            ) from None

    def add(self, subject: CertificateSubject, certificates: Iterable[Certificate], seconds: float, date: str) -> None:
        """Store certificates, except those with an error; `seconds` is the mean duration of a trial."""
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
        """Return the stored certificates of the subject, ordered by episode index."""
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
        """Return the date of the latest certificate, "" without certificates."""
        return self._connection.execute("SELECT max(date) FROM certificates").fetchone()[0] or ""

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
