"""Recovery of a damaged ledger: the intact records are copied into a new one, and the damaged file is kept."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.files import claimed
from vla_bench.results.episode_record import COLUMNS, EpisodeRecord
from vla_bench.results.errors import LedgerError, RunFolderError
from vla_bench.results.ledger import LEDGER_NAME, SCHEMA_VERSION, Ledger, columns_of, is_intact, read_ledger
from vla_bench.results.run_info import RUN_INFO_NAME, RunInfo

# ~ The rows that a damaged SQLite file still holds, read from its leaf pages without the tree above them.
# ~
# ~ SQLite itself reads nothing that lies under a damaged page, and Python's module has no `.recover`. The layout is
# ~ that of
# ~ https://sqlite.org/fileformat2.html, sections 1.6 (pages), 2.1 (records) and 4 (the write-ahead log).

Value = str | int | float | bytes | None

_TABLE_LEAF = 0x0D
_DEFAULT_PAGE = 4096
_FILE_HEADER = 100  # bytes at the start of page 1
_LOG_HEADER, _FRAME_HEADER = 32, 24
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # by serial type


def surviving_rows(path: Path) -> Iterator[tuple[Value, ...]]:
    """Yield the values of every row in the leaf pages of the file and of the log beside it, in no useful order.

    Rows may come twice, and rows of every table and of pages that are no longer in use come too. A row whose bytes do
    not decode is left out.
    """
    content = path.read_bytes()
    size = _page_size(content)
    content += bytes(-len(content) % size)  # where the file was cut off inside a page
    pages = {number: content[start : start + size] for number, start in enumerate(range(0, len(content), size), 1)}
    for number, page in pages.items():
        yield from _rows(page, pages, _FILE_HEADER if number == 1 else 0)
    log = path.with_name(f"{path.name}-wal")
    for number, page in _logged(log.read_bytes() if log.is_file() else b"", size):
        pages[number] = page
        yield from _rows(page, pages, _FILE_HEADER if number == 1 else 0)


def _page_size(content: bytes) -> int:
    size = int.from_bytes(content[16:18], "big")
    size = 65536 if size == 1 else size
    return size if 512 <= size <= 65536 and size & (size - 1) == 0 else _DEFAULT_PAGE


def _logged(content: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of the pages in a write-ahead log; a log that began anew has older ones at its end."""
    salts = content[16:24]
    for start in range(_LOG_HEADER, len(content) - size - _FRAME_HEADER + 1, size + _FRAME_HEADER):
        if content[start + 8 : start + 16] == salts:
            body = start + _FRAME_HEADER
            yield int.from_bytes(content[start : start + 4], "big"), content[body : body + size]


def _rows(page: bytes, pages: dict[int, bytes], header: int) -> Iterator[tuple[Value, ...]]:
    if len(page) < header + 8 or page[header] != _TABLE_LEAF:
        return
    count = int.from_bytes(page[header + 3 : header + 5], "big")
    for index in range(count):
        place = header + 8 + 2 * index
        offset = int.from_bytes(page[place : place + 2], "big")
        try:
            yield _values(_payload(page, offset, pages))
        except (IndexError, KeyError, ValueError, struct.error):
            continue  # damaged


def _payload(page: bytes, offset: int, pages: dict[int, bytes]) -> bytes:
    """Return the bytes of a record, with what of it overflowed into pages of its own."""
    length, offset = _varint(page, offset)
    _, offset = _varint(page, offset)  # the row's number
    usable = len(page)
    local = length
    if length > usable - 35:
        least = (usable - 12) * 32 // 255 - 23
        kept = least + (length - least) % (usable - 4)
        local = kept if kept <= usable - 35 else least
    payload = page[offset : offset + local]
    overflow = int.from_bytes(page[offset + local : offset + local + 4], "big") if local < length else 0
    while len(payload) < length:
        following = pages[overflow]
        payload += following[4 : 4 + length - len(payload)]
        overflow = int.from_bytes(following[:4], "big")
    if len(payload) != length:
        raise ValueError("the record is cut off")
    return payload


def _values(payload: bytes) -> tuple[Value, ...]:
    end, offset = _varint(payload, 0)
    kinds = []
    while offset < end:
        kind, offset = _varint(payload, offset)
        kinds.append(kind)
    values = []
    for kind in kinds:
        value, offset = _value(payload, offset, kind)
        values.append(value)
    if offset != len(payload):
        raise ValueError("the record is longer than its columns")
    return tuple(values)


def _value(payload: bytes, offset: int, kind: int) -> tuple[Value, int]:
    if kind in (0, 8, 9):
        return (None if kind == 0 else kind - 8), offset
    if kind == 7:
        return struct.unpack(">d", payload[offset : offset + 8])[0], offset + 8
    if kind in _INTEGER_BYTES:
        end = offset + _INTEGER_BYTES[kind]
        return int.from_bytes(payload[offset:end], "big", signed=True), end
    if kind < 12:
        raise ValueError(f"serial type {kind}")
    end = offset + (kind - 12) // 2
    if end > len(payload):
        raise ValueError("a value is cut off")
    content = payload[offset:end]
    if kind % 2 == 0:
        return content, end
    if 0 in content:
        raise ValueError("a text holds zeros: a page that it overflowed into was cleared")
    return content.decode("utf-8"), end


def _varint(content: bytes, offset: int) -> tuple[int, int]:
    """Return a number of 1 to 9 bytes, and the offset behind it."""
    number = 0
    for position in range(8):
        byte = content[offset + position]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, offset + position + 1
    return number << 8 | content[offset + 8], offset + 9


# ~ Recovery of a damaged ledger: what is whole goes into a new one, the damaged file is kept.

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
            if not error.recoverable:
                raise
            damage = error.problem
        records = intact_records(path)
        if not records:
            raise LedgerError(path, f"{damage}, and no whole record is in it")
        new = path.with_name(f".{path.stem}.recovered{path.suffix}")
        new.unlink(missing_ok=True)  # of a recovery that was killed
        with Ledger(new) as ledger:
            for record in records:
                ledger.append(record)
        kept = _move_aside(path)
        new.rename(path)
        return Recovery(damage, len(records), _lost(folder, records), kept)


def intact_records(path: Path) -> list[EpisodeRecord]:
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
    if not is_intact(made, digest):
        return None
    try:
        record = EpisodeRecord(**dict(zip(COLUMNS, made, strict=False)))  # type: ignore[arg-type]  # checked above
    except ValueError:
        return None
    if len(values) == _COLUMNS_1:
        return replace(record, final_progress=record.progress, final_phase=record.phase)
    return record


def _move_aside(path: Path) -> Path:
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
