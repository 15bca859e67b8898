"""The ledger of episodes: one SQLite file per run, one row per episode, one transaction per row.

A run that is killed loses at most the episode that it was writing. Other processes may read the file while it
grows.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pandas as pd

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.files import Closing
from vla_bench.results.episode_record import COLUMNS, DEFAULTS, KEY, OUTCOMES, EpisodeRecord
from vla_bench.results.errors import LedgerError

LEDGER_NAME = "ledger.sqlite"

_FORMAT_VERSION = 3
_APPLICATION_ID = 0x766C6162  # "vlab", in the header of the file: distinguishes ledgers from other SQLite files
_DIGEST = "digest"  # of the other values of the row: SQLite does not detect changed values
_STORED: dict[str, type] = {**COLUMNS, _DIGEST: str}
_SQL_TYPES: dict[type, str] = {str: "TEXT", int: "INTEGER", float: "REAL"}
_CREATE = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS episodes (
    {", ".join(f"{name} {_SQL_TYPES[kind]} NOT NULL" for name, kind in _STORED.items())},
    CHECK (outcome IN {OUTCOMES}),
    PRIMARY KEY ({", ".join(KEY)})
);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT_VERSION};
COMMIT;
"""
_INSERT = f"""
INSERT INTO episodes ({", ".join(_STORED)}) VALUES ({", ".join("?" * len(_STORED))})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _STORED if name not in KEY)}
WHERE episodes.outcome = 'error'
"""
_BUSY_TIMEOUT_S = 30.0
_DISK_ADVICE = "Recorded episodes are kept: free some space, then the same command resumes the run."


