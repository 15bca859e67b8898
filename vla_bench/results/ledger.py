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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pandas as pd

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.files import Closing, written_whole
from vla_bench.results.episode_record import COLUMNS, KEY, OUTCOMES, EpisodeRecord
from vla_bench.results.errors import LedgerError

# ~ The table that a ledger's file holds: its versions, how an older one becomes this one, and what a row must be.

SCHEMA_VERSION = 3

_APPLICATION_ID = 0x766C6162  # "vlab", in the file's header: tells our files from other SQLite files
_DIGEST = "digest"  # of the row's other values: SQLite does not notice a changed one
_CARD_HASH = list(COLUMNS).index("card_hash")
_STORED: dict[str, type] = {**COLUMNS, _DIGEST: str}
_SQL_TYPES: dict[type, str] = {str: "TEXT", int: "INTEGER", float: "REAL"}
_TABLE = f"""
CREATE TABLE IF NOT EXISTS episodes (
    {", ".join(f"{name} {_SQL_TYPES[kind]} NOT NULL" for name, kind in _STORED.items())},
    CHECK (outcome IN {OUTCOMES}),
    PRIMARY KEY ({", ".join(KEY)})
);
"""
_CREATE = f"""
BEGIN IMMEDIATE;
{_TABLE}
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
_INSERT = f"""
INSERT INTO episodes ({", ".join(_STORED)}) VALUES ({", ".join("?" * len(_STORED))})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _STORED if name not in KEY)}
WHERE episodes.outcome = 'error'
"""
_ADDED_COLUMNS: dict[
    int, dict[str, str]
] = {  # by the version that added them: columns, and what they are in older rows
    2: {
        "final_progress": "progress",  # version 1 recorded these two as they were at the end
        "final_phase": "phase",
        "card_hash": "''",
        "session": "0",
        "attempts": "1",
        "error_source": "''",
        "path_length_m": "-1.0",
        "drops": "-1",
        "disturbed": "-1",
        "peak_force_n": "-1.0",
        _DIGEST: "''",  # not checked
    },
    3: {"subgoals": "''"},
}


def columns_of(version: int) -> tuple[str, ...]:
    """Return the columns that a ledger of this version has, without the digest, in its order."""
    added = _columns_added_since(version)
    return tuple(name for name in COLUMNS if name not in added)


def _columns_added_since(version: int) -> dict[str, str]:
    return {
        name: value for added, columns in _ADDED_COLUMNS.items() if added > version for name, value in columns.items()
    }


def stored_rows(connection: sqlite3.Connection, version: int) -> list[tuple[Any, ...]]:
    """Return every row with today's columns and the digest at the end, in order of identity."""
    added = _columns_added_since(version)
    columns = [f"{added[name]} AS {name}" if name in added else name for name in _STORED]
    return connection.execute(f"SELECT {', '.join(columns)} FROM episodes ORDER BY {', '.join(KEY)}").fetchall()


def migrate(connection: sqlite3.Connection) -> None:
    """Copy the rows of an older version into a table of this one, with new digests, in one transaction."""
    if not (version := _version(connection)) or version >= SCHEMA_VERSION:
        return  # version 0: the file is new
    connection.create_function("row_digest", len(COLUMNS), lambda *values: row_digest(values), deterministic=True)
    added = _columns_added_since(version)
    values = ", ".join(added.get(name, name) for name in _STORED)
    connection.executescript(
        f"""
        BEGIN IMMEDIATE;
        ALTER TABLE episodes RENAME TO older;
        {_TABLE}
        INSERT INTO episodes ({", ".join(_STORED)}) SELECT {values} FROM older;
        UPDATE episodes SET {_DIGEST} = row_digest({", ".join(COLUMNS)}) WHERE {_DIGEST} != '';
        DROP TABLE older;
        PRAGMA user_version = {SCHEMA_VERSION};
        COMMIT;
        """
    )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def row_values(record: EpisodeRecord) -> tuple[str | int | float, ...]:
    """Return the values of a record as they are stored, the digest at the end."""
    # NumPy scalars are common here, and sqlite3 does not know them.
    values = tuple(kind(value) for kind, value in zip(COLUMNS.values(), astuple(record), strict=True))
    return (*values, row_digest(values))


