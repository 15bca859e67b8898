"""Recovery of a damaged ledger: what is whole goes into a new one, the damaged file is kept."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.locks import claimed
from vla_bench.results.episode_record import COLUMNS, EpisodeRecord
from vla_bench.results.errors import LedgerError, RunFolderError
from vla_bench.results.ledger import LEDGER_NAME, Ledger, read_ledger
from vla_bench.results.ledger_schema import SCHEMA_VERSION, columns_of, is_whole
from vla_bench.results.run_info import RUN_INFO_NAME, RunInfo
from vla_bench.results.sqlite_pages import Value, surviving_rows

_COLUMNS_1 = len(columns_of(1))  # of version 1, which had no digest
_COLUMNS_SINCE = {len(columns_of(version)) for version in range(2, SCHEMA_VERSION + 1)}
_LOGS = ("-wal", "-shm")


@dataclass(frozen=True)
class Recovery:
    """What became of a damaged ledger."""

    damage: str  # what is wrong with it; nothing where the ledger is whole, and was left alone
    recovered: int  # episodes
    lost: tuple[str, ...]  # of each planned task with fewer episodes than planned: which are not there
    kept: Path | None  # where the damaged file lies now


def recover_ledger(folder: Path) -> Recovery:
    """Replace the ledger of the run in `folder` by a new one with every record that is whole.

    Nothing is changed where the ledger is whole. Raise `RunFolderError` where there is none, `LedgerError` where no
    record is whole, and `OutputInUseError` while a run writes to it.
    """
    path = folder / LEDGER_NAME
    if not path.is_file():
        raise RunFolderError(folder, f"it has no {LEDGER_NAME}")
    with claimed(folder):
        try:
            return Recovery("", len(read_ledger(path)), (), None)
        except LedgerError as error:
            if not error.mendable:
                raise
            damage = error.problem
        records = whole_records(path)
        if not records:
            raise LedgerError(path, f"{damage}, and no whole record is in it")
        new = path.with_name(f".{path.stem}.recovered{path.suffix}")
        new.unlink(missing_ok=True)  # of a recovery that was killed
        with Ledger(new) as ledger:
            for record in records:
                ledger.append(record)
        kept = _put_aside(path)
        new.rename(path)
        return Recovery(damage, len(records), _lost(folder, records), kept)


def whole_records(path: Path) -> list[EpisodeRecord]:
    """Return the records in the pages of a damaged ledger, one of each episode, in order of identity."""
    found: dict[EpisodeIdentity, EpisodeRecord] = {}
    for values in surviving_rows(path):
        record = _record(values)
        if record is not None and (record.identity not in found or found[record.identity].outcome == "error"):
            found[record.identity] = record
    return [found[identity] for identity in sorted(found)]


def _record(values: tuple[Value, ...]) -> EpisodeRecord | None:
    """Return a row as a record, None where it is none: a row of another table, or a damaged one."""
    if len(values) - 1 in _COLUMNS_SINCE:
        values, digest = values[:-1], values[-1]
    elif len(values) == _COLUMNS_1:
        digest = ""
    else:
        return None
    columns = list(COLUMNS.items())[: len(values)]
    # SQLite stores whole numbers of a REAL column as integers.
    made = [
        float(value) if kind is float and isinstance(value, int) else value
        for (_, kind), value in zip(columns, values, strict=True)
    ]
    if not all(isinstance(value, kind) for (_, kind), value in zip(columns, made, strict=True)):
        return None
    if not is_whole(made, digest):
        return None
    try:
        record = EpisodeRecord(**dict(zip(COLUMNS, made, strict=False)))  # type: ignore[arg-type]  # checked above
    except ValueError:
        return None
    if len(values) == _COLUMNS_1:
        return replace(record, final_progress=record.progress, final_phase=record.phase)
    return record


def _put_aside(path: Path) -> Path:
    """Rename the ledger and its logs, and return the new name."""
    number, kept = 1, path.with_name(f"{path.name}.damaged")
    while kept.exists():
        number, kept = number + 1, path.with_name(f"{path.name}.damaged{number + 1}")
    for suffix in _LOGS:
        log = path.with_name(f"{path.name}{suffix}")
        if log.exists():
            log.rename(kept.with_name(f"{kept.name}{suffix}"))
    path.rename(kept)
    return kept


def _lost(folder: Path, records: Iterable[EpisodeRecord]) -> tuple[str, ...]:
    if not (folder / RUN_INFO_NAME).is_file():
        return ("unknown: the folder has no run.json that says what was planned",)
    there: dict[tuple[str, str, str], set[int]] = {}
    for record in records:
        there.setdefault((record.suite, record.task, record.variant), set()).add(record.episode_index)
    lost = []
    for item in RunInfo.read(folder).planned:
        missing = sorted(set(range(item.episodes)) - there.get((item.suite, item.task, item.variant), set()))
        if missing:
            variant = "" if item.variant == "clean" else f" ({item.variant})"
            lost.append(f"{item.suite}.{item.task}{variant}: {_ranges(missing)} of {item.episodes}")
    return tuple(lost)


def _ranges(numbers: list[int]) -> str:
    """Return `0 to 3, 7` for 0, 1, 2, 3, 7."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts)
