"""Command-line options derived from the fields of a pydantic model, merged over a TOML file."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class ModelOptions:
    """One option per plain field of a model and of its tables.

    `names` holds option names that differ from their field, `prefixes` the prefix of all options of a table, and
    `replaces` the field that an option overrides.
    """

    model: type[BaseModel]
    names: Mapping[str, tuple[str, ...]]
    prefixes: Mapping[str, str]
    replaces: Mapping[str, str]

    def add_to_command(self, command: Callable[..., None]) -> Callable[..., None]:
        """Return `command` with its last parameter `**options` replaced by one parameter per option."""
        own = inspect.signature(command, eval_str=True).parameters.values()
        kept = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
        made = [self._parameter(*entry) for entry in self._fields(self.model)]
        command.__signature__ = inspect.Signature([*kept, *made])  # type: ignore[attr-defined]  # typer reads it
        command.__annotations__ = {one.name: one.annotation for one in (*kept, *made)}
        return command

    def merge_over(self, content: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """Return `content` overridden by every given option."""
        merged = {key: dict(value) if isinstance(value, Mapping) else value for key, value in content.items()}
        for table, name, _ in self._fields(self.model):
            value = options[_parameter_name(table, name)]
            if value is None or value == []:
                continue
            target = merged.setdefault(table, {}) if table else merged
            target[name] = value
            other = self.replaces.get(name)
            if other is not None and options[_parameter_name(table, other)] is None:
                target.pop(other, None)
        return merged

    def _fields(self, model: type[BaseModel], table: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
        """Yield table, name and field of every field with an option."""
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                if not table:
                    yield from self._fields(kind, name)
            elif _option_type(kind) is not None:
                yield table, name, field

    def _parameter(self, table: str, name: str, field: FieldInfo) -> inspect.Parameter:
        option_name = f"--{self.prefixes.get(table, '')}{name.replace('_', '-')}"
        kind, text = _option_type(field.annotation), field.description or ""
        if field.default not in (None, (), inspect.Parameter.empty) and not field.is_required():
            text += f" [default: {_shown(field.default)}]" if "[default" not in text else ""
        option = typer.Option(
            *self._declarations(name, option_name, kind),
            help=text,
            show_default=False,
            rich_help_panel=self._panel(table),
        )
        return inspect.Parameter(
            _parameter_name(table, name),
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Union[kind, None], option],  # noqa: UP007  # the type is known at run time only
        )

    def _declarations(self, name: str, option_name: str, kind: Any) -> tuple[str, ...]:
        if name in self.names:
            return self.names[name]
        return (f"{option_name}/--no-{option_name.removeprefix('--')}",) if kind is bool else (option_name,)

    def _panel(self, table: str) -> str:
        if not table:
            return "Options"
        kind = self.model.model_fields[table].annotation
        return (inspect.getdoc(kind) or table).splitlines()[0].rstrip(".")


def _parameter_name(table: str, name: str) -> str:
    return f"{table}__{name}" if table else name


def _option_type(kind: Any) -> Any:
    """Return the option type for a field annotation, or None if it has no option."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _option_type(arguments[0])
    if origin is Literal or (isinstance(kind, type) and (kind in _PLAIN or kind.__name__ == "Path")):
        return kind
    if origin is tuple and arguments:
        inner = _option_type(arguments[0])
        many = arguments[1:] == (...,)
        return None if inner is None else list[inner] if many else tuple[tuple(arguments)]  # type: ignore[valid-type, misc]
    if origin in (Union, UnionType):
        options = [_option_type(one) for one in arguments if one is not type(None)]
        lists = [one for one in options if get_origin(one) is list]
        return lists[0] if lists else options[0] if len(options) == 1 else None
    return None


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
