"""The shape of a suite's TOML file, checked field by field."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vla_bench.core.validation import read_toml, validated


class SuccessRule(BaseModel):
    """When the goal counts as reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    held_steps: Annotated[int, Field(ge=1)] = 1


class TaskTable(BaseModel):
    """One `[[task]]` table. What it leaves out, the suite's value holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    instruction: Annotated[str, Field(min_length=3)]
    paraphrases: tuple[str, ...] = ()
    goal: Annotated[tuple[str, ...], Field(min_length=1)]
    objects: dict[str, str] = {}
    initial: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()
    ordered: bool = False
    horizon: Annotated[int, Field(ge=1)] | None = None
    options: dict[str, object] = {}


class SuiteFile(BaseModel):
    """A whole suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    suite: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    description: str = ""
    engine: str = "tabletop"
    scene: str = "table"
    horizon: Annotated[int, Field(ge=1)]
    wait_steps: Annotated[int, Field(ge=0)] = 0
    success: SuccessRule = SuccessRule()
    objects: dict[str, str] = {}
    initial: tuple[str, ...] = ()
    task: Annotated[tuple[TaskTable, ...], Field(min_length=1)]


def read_suite_file(path: Path) -> SuiteFile:
    """Read and check one suite; raise `ConfigurationError` that names file and field."""
    return validated(SuiteFile, read_toml(path), path)
