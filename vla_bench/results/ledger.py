"""The ledger of episodes: one SQLite file a run, one row an episode, each row one transaction.

A killed run loses at most the episode it was writing; anyone may read the file while it grows.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pandas as pd

from vla_bench.core.closing import Closing
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.paths import written_whole
from vla_bench.results.episode_record import COLUMNS, KEY, EpisodeRecord
from vla_bench.results.errors import LedgerError
from vla_bench.results.ledger_schema import (
    INSERT,
    SCHEMA,
    SCHEMA_VERSION,
    check_digests,
    checked_version,
    migrate,
    row_of,
    stored_rows,
)

LEDGER_NAME = "ledger.sqlite"

_BUSY_TIMEOUT_S = 30.0
_OF_THE_DISK = "What is recorded is kept: make room, and the same command goes on from there."


class Ledger(Closing):
    """Open the ledger at `path` for writing, creating it if it is not there.

    One of an older version is brought to this one, and a copy of it kept beside it (`ledger.sqlite.v1`). Raise
    `LedgerError` for a damaged file, a file of another program and one of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with _explained(path):
            self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def append(self, record: EpisodeRecord) -> None:
        """Write `record` durably. It may replace an `error` of the same episode; any other is never overwritten."""
        with _explained(self.path):
            written = self._connection.execute(INSERT, row_of(record)).rowcount
        if not written:
            raise LedgerError(self.path, f"{record.identity} is recorded already")

    def finished(self) -> set[EpisodeIdentity]:
        """Return the episodes that ended in success or failure."""
        return self._identities("outcome != 'error'")

    def errored(self) -> set[EpisodeIdentity]:
        """Return the episodes that ended in an error, which may be tried again."""
        return self._identities("outcome = 'error'")

    def records(self) -> list[EpisodeRecord]:
        """Return every record, in order of identity."""
        with _explained(self.path):
            rows = stored_rows(self._connection, SCHEMA_VERSION)
        check_digests(rows, self.path)
        return [EpisodeRecord(**dict(zip(COLUMNS, row[:-1], strict=True))) for row in rows]

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        self._connection.close()

    def _prepare(self) -> None:
        if self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            version = checked_version(self._connection, self.path)
            if version < SCHEMA_VERSION:
                check_digests(stored_rows(self._connection, version), self.path, version)
                _keep_copy(self._connection, self.path.with_name(f"{self.path.name}.v{version}"))
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")  # a recorded episode survives a power cut
        migrate(self._connection)
        self._connection.executescript(SCHEMA)

    def _identities(self, condition: str) -> set[EpisodeIdentity]:
        with _explained(self.path):
            rows = self._connection.execute(f"SELECT {', '.join(KEY)} FROM episodes WHERE {condition}").fetchall()
        return {EpisodeIdentity(suite, task, index, seed, variant) for suite, task, variant, index, seed in rows}


def read_ledger(path: Path | str) -> pd.DataFrame:
    """Return the episodes recorded at `path` in order of identity, one row each, columns as `EpisodeRecord`.

    The file may be growing, and may lie in a folder that cannot be written to.
    """
    path = Path(path)
    if not path.is_file():
        raise LedgerError(path, "there is no such file")
    if not path.stat().st_size:
        raise LedgerError(path, "the file is empty")
    with _readable(path) as copy, _explained(path), closing(_connect_reading(copy)) as connection:
        version = checked_version(connection, path)
        rows = stored_rows(connection, version)
    check_digests(rows, path, version)
    return pd.DataFrame([row[:-1] for row in rows], columns=list(COLUMNS)).astype(COLUMNS)


def _keep_copy(connection: sqlite3.Connection, path: Path) -> None:
    with written_whole(path) as temporary, closing(sqlite3.connect(temporary)) as copy:
        connection.backup(copy)


def _connect_reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into `LedgerError`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR"):  # of a file size limit it says the latter
            raise LedgerError(path, f"the disk is full or fails ({error})", advice=_OF_THE_DISK) from error
        damaged = name in ("SQLITE_CORRUPT", "SQLITE_NOTADB")
        problem = "the file is damaged, or not a ledger" if damaged else "SQLite cannot use the file"
        raise LedgerError(path, f"{problem} ({error})", mendable=damaged) from error


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """Yield `path`, or a copy of it where SQLite could not lay its shared-memory file beside it."""
    if os.access(path.parent, os.W_OK):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in (path, path.with_name(f"{path.name}-wal")):
            if file.is_file():
                shutil.copyfile(file, Path(folder) / file.name)
        yield Path(folder) / path.name
