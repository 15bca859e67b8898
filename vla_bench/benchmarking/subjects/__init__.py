"""Ours at work: files like those of `stock/`, run by `serving.py` in this Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_bench.benchmarking.processes import Subject


def ours(name: str, title: str, *, variables: Mapping[str, str] | None = None, **options: Any) -> Subject:
    """Return the subject of this folder's file `name` with `options`."""
    return Subject(title, Path(__file__).with_name(f"{name}.py"), options, variables=variables or {})
