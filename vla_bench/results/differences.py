"""What differs between two pieces of plain data, in words."""

import json
from collections.abc import Mapping

_LONGEST_SHOWN = 80


def differing_fields(first: object, second: object, name: str = "") -> list[str]:
    """List the fields whose values differ, as `protocol.rendering: "fast", then "faithful"`."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        names = list(dict.fromkeys([*first, *second]))
        parts = [(f"{name}.{key}" if name else key, first.get(key), second.get(key)) for key in names]
        return [line for key, ours, theirs in parts for line in differing_fields(ours, theirs, key)]
    if first == second:
        return []
    return [f"{name}: {_shown(first)}, then {_shown(second)}"]


def _shown(value: object) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
