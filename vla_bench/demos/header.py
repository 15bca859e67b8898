"""File header: cameras, image size, proprioception layout, conventions and origin of all demonstrations of a file."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vla_bench.core.errors import DemonstrationFileError
from vla_bench.core.types import ACTION_DIM, CONTROL_HZ, ProprioceptionField

FORMAT = "vla_bench"
FORMAT_VERSION = 1
ACTION_CONVENTION = "delta_position_axis_angle_gripper_close_positive"  # defined in `vla_bench.core.types`

_MUST_MATCH_KWARGS = ("robot", "rendering", "perturb")  # of the environment, equal in all demonstrations of a file
_REQUIRED = {"env_args", "control_hz", "action_convention", "cameras", "image_size", "depth", "proprioception_fields"}


@dataclass(frozen=True)
class FileHeader:
    """Facts that hold for every demonstration of a file."""

    cameras: tuple[str, ...]
    image_size: int  # pixels, height and width
    proprioception_fields: tuple[ProprioceptionField, ...]
    env_args: Mapping[str, Any]  # robomimic's: env_name, env_version, type, env_kwargs
    depth: bool = False
    segmentation: bool = False
    action_dim: int = ACTION_DIM
    control_hz: int = CONTROL_HZ
    action_convention: str = ACTION_CONVENTION
    collection: Mapping[str, Any] = field(default_factory=dict)  # the options that made the file

    @property
    def robot(self) -> str:
        """Robot that acts; older files do not state it, because the Panda was the only one."""
        return str(self.env_args.get("env_kwargs", {}).get("robot", "panda"))

    @property
    def proprioception_size(self) -> int:
        """Length of the proprioception vector."""
        return sum(field.size for field in self.proprioception_fields)

    def columns(self, name: str) -> slice:
        """Return the columns of a proprioception field in the vector; raise KeyError for an unknown field."""
        end = 0
        for field_ in self.proprioception_fields:
            start, end = end, end + field_.size
            if field_.name == name:
                return slice(start, end)
        raise KeyError(name)

    @property
    def env_kwargs(self) -> Mapping[str, Any]:
        """Arguments of `vla_bench.make` that the demonstrations were recorded with, besides the task."""
        kwargs: Mapping[str, Any] = self.env_args.get("env_kwargs", {})
        return kwargs

    def differences(self, other: "FileHeader") -> list[str]:
        """Return the reasons why demonstrations with this header and with `other` cannot share a file."""
        names = ("cameras", "image_size", "depth", "segmentation", "proprioception_fields", "action_dim", "control_hz")
        pairs = [(name, getattr(self, name), getattr(other, name)) for name in (*names, "action_convention")]
        pairs += [(name, self.env_kwargs.get(name), other.env_kwargs.get(name)) for name in _MUST_MATCH_KWARGS]
        return [
            f"{name} {_format_value(mine)}, not {_format_value(theirs)}"
            for name, mine, theirs in pairs
            if mine != theirs
        ]

    def of_tasks(self, task_ids: Iterable[str]) -> "FileHeader":
        """Return the header for several tasks; robomimic's `env_name` then names their suites."""
        suites = dict.fromkeys(task_id.split(".", 1)[0] for task_id in task_ids)
        return replace(self, env_args={**self.env_args, "env_name": f"vla_bench/{'+'.join(suites)}"})

    def to_attributes(self) -> dict[str, str | int | bool]:
        """Return the attributes of the HDF5 group `data`, without `total`."""
        fields = [[field.name, field.size, field.description] for field in self.proprioception_fields]
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "env_args": json.dumps(dict(self.env_args), indent=4),
            "control_hz": self.control_hz,
            "action_dim": self.action_dim,
            "action_convention": self.action_convention,
            "cameras": json.dumps(list(self.cameras)),
            "image_size": self.image_size,
            "depth": self.depth,
            "segmentation": self.segmentation,
            "proprioception_fields": json.dumps(fields),
            "collection": json.dumps(dict(self.collection)),
        }

    @classmethod
    def from_attributes(cls, path: Path, attributes: Mapping[str, Any]) -> "FileHeader":
        """Read the header of the file at `path`; raise `DemonstrationFileError` for another format."""
        if attributes.get("format") != FORMAT:
            raise DemonstrationFileError(path, _origin_error_text(attributes))
        version = int(attributes.get("format_version", 0))
        if version != FORMAT_VERSION:
            problem = f"its format version {version} was written by another version of vla_bench"
            raise DemonstrationFileError(path, f"{problem}; this version reads format version {FORMAT_VERSION}")
        if missing := sorted(_REQUIRED - attributes.keys()):
            raise DemonstrationFileError(path, f"the group `data` lacks the attributes {', '.join(missing)}")
        try:
            return cls._parsed(attributes)
        except (ValueError, TypeError) as error:
            raise DemonstrationFileError(path, f"an attribute of the group `data` is damaged ({error})") from error

    @classmethod
    def _parsed(cls, attributes: Mapping[str, Any]) -> "FileHeader":
        fields = json.loads(attributes["proprioception_fields"])
        return cls(
            cameras=tuple(json.loads(attributes["cameras"])),
            image_size=int(attributes["image_size"]),
            proprioception_fields=tuple(ProprioceptionField(name, int(size), text) for name, size, text in fields),
            env_args=json.loads(attributes["env_args"]),
            depth=bool(attributes["depth"]),
            segmentation=bool(attributes.get("segmentation", False)),
            action_dim=int(attributes.get("action_dim", ACTION_DIM)),
            control_hz=int(attributes["control_hz"]),
            action_convention=str(attributes["action_convention"]),
            collection=json.loads(attributes.get("collection", "{}")),
        )


def _format_value(value: object) -> str:
    if isinstance(value, ProprioceptionField):
        return f"{value.name} ({value.size})"
    return " + ".join(map(_format_value, value)) if isinstance(value, tuple) else str(value)


def _origin_error_text(attributes: Mapping[str, Any]) -> str:
    """Return which project wrote the file, and what was expected."""
    if "problem_info" in attributes or "bddl_file_name" in attributes:
        origin = "LIBERO"
    elif "env_args" in attributes or "repository_version" in attributes:
        origin = "robomimic or robosuite"
    else:
        origin = "another tool"
    expected = f'data.attrs["format"] == "{FORMAT}", as `vla-bench generate-demos` writes it'
    return f"an HDF5 file of {origin}, not of vla_bench: expected {expected}"
