"""The evaluation protocol of a run: differences between two protocols, and a protocol as text."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

_MAX_VALUE_LENGTH = 80


def differing_fields(first: object, second: object, name: str = "") -> list[str]:
    """Return the fields whose values differ, as `protocol.rendering: "fast", then "faithful"`."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        names = list(dict.fromkeys([*first, *second]))
        parts = [(f"{name}.{key}" if name else key, first.get(key), second.get(key)) for key in names]
        return [line for key, ours, theirs in parts for line in differing_fields(ours, theirs, key)]
    if first == second:
        return []
    return [f"{name}: {_value_text(first)}, then {_value_text(second)}"]


def _value_text(value: object) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}..."


Protocol = Mapping[str, JsonValue]

# inputs and action execution of one policy: recorded, but not compared between policies
POLICY_INTERFACE = "policy_interface"
_TASKS = "tasks"


def protocol_differences(first: Protocol, second: Protocol) -> list[str]:
    """Return the conditions that differ between runs of different policies, `protocol.rendering: ...`.

    Inputs and chunk execution belong to the policy and are not compared. Only common tasks are compared.
    """
    common = set(_rules(first)) & set(_rules(second))
    return differing_fields(_conditions(first, common), _conditions(second, common), "protocol")


def full_protocol_differences(first: Protocol, second: Protocol) -> list[str]:
    """Return what differs between two runs of one policy: conditions, inputs and chunk execution."""
    interfaces = (_section(first, POLICY_INTERFACE), _section(second, POLICY_INTERFACE))
    return [*protocol_differences(first, second), *differing_fields(*interfaces, f"protocol.{POLICY_INTERFACE}")]


def merged_protocol(first: Protocol, second: Protocol) -> dict[str, JsonValue]:
    """Return the protocol of a resumed run, possibly with additional tasks."""
    rules: dict[str, JsonValue] = {**_rules(first), **_rules(second)}
    return {**first, **({_TASKS: rules} if rules else {})}


def protocol_line(protocol: Protocol, suite: str) -> str:
    """Return the conditions of one suite as one line of text."""
    rules = [rule for task, rule in _rules(protocol).items() if task.partition(".")[0] == suite]
    parts = [f"{name} {value}" for name, value in protocol.items() if name not in (_TASKS, POLICY_INTERFACE) and value]
    for name in dict.fromkeys(name for rule in rules for name in rule):
        values = sorted({rule[name] for rule in rules if name in rule})
        parts.append(f"{name} {values[0]}" if len(values) == 1 else f"{name} {values[0]} to {values[-1]}")
    return f"Protocol: {', '.join(parts)}".replace("_", " ")


def interface_text(protocol: Protocol) -> str:
    """Return inputs and action execution of a policy as a short text."""
    interface: Mapping[str, Any] = _section(protocol, POLICY_INTERFACE)
    if not interface:
        return "not recorded"
    cameras = interface.get("cameras") or []
    sees = f"{', '.join(cameras)} at {interface.get('image_size')} pixels" if cameras else "no images"
    chunk = dict(interface.get("chunk") or {})
    execution = str(chunk.pop("execution", "every action that is returned")).replace("_", " ")
    return f"{sees}; {' '.join([execution, *(f'{name} {value}' for name, value in chunk.items())])}"


def _conditions(protocol: Protocol, tasks: set[str]) -> dict[str, Any]:
    rules = {task: rule for task, rule in _rules(protocol).items() if task in tasks}
    return {
        **{name: value for name, value in protocol.items() if name not in (_TASKS, POLICY_INTERFACE)},
        _TASKS: rules,
    }


def _rules(protocol: Protocol) -> dict[str, dict[str, Any]]:
    return dict(_section(protocol, _TASKS))


def _section(content: Mapping[str, JsonValue], name: str) -> dict[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}