def row_digest(values: Sequence[object]) -> str:
    """Return a short SHA-256 digest of the values of a row, in the order of `COLUMNS`."""
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:16]


def is_intact(values: Sequence[object], digest: object) -> bool:
    """Return whether a row is what was written; one of version 1 has neither digest nor the card's hash."""
    without = not digest and not any(values[_CARD_HASH : _CARD_HASH + 1])
    return without or digest == row_digest(values)


def check_digests(rows: Iterable[tuple[object, ...]], path: Path, version: int = SCHEMA_VERSION) -> None:
    """Raise `LedgerError` where a row is not what was written."""
    own = [number for number, name in enumerate(COLUMNS) if name in columns_of(version)]
    changed = [row for row in rows if not is_intact([row[number] for number in own], row[-1])]
    if changed:
        names = ", ".join(str(value) for value in changed[0][:5])
        problem = f"{len(changed)} records are not what was written, the first of {names}"
        raise LedgerError(path, problem, recoverable=True)


def checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema version; raise `LedgerError` unless the open file is a whole ledger of a known one."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        made = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        problem = "this is not a ledger of episodes" if made else "nothing is in it yet; a run that begins makes it so"
        raise LedgerError(path, problem)
    version = _version(connection)
    if not 1 <= version <= SCHEMA_VERSION:
        known = f"its schema version is {version}, this program knows 1 to {SCHEMA_VERSION}"
        raise LedgerError(path, f"{known} (a newer vla_bench wrote it)" if version > SCHEMA_VERSION else known)
    finding = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if finding != "ok":
        raise LedgerError(path, f"the file is damaged ({' '.join(str(finding).split())})", recoverable=True)
    return version


# ~ The ledger of episodes: one SQLite file a run, one row an episode, each row one transaction.
# ~
# ~ A killed run loses at most the episode it was writing; anyone may read the file while it grows.

LEDGER_NAME = "ledger.sqlite"

_BUSY_TIMEOUT_S = 30.0
_DISK_ADVICE = "What is recorded is kept: make room, and the same command goes on from there."


class Ledger(Closing):
    """Open the ledger at `path` for writing, creating it if it is not there.

    One of an older version is brought to this one, and a copy of it kept beside it (`ledger.sqlite.v1`). Raise
    `LedgerError` for a damaged file, a file of another program and one of a newer version.
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
            written = self._connection.execute(_INSERT, row_values(record)).rowcount
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
        with _sqlite_errors_explained(self.path):
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
                _back_up(self._connection, self.path.with_name(f"{self.path.name}.v{version}"))
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")  # a recorded episode survives a power cut
        migrate(self._connection)
        self._connection.executescript(_CREATE)

    def _identities(self, condition: str) -> set[EpisodeIdentity]:
        with _sqlite_errors_explained(self.path):
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
    with _readable_copy(path) as copy, _sqlite_errors_explained(path), closing(_connect_read_only(copy)) as connection:
        version = checked_version(connection, path)
        rows = stored_rows(connection, version)
    check_digests(rows, path, version)
    return pd.DataFrame([row[:-1] for row in rows], columns=list(COLUMNS)).astype(COLUMNS)


def _back_up(connection: sqlite3.Connection, path: Path) -> None:
    with written_whole(path) as temporary, closing(sqlite3.connect(temporary)) as copy:
        connection.backup(copy)


def _connect_read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)


@contextmanager
def _sqlite_errors_explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into `LedgerError`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR"):  # of a file size limit it says the latter
            raise LedgerError(path, f"the disk is full or fails ({error})", advice=_DISK_ADVICE) from error
        damaged = name in ("SQLITE_CORRUPT", "SQLITE_NOTADB")
        problem = "the file is damaged, or not a ledger" if damaged else "SQLite cannot use the file"
        raise LedgerError(path, f"{problem} ({error})", recoverable=damaged) from error


@contextmanager
def _readable_copy(path: Path) -> Iterator[Path]:
    """Yield `path`, or a copy of it where SQLite could not lay its shared-memory file beside it."""
    if os.access(path.parent, os.W_OK):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in (path, path.with_name(f"{path.name}-wal")):
            if file.is_file():
                shutil.copyfile(file, Path(folder) / file.name)
        yield Path(folder) / path.name
