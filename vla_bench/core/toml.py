"""Plain data as TOML text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def to_toml(content: Mapping[str, Any], within: str = "") -> str:
    """Return plain data (mappings, sequences, text, numbers, truth values) as TOML; entries that are None are left out.

    JSON's text, numbers and truth values are TOML's too.
    """
    plain = [f"{key} = {_value(value)}" for key, value in content.items() if _is_plain(value)]
    tables = [(key, value) for key, value in content.items() if isinstance(value, Mapping)]
    parts = ["\n".join(plain)] if plain else []
    for key, value in tables:
        name = f"{within}.{_key(key)}" if within else _key(key)
        inner = to_toml(value, name)
        has_own = any(_is_plain(entry) for entry in value.values())
        parts.append(f"[{name}]\n{inner}" if has_own or not value else inner)
    return "\n\n".join(parts).rstrip("\n") + ("\n" if not within else "")


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    return json.dumps(value, ensure_ascii=False)
