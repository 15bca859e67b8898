"""Where the cameras of demonstrations stand: as declared, else as in the scenes that the files hold."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from vla_bench.core.cameras import CameraGeometry
from vla_bench.core.errors import ConventionError, DemonstrationFileError
from vla_bench.core.types import ProprioceptionField
from vla_bench.demos.sources import open_source
from vla_bench.demos.store import DemonstrationFile
from vla_bench.training.augmentation.config import AugmentationConfig
from vla_bench.training.augmentation.mjcf import camera_in_mjcf, robot_base_in_mjcf
from vla_bench.training.augmentation.robots import robots
from vla_bench.training.augmentation.scene import SceneGeometry
from vla_bench.training.dataset import FrameSelection

T = TypeVar("T")


def scene_of(
    config: AugmentationConfig,
    paths: Sequence[Path],
    cameras: Sequence[str],
    proprioception: Sequence[ProprioceptionField],
    shown_robot: str | None = None,
) -> SceneGeometry:
    """Return the scene that all demonstrations in `paths` share.

    `shown_robot` is whose they are, where they say so: the symmetry of another robot is not theirs.
    Raises `ConventionError` where they do not share one, or hold none and something is not declared.
    """
    undeclared = [name for name in cameras if name not in config.cameras]
    models = _models(paths) if undeclared or config.robot_base_position_world is None else {}
    declared = {name: CameraGeometry(**camera.model_dump()) for name, camera in config.cameras.items()}
    found = {name: _shared(name, models, [camera_in_mjcf(xml, name) for xml in models]) for name in undeclared}
    position = config.robot_base_position_world
    if position is None:
        base = _shared("the robot's base", models, [robot_base_in_mjcf(xml) for xml in models])
    else:
        base = position, (1.0, 0.0, 0.0, 0.0)
    return SceneGeometry(
        cameras={name: declared.get(name) or found[name] for name in cameras},
        robot_base_position_world=base[0],
        robot_base_quat_wxyz_world=base[1],
        proprioception_fields=tuple(proprioception),
        robot=robots[config.robot] if config.robot and shown_robot in (None, config.robot) else None,
    )


def proprioception_fields_of(path: Path, selection: FrameSelection) -> tuple[ProprioceptionField, ...]:
    """Return the selected fields as the demonstrations at `path` describe them, in their order."""
    with open_source(path, selection.options) as source:
        fields = {field.name: field for field in source.facts.proprioception_fields}
    return tuple(fields[name] for name in selection.proprioception)


def _models(paths: Iterable[Path]) -> dict[str, str]:
    """Return every different scene in the files, and the demonstration it was first seen in; none where one has none.

    Only our own files hold scenes.
    """
    models: dict[str, str] = {}
    for path in paths:
        try:
            file = DemonstrationFile(path)
        except DemonstrationFileError:  # of another format: what is damaged was refused when the data was loaded
            return {}
        with file:
            for name in file.names:
                models.setdefault(file.read(name, ()).model_xml, f"{path} {name}")
    return models


def _shared(what: str, models: Mapping[str, str], values: Sequence[T]) -> T:
    """Return the one value that all scenes agree on."""
    if not values:
        raise ConventionError(f"{what}: the demonstrations hold no scene; declare it under [augmentation].")
    for origin, value in zip(models.values(), values, strict=True):
        if value != values[0]:
            first = next(iter(models.values()))
            raise ConventionError(
                f"{what} is not at the same place in {first} and in {origin}; no flip or turn fits both."
            )
    return values[0]
