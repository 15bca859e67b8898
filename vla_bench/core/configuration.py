"""Reading, validation and writing of TOML configuration."""

import copy
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from vla_bench.core.errors import ConfigurationError


def to_toml(content: Mapping[str, Any], within: str = "") -> str:
    """Return plain data (mappings, sequences, text, numbers, booleans) as TOML; entries that are None are omitted."""
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


Model = TypeVar("Model", bound=BaseModel)

_SHOWN = 60  # characters shown of a wrong value


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file; raise `ConfigurationError` if it is not valid TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(path, "(whole file)", f"is not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigurationError(path, "(whole file)", f"cannot be read: {error.strerror}") from None


def validated(model: type[Model], content: Mapping[str, Any], source: Path | str, within: str = "") -> Model:
    """Return `content` as a `model`; raise `ConfigurationError` for the first mistake.

    `source` is the file or command that the content comes from, `within` the table that `content` belongs to.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        field, problem, expected = _first_problem(error, model)
        raise ConfigurationError(source, f"{within}.{field}".strip("."), problem, expected) from None


def salvaged(
    model: type[Model], content: dict[str, Any], source: Path | str, substitutes: Mapping[str, Any]
) -> tuple[Model | None, list[ConfigurationError]]:
    """Return all mistakes in `content`, and a `model` of the valid rest, so that the rest can be checked further.

    Invalid fields and list entries with missing fields are removed; `substitutes` are values for required fields of the
    outermost table. The model is None if nothing valid remains.
    """
    rest = copy.deepcopy(content)
    found: list[ConfigurationError] | None = None
    while True:
        try:
            return model.model_validate(rest), found or []
        except ValidationError as error:
            problems = _innermost_problems(error)
            if found is None:
                reported = _without_misspelled_fields(problems, model)
                found = [ConfigurationError(source, *_problem_text(problem, model)) for problem in reported]
            if not _take_out(rest, [problem["loc"] for problem in problems], substitutes):
                return None, found


def _innermost_problems(error: ValidationError) -> list[Mapping[str, Any]]:
    """Remove errors that only follow from others: a list is too short because all its entries are invalid."""
    problems = error.errors(include_url=False)
    above = {problem["loc"][:length] for problem in problems for length in range(len(problem["loc"]))}
    return [problem for problem in problems if problem["loc"] not in above]


def _take_out(
    content: dict[str, Any], locations: Iterable[Sequence[int | str]], substitutes: Mapping[str, Any]
) -> bool:
    """Remove the value at each location, or the entry that lacks it; return whether anything was removed."""
    entries: dict[tuple[int, int | str], tuple[Any, int | str]] = {}
    for location in locations:
        holder, key = _innermost(content, location)
        if holder is None and location[0] in substitutes:
            content[str(location[0])] = substitutes[str(location[0])]
        elif holder is None:
            return False
        else:
            entries[id(holder), key] = holder, key
    for holder, key in sorted(entries.values(), key=lambda entry: str(entry[1]).zfill(9), reverse=True):
        del holder[key]  # last list entry first, so that the other indices stay valid
    return True


def _innermost(content: dict[str, Any], location: Sequence[int | str]) -> tuple[Any, int | str]:
    """Return the innermost existing table or list on the path to `location`, and the key of its entry."""
    holder, key, current = None, location[0], content
    for part in location:
        in_table = isinstance(current, dict) and part in current
        in_list = isinstance(current, list) and isinstance(part, int) and part < len(current)
        if not in_table and not in_list:
            break
        holder, key, current = current, part, current[part]  # type: ignore[index]
    return holder, key


def _without_misspelled_fields(problems: list[Mapping[str, Any]], model: type[BaseModel]) -> list[Mapping[str, Any]]:
    """Remove errors of missing fields whose name is only misspelled."""
    misspelled = {
        (*problem["loc"][:-1], near)
        for problem in problems
        if problem["type"] == "extra_forbidden"
        for near in get_close_matches(str(problem["loc"][-1]), _fields_at(model, problem["loc"][:-1]), n=1)
    }
    return [problem for problem in problems if problem["type"] != "missing" or problem["loc"] not in misspelled]


def _first_problem(error: ValidationError, model: type[BaseModel]) -> tuple[str, str, str]:
    """Return field, problem and expected value; prefer a misspelled field to the one missing because of it."""
    problems = error.errors(include_url=False)
    return _problem_text(
        next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0]), model
    )


def _problem_text(details: Mapping[str, Any], model: type[BaseModel]) -> tuple[str, str, str]:
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
    """Return the field names of the table at `location`, or none if it is not a plain table."""
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
