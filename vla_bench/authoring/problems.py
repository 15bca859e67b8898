"""What is wrong with a task file, or worth a second look: one message each, with file and field."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vla_bench.core.errors import ConfigurationError, VlaBenchError

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One finding. An error keeps a task from being used, a warning does not."""

    severity: Severity
    source: str  # the file
    field: str
    problem: str
    expected: str = ""

    def __str__(self) -> str:
        return f"{self.severity}: {ConfigurationError(self.source, self.field, self.problem, self.expected)}"


def error(path: Path, field: str, problem: str, expected: str = "") -> Problem:
    """Return something that must be mended."""
    return Problem("error", str(path), field, problem, expected)


def warning(path: Path, field: str, problem: str, expected: str = "") -> Problem:
    """Return something worth a second look."""
    return Problem("warning", str(path), field, problem, expected)


def of_exception(path: Path, field: str, raised: VlaBenchError) -> Problem:
    """Return what an error says; one that names its own file and field keeps them."""
    if isinstance(raised, ConfigurationError):
        return Problem("error", raised.source, raised.field, raised.problem, raised.expected)
    return error(path, field, str(raised))
