"""Command-line options derived from the fields of a pydantic model or a dataclass, merged over given values."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vla_bench.core.errors import VlaBenchError

_PLAIN = (bool, int, float, str)
_NONE = "none"  # value of `kind` that leaves out an optional table


class UnusedOptionError(VlaBenchError):
    """Options of a table that is not chosen."""


@dataclass(frozen=True)
class ModelOptions:
    """One option for each plain field of a model and of the tables within it.

    Every plain field of a pydantic model is an option; of a dataclass, every plain field with a description is one, and
    a field without a default must be given. The options of a table that may be None, such as `noise`, take effect if
    its field `kind` is given.
    """

    model: type[Any]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # field or table.field -> option names
    prefixes: Mapping[str, str] = field(default_factory=dict)  # table -> prefix of its option names
    replaces: Mapping[str, str] = field(default_factory=dict)  # field -> field that is dropped when this one is given
    texts: Mapping[str, str] = field(default_factory=dict)  # field -> help text in place of the description
    panels: Mapping[str, str] = field(default_factory=dict)  # table -> heading of its options in the help
    without: frozenset[str] = frozenset()  # fields and tables that are no options

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

    def build(self, content: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        """Return the dataclass with the values of `content` overridden by every given option."""
        merged = self.merge_over(content, options)
        fields = _model_fields(self.model)
        for name, value in merged.items():
            table, optional = _table_type(fields[name].annotation)
            if table is not None and isinstance(value, dict):
                merged[name] = self._build_optional(name, table, value) if optional else table(**_as_tuples(value))
        return self.model(**_as_tuples(merged))

    def _build_optional(self, name: str, table: type[Any], values: dict[str, Any]) -> Any:
        if values.get("kind", _NONE) != _NONE:
            return table(**_as_tuples(values))
        if given := sorted(set(values) - {"kind"}):
            options = " and ".join(self._names(name, one)[0] for one in given)
            switch = self._names(name, "kind")[0]
            wanted = f"{switch} {_model_fields(table)['kind'].default}"
            raise UnusedOptionError(f"{options} cannot take effect without {switch}. Add {wanted}.")
        return None

    def _fields(self, model: type[Any], table: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
        """Yield table, name and field of every field with an option."""
        described_only = not issubclass(model, BaseModel)
        for name, info in _model_fields(model).items():
            if name in self.without or f"{table}.{name}" in self.without:
                continue
            inner, optional = _table_type(info.annotation)
            if inner is not None and (described_only or not optional):
                if not table:
                    yield from self._fields(inner, name)
            elif _option_type(info.annotation) is not None and (info.description or not described_only):
                yield table, name, info

    def _parameter(self, table: str, name: str, info: FieldInfo) -> inspect.Parameter:
        kind = _option_type(info.annotation)
        is_dataclass = not issubclass(self.model, BaseModel)
        default: Any
        if is_dataclass and table and name == "kind" and _table_type(_model_fields(self.model)[table].annotation)[1]:
            kind, default = Literal[(_NONE, *get_args(kind))], _NONE
        else:
            default = None if info.is_required() else info.get_default()
        key = f"{table}.{name}" if table else name
        text = self.texts.get(key, info.description or "")
        shown = default not in (None, ()) and not (is_dataclass and info.default is False)
        if shown and "[default" not in text:
            text += f" [default: {_shown(default)}]"
        required = is_dataclass and not table and info.is_required() and get_origin(kind) is not list
        option = typer.Option(
            *self._declarations(table, name, kind, flag_only=is_dataclass and info.default is False),
            help=text,
            show_default=False,
            rich_help_panel=self._panel(table),
            **(_bounds(info) if is_dataclass and kind in (int, float) else {}),
        )
        return inspect.Parameter(
            _parameter_name(table, name),
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if required else None,
            annotation=Annotated[kind if required else Union[kind, None], option],  # noqa: UP007  # known at run time
        )

    def _names(self, table: str, name: str) -> tuple[str, ...]:
        key = f"{table}.{name}" if table else name
        default = (f"--{self.prefixes.get(table, '')}{name.replace('_', '-')}",)
        return self.names.get(key) or self.names.get(name, default)

    def _declarations(self, table: str, name: str, kind: Any, *, flag_only: bool) -> tuple[str, ...]:
        names = self._names(table, name)
        if kind is not bool or flag_only or name in self.names:
            return names
        return (f"{names[0]}/--no-{names[0].removeprefix('--')}",)

    def _panel(self, table: str) -> str:
        if not table or table in self.panels:
            return self.panels.get(table, "Options")
        kind, _ = _table_type(_model_fields(self.model)[table].annotation)
        return (inspect.getdoc(kind) or table).splitlines()[0].rstrip(".")


def _model_fields(model: type[Any]) -> dict[str, FieldInfo]:
    """Return the fields of a pydantic model or a dataclass, those that a dataclass inherits last."""
    if issubclass(model, BaseModel):
        return model.model_fields
    hints = get_type_hints(model, include_extras=True)
    own = inspect.get_annotations(model)
    fields = sorted(dataclasses.fields(model), key=lambda one: one.name not in own)  # inherited ones last
    return {one.name: _field_info(hints[one.name], one) for one in fields}


def _field_info(annotation: Any, one: "dataclasses.Field[Any]") -> FieldInfo:
    if one.default is not dataclasses.MISSING:
        return FieldInfo.from_annotated_attribute(annotation, one.default)
    info = FieldInfo.from_annotation(annotation)
    if one.default_factory is not dataclasses.MISSING:
        info.default_factory = one.default_factory
    return info


def _table_type(kind: Any) -> tuple[type[Any] | None, bool]:
    """Return the model or dataclass that a field holds, if it holds one, and whether the field may be None."""
    if get_origin(kind) in (Union, UnionType):
        inner = [one for one in get_args(kind) if one is not type(None)]
        return (_table_type(inner[0])[0], True) if len(inner) == 1 else (None, False)
    is_table = isinstance(kind, type) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind))
    return (kind, False) if is_table else (None, False)


def _bounds(info: FieldInfo) -> dict[str, Any]:
    """Return the arguments of `typer.Option` for the limits of a number."""
    limits = {"min": "ge", "max": "le"}
    return {name: getattr(one, of) for one in info.metadata for name, of in limits.items() if hasattr(one, of)}


def _as_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with tuples in place of the lists that typer makes."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


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
