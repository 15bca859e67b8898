"""TOML files and options checked against a pydantic model: a mistake names the file, the field and what is expected."""

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from vla_bench.core.errors import ConfigurationError

Model = TypeVar("Model", bound=BaseModel)

_SHOWN = 60  # characters of a wrong value


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's content; raise `ConfigurationError` when it cannot be read as one."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(path, "(whole file)", f"is not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigurationError(path, "(whole file)", f"cannot be read: {error.strerror}") from None


def validated(model: type[Model], content: Mapping[str, Any], source: Path | str, within: str = "") -> Model:
    """Return `content` as a `model`; raise `ConfigurationError` for the first mistake.

    `source` is the file or command that the content comes from, `within` the table of it that `content` is.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        field, problem, expected = _first_problem(error, model)
        raise ConfigurationError(source, f"{within}.{field}".strip("."), problem, expected) from None


def _first_problem(error: ValidationError, model: type[BaseModel]) -> tuple[str, str, str]:
    """Return field, problem and what is expected; of a misspelt field and the one missing for it, the misspelt."""
    problems = error.errors(include_url=False)
    details = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    location = details["loc"]
    field = ".".join(map(str, location)) or "(whole)"
    if details["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        near = get_close_matches(str(location[-1]), known, n=1)
        return field, "is not a known field", f"{near[0]!r}" if near else f"one of {', '.join(known)}" if known else ""
    if details["type"] == "missing":
        return field, "is missing", ""
    value = repr(details["input"])
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
    return field, f"{shown}: {details['msg'].removeprefix('Value error, ').removesuffix('.')}", ""


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the names of the fields of the table at `location`, none where that is not a plain table."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            current = next(iter(get_args(current)), None)
        elif _is_model(current) and part in current.model_fields:
            annotation = current.model_fields[part].annotation
            options = [option for option in get_args(annotation) if _is_model(option)]
            current = options[0] if len(options) == 1 and not _is_sequence(annotation) else annotation
        else:
            return []
    return list(current.model_fields) if _is_model(current) else []


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_sequence(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) in (tuple, list)
