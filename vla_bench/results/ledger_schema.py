"""The table that a ledger's file holds: its versions, how an older one becomes this one, and what a row must be."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from vla_bench.results.episode_record import COLUMNS, KEY, OUTCOMES, EpisodeRecord
from vla_bench.results.errors import LedgerError

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
SCHEMA = f"""
BEGIN IMMEDIATE;
{_TABLE}
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
INSERT = f"""
INSERT INTO episodes ({", ".join(_STORED)}) VALUES ({", ".join("?" * len(_STORED))})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _STORED if name not in KEY)}
WHERE episodes.outcome = 'error'
"""
_ADDED: dict[int, dict[str, str]] = {  # by the version that added them: columns, and what they are in older rows
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
    added = _added_since(version)
    return tuple(name for name in COLUMNS if name not in added)


def _added_since(version: int) -> dict[str, str]:
    return {name: value for added, columns in _ADDED.items() if added > version for name, value in columns.items()}


def stored_rows(connection: sqlite3.Connection, version: int) -> list[tuple[Any, ...]]:
    """Return every row with today's columns and the digest at the end, in order of identity."""
    added = _added_since(version)
    columns = [f"{added[name]} AS {name}" if name in added else name for name in _STORED]
    return connection.execute(f"SELECT {', '.join(columns)} FROM episodes ORDER BY {', '.join(KEY)}").fetchall()


def migrate(connection: sqlite3.Connection) -> None:
    """Copy the rows of an older version into a table of this one, with new digests, in one transaction."""
    if not (version := _version(connection)) or version >= SCHEMA_VERSION:
        return  # version 0: the file is new
    connection.create_function("row_digest", len(COLUMNS), lambda *values: row_digest(values), deterministic=True)
    added = _added_since(version)
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


def row_of(record: EpisodeRecord) -> tuple[str | int | float, ...]:
    """Return the values of a record as they are stored, the digest at the end."""
    # NumPy scalars are common here, and sqlite3 does not know them.
    values = tuple(kind(value) for kind, value in zip(COLUMNS.values(), astuple(record), strict=True))
    return (*values, row_digest(values))


def row_digest(values: Sequence[object]) -> str:
    """Return a short SHA-256 digest of the values of a row, in the order of `COLUMNS`."""
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:16]


def is_whole(values: Sequence[object], digest: object) -> bool:
    """Return whether a row is what was written; one of version 1 has neither digest nor the card's hash."""
    without = not digest and not any(values[_CARD_HASH : _CARD_HASH + 1])
    return without or digest == row_digest(values)


def check_digests(rows: Iterable[tuple[object, ...]], path: Path, version: int = SCHEMA_VERSION) -> None:
    """Raise `LedgerError` where a row is not what was written."""
    own = [number for number, name in enumerate(COLUMNS) if name in columns_of(version)]
    changed = [row for row in rows if not is_whole([row[number] for number in own], row[-1])]
    if changed:
        names = ", ".join(str(value) for value in changed[0][:5])
        problem = f"{len(changed)} records are not what was written, the first of {names}"
        raise LedgerError(path, problem, mendable=True)


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
        raise LedgerError(path, f"the file is damaged ({' '.join(str(finding).split())})", mendable=True)
    return version