class Ledger(Closing):
    """Open the ledger at `path` for writing, creating it if it is not there.

    Raise `LedgerError` for a damaged file, a file of another program and a ledger with other columns.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with _sqlite_errors_explained(path):
            self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def append(self, record: EpisodeRecord) -> None:
        """Write `record` durably. It may replace an `error` of the same episode; any other is never overwritten."""
        with _sqlite_errors_explained(self.path):
            written = self._connection.execute(_INSERT, _row_values(record)).rowcount
        if not written:
            raise LedgerError(self.path, f"episode {record.identity} is already recorded")

    def finished(self) -> set[EpisodeIdentity]:
        """Return the episodes that ended in success or failure."""
        return self._identities("outcome != 'error'")

    def errored(self) -> set[EpisodeIdentity]:
        """Return the episodes that ended in an error, which may be tried again."""
        return self._identities("outcome = 'error'")

    def records(self) -> list[EpisodeRecord]:
        """Return every record, in order of identity."""
        with _sqlite_errors_explained(self.path):
            rows = _checked_rows(self._connection, self.path)
        return [EpisodeRecord(**dict(zip(COLUMNS, row, strict=True))) for row in rows]

    def close(self) -> None:
        """Merge the write-ahead log into the file and close it."""
        self._connection.close()

    def _prepare(self) -> None:
        if self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _check_file(self._connection, self.path)
            if missing := set(COLUMNS) - set(_columns_in_file(self._connection)):
                raise LedgerError(self.path, f"an older vla_bench wrote it, without {', '.join(sorted(missing))}")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")  # a recorded episode survives a power cut
        self._connection.executescript(_CREATE)

    def _identities(self, condition: str) -> set[EpisodeIdentity]:
        with _sqlite_errors_explained(self.path):
            rows = self._connection.execute(f"SELECT {', '.join(KEY)} FROM episodes WHERE {condition}").fetchall()
        return {EpisodeIdentity(suite, task, index, seed, variant) for suite, task, variant, index, seed in rows}


def read_ledger(path: Path | str) -> pd.DataFrame:
    """Return the episodes recorded at `path` in order of identity, one row each, with the fields of `EpisodeRecord`.

    Another process may be writing the file, and its folder may be read-only. Columns that an older ledger lacks get
    their default values. Raise `LedgerError` for a damaged file and for rows that differ from what was written.
    """
    path = Path(path)
    if not path.is_file():
        raise LedgerError(path, "there is no such file")
    if not path.stat().st_size:
        raise LedgerError(path, "the file is empty")
    with _readable_copy(path) as copy, _sqlite_errors_explained(path), closing(_connect_read_only(copy)) as connection:
        _check_file(connection, path)
        rows = _checked_rows(connection, path)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _check_file(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `LedgerError` unless the open file is an undamaged ledger of the known format."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        has_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        raise LedgerError(path, "this is not a ledger of episodes" if has_tables else "it has no table of episodes yet")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != _FORMAT_VERSION:
        raise LedgerError(path, f"its format version is {version}, expected {_FORMAT_VERSION}")
    finding = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if finding != "ok":
        raise LedgerError(path, f"the file is damaged ({' '.join(str(finding).split())})", damaged=True)
    if unknown := set(_columns_in_file(connection)) - set(COLUMNS):
        raise LedgerError(path, f"it has the unknown columns {', '.join(sorted(unknown))} (a newer vla_bench wrote it)")


def _columns_in_file(connection: sqlite3.Connection) -> list[str]:
    """Return the columns of the table, without the digest, in the order of `COLUMNS` (unknown ones last)."""
    names = {row[1] for row in connection.execute("PRAGMA table_info(episodes)")} - {_DIGEST}
    return [*(name for name in COLUMNS if name in names), *sorted(names - set(COLUMNS))]


def _checked_rows(connection: sqlite3.Connection, path: Path) -> list[tuple[Any, ...]]:
    """Return the values of every row in order of identity; raise `LedgerError` if a row was changed."""
    names = _columns_in_file(connection)
    query = f"SELECT {', '.join(names)}, {_DIGEST} FROM episodes ORDER BY {', '.join(KEY)}"
    rows = connection.execute(query).fetchall()
    changed = [row for row in rows if row[-1] != _row_digest(row[:-1])]
    if changed:
        first = ", ".join(str(value) for value in changed[0][: len(KEY)])
        problem = f"{len(changed)} records differ from what was written, the first of {first}"
        raise LedgerError(path, problem, damaged=True)
    if missing := [name for name in COLUMNS if name not in names]:
        position = {name: number for number, name in enumerate(names)}
        added = {name: DEFAULTS[name] for name in missing}
        return [tuple(added[n] if n in added else row[position[n]] for n in COLUMNS) for row in rows]
    return [row[:-1] for row in rows]


def _row_values(record: EpisodeRecord) -> tuple[str | int | float, ...]:
    """Return the values of a record as they are stored, the digest last."""
    # NumPy scalars are common here, and sqlite3 does not know them.
    values = tuple(kind(value) for kind, value in zip(COLUMNS.values(), astuple(record), strict=True))
    return (*values, _row_digest(values))


def _row_digest(values: Sequence[object]) -> str:
    """Return a short SHA-256 digest of the values of a row, in the order of `COLUMNS`."""
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:16]


def _connect_read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)


@contextmanager
def _sqlite_errors_explained(path: Path) -> Iterator[None]:
    """Raise `LedgerError` in place of the errors of SQLite."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR"):  # the latter for a file size limit
            raise LedgerError(path, f"the disk is full or failed ({error})", advice=_DISK_ADVICE) from error
        damaged = name in ("SQLITE_CORRUPT", "SQLITE_NOTADB") or "Could not decode" in str(error)
        problem = "the file is damaged, or not a ledger" if damaged else "SQLite cannot use the file"
        raise LedgerError(path, f"{problem} ({error})", damaged=damaged) from error
    except UnicodeDecodeError as error:  # of a message of SQLite that quotes a damaged schema
        raise LedgerError(path, f"the file is damaged ({error})", damaged=True) from error


@contextmanager
def _readable_copy(path: Path) -> Iterator[Path]:
    """Yield `path`, or a copy of it if SQLite cannot create its shared-memory file in the same folder."""
    if os.access(path.parent, os.W_OK):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in (path, path.with_name(f"{path.name}-wal")):
            if file.is_file():
                shutil.copyfile(file, Path(folder) / file.name)
        yield Path(folder) / path.name
