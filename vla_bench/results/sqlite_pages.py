"""The rows that a damaged SQLite file still holds, read from its leaf pages without the tree above them.

SQLite itself reads nothing that lies under a damaged page, and Python's module has no `.recover`. The layout is that of
https://sqlite.org/fileformat2.html, sections 1.6 (pages), 2.1 (records) and 4 (the write-ahead log).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

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
