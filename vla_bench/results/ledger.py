"""The ledger of episodes: one SQLite file a run, one row an episode, each row one transaction.

A killed run loses at most the episode it was writing; anyone may read the file while it grows.
"""

import hashlib
import json
import math
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from vla_bench.core.closing import Closing
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.paths import written_whole
from vla_bench.results.errors import LedgerError

LEDGER_NAME = "ledger.sqlite"
SCHEMA_VERSION = 3
OUTCOMES = ("success", "failure", "error")

_APPLICATION_ID = 0x766C6162  # "vlab", in the file's header: tells our files from other SQLite files
_BUSY_TIMEOUT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """What happened in one episode; the first five fields are its identity.

    New fields go to the end: that is where a ledger of an older version gets them.
    """

    suite: str
    task: str
    variant: str = "clean"
    episode_index: int
    seed: int  # base seed of the run
    policy: str
    instruction: str
    scene_hash: str
    action_hash: str
    outcome: Literal["success", "failure", "error"]  # `error`: the harness broke, so neither of the others
    reward: float  # sum over the episode
    steps: int  # control steps
    progress: float  # share of the subgoals met, 0..1, the most there ever was
    phase: str  # the furthest phase reached
    wall_s: float
    policy_s: float  # of `wall_s`, spent waiting for the policy
    error: str = ""  # traceback, where outcome is "error"
    final_progress: float = 0.0  # at the end
    final_phase: str = ""  # at the end
    card_hash: str = ""  # of the policy, as in the run's description
    session: int = 0  # which of the run's sessions: says the machine, the versions and the commit
    attempts: int = 1  # in that session, with those that ended with their worker
    error_source: str = ""  # what broke, where outcome is "error": policy, environment or worker
    path_length_m: float = -1.0  # of the end-effector's way; this and the next three are -1 where not recorded
    drops: int = -1  # of a thing that a goal speaks of, where letting it go met no goal
    disturbed: int = -1  # things that no goal speaks of and that ended more than 5 cm from where they began
    peak_force_n: float = -1.0  # largest normal force at a contact of the gripper, seen once a control step
    subgoals: str = ""  # reached at the end, in the order of reaching, as JSON: [["on cube plate", step], ...]

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome is {self.outcome!r}; it must be one of {', '.join(OUTCOMES)}")
        if (self.outcome == "error") != bool(self.error):
            raise ValueError("an episode has an error text exactly when its outcome is 'error'")
        for name in ("reward", "progress", "final_progress", "wall_s", "policy_s", "path_length_m", "peak_force_n"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be finite")

    @property
    def identity(self) -> EpisodeIdentity:
        """The episode that this record is about."""
        return EpisodeIdentity(self.suite, self.task, self.episode_index, self.seed, self.variant)


COLUMNS: dict[str, type] = {
    field.name: field.type if isinstance(field.type, type) else str for field in fields(EpisodeRecord)
}
KEY = ("suite", "task", "variant", "episode_index", "seed")


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
            written = self._connection.execute(_INSERT, _row(record)).rowcount
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
            rows = _rows(self._connection, SCHEMA_VERSION)
        _check_digests(rows, self.path)
        return [EpisodeRecord(**dict(zip(COLUMNS, row[:-1], strict=True))) for row in rows]

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        self._connection.close()

    def _prepare(self) -> None:
        if self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            version = _check(self._connection, self.path)
            if version < SCHEMA_VERSION:
                _check_digests(_rows(self._connection, version), self.path, version)
                _keep_copy(self._connection, self.path.with_name(f"{self.path.name}.v{version}"))
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")  # a recorded episode survives a power cut
        _migrate(self._connection)
        self._connection.executescript(_SCHEMA)

    def _identities(self, condition: str) -> set[EpisodeIdentity]:
        with _explained(self.path):
            rows = self._connection.execute(f"SELECT {', '.join(KEY)} FROM episodes WHERE {condition}").fetchall()
        return {EpisodeIdentity(suite, task, index, seed, variant) for suite, task, variant, index, seed in rows}


def read_ledger(path: Path) -> pd.DataFrame:
    """Return the episodes recorded at `path` in order of identity, one row each, columns as `EpisodeRecord`.

    The file may be growing, and may lie in a folder that cannot be written to.
    """
    if not path.is_file():
        raise LedgerError(path, "there is no such file")
    if not path.stat().st_size:
        raise LedgerError(path, "the file is empty")
    with _readable(path) as copy, _explained(path), closing(_connect_reading(copy)) as connection:
        version = _check(connection, path)
        rows = _rows(connection, version)
    _check_digests(rows, path, version)
    return pd.DataFrame([row[:-1] for row in rows], columns=list(COLUMNS)).astype(COLUMNS)


_DIGEST = "digest"  # of the row's other values: SQLite does not notice a changed one
_STORED: dict[str, type] = {**COLUMNS, _DIGEST: str}
_SQL_TYPES: dict[type, str] = {str: "TEXT", int: "INTEGER", float: "REAL"}
_TABLE = f"""
CREATE TABLE IF NOT EXISTS episodes (
    {", ".join(f"{name} {_SQL_TYPES[kind]} NOT NULL" for name, kind in _STORED.items())},
    CHECK (outcome IN {OUTCOMES}),
    PRIMARY KEY ({", ".join(KEY)})
);
"""
_SCHEMA = f"""
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


def _rows(connection: sqlite3.Connection, version: int) -> list[tuple[Any, ...]]:
    """Return every row with today's columns and the digest at the end, in order of identity."""
    added = _added_since(version)
    columns = [f"{added[name]} AS {name}" if name in added else name for name in _STORED]
    return connection.execute(f"SELECT {', '.join(columns)} FROM episodes ORDER BY {', '.join(KEY)}").fetchall()


def _migrate(connection: sqlite3.Connection) -> None:
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


def _keep_copy(connection: sqlite3.Connection, path: Path) -> None:
    with written_whole(path) as temporary, closing(sqlite3.connect(temporary)) as copy:
        connection.backup(copy)


def _row(record: EpisodeRecord) -> tuple[str | int | float, ...]:
    # NumPy scalars are common here, and sqlite3 does not know them.
    values = tuple(kind(value) for kind, value in zip(COLUMNS.values(), astuple(record), strict=True))
    return (*values, row_digest(values))


def row_digest(values: Sequence[object]) -> str:
    """Return a short SHA-256 digest of the values of a row, in the order of `COLUMNS`."""
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:16]


def _check_digests(rows: Iterable[tuple[object, ...]], path: Path, version: int = SCHEMA_VERSION) -> None:
    """Raise `LedgerError` where a row is not what was written; rows of version 1 have no digest."""
    own = [number for number, name in enumerate(COLUMNS) if name in columns_of(version)]
    changed = [row for row in rows if row[-1] and row[-1] != row_digest([row[number] for number in own])]
    if changed:
        names = ", ".join(str(value) for value in changed[0][:5])
        problem = f"{len(changed)} records are not what was written, the first of {names}"
        raise LedgerError(path, problem, mendable=True)


def _connect_reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)


def _check(connection: sqlite3.Connection, path: Path) -> int:
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


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into `LedgerError`."""
    try:
        yield
    except (sqlite3.DatabaseError, pd.errors.DatabaseError) as error:
        damaged = getattr(error, "sqlite_errorname", "") in ("SQLITE_CORRUPT", "SQLITE_NOTADB")
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
