"""Reader of robomimic HDF5 files with images, and the base class of HDF5 readers for robosuite data.

The robomimic files are those that its `dataset_states_to_obs.py` writes (robomimic 0.3 to 0.5).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.conventions import Orientation, turned
from vla_bench.core.errors import ConventionError
from vla_bench.core.types import (
    CONTROL_HZ,
    MAX_DELTA_POSITION_M,
    MAX_DELTA_ROTATION_RAD,
    FloatArray,
    ImageArray,
    ProprioceptionField,
)
from vla_bench.demos.hdf5 import SourceCandidate, damage_reported, episode_number, open_hdf5, read_all, read_images
from vla_bench.demos.header import ACTION_CONVENTION, FORMAT
from vla_bench.demos.sources import (
    FORMATS,
    DemonstrationSource,
    EpisodeFacts,
    SourceFacts,
    SourceOptions,
    map_camera_names,
    panda_hand_to_grip_site,
    quats_xyzw_to_axis_angle,
    with_mujoco_site_sign,
)

_DELTA_SCALES = [MAX_DELTA_POSITION_M] * 3 + [MAX_DELTA_ROTATION_RAD] * 3
GRIP_SITE_DESCRIPTION = "rad, world frame, point between the fingertips, robosuite's sign convention"
HAND_DESCRIPTION = "rad, world frame, the hand's body as robosuite observes it, robosuite's sign convention"
_SUCCESS_REWARD = 1.0  # robosuite's reward of a reached goal, sparse or shaped


@dataclass(frozen=True)
class ObservationField:
    """Key of one of our proprioception fields in an `obs` group, and its conversion to our convention."""

    name: str
    key: str
    description: str
    convert: Callable[[NDArray[Any]], NDArray[np.float32]] = lambda values: np.asarray(values, dtype=np.float32)
    size: int | None = None  # None: as stored
    robot: str | None = None  # the only robot for which the conversion is valid; None: every robot


class RobosuiteHdf5Source(DemonstrationSource):
    """Base class of the readers of robosuite data; a subclass states its names and conventions."""

    format: ClassVar[str]
    orientation: ClassVar[Orientation]
    usual_cameras: ClassVar[Mapping[str, str]]  # the file's key -> our name
    fields: ClassVar[tuple[ObservationField, ...]]  # of several with one name, the first that the file has is used

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self.path = path
        self._options = options
        self._file = open_hdf5(path)
        try:
            with damage_reported(path):
                self._data = self._file["data"]
                self._names = tuple(sorted(self._data, key=episode_number))
                self._env_args = self._json("env_args")
                self.facts = self._facts()
                self.episodes = tuple(self._episode(name) for name in self._names)
        except BaseException:
            self._file.close()
            raise

    def instruction(self, name: str) -> str | None:
        """Return the instruction of an episode; None where the file has none."""
        raise NotImplementedError

    def suite_and_task(self) -> tuple[str, str]:
        """Return suite and task of the file's episodes."""
        raise NotImplementedError

    def missing_images_hint(self) -> str:
        """Return what to do about a file without images, as a sentence."""
        raise NotImplementedError

    def stored_actions(self, name: str) -> NDArray[np.float32]:
        """Return the dataset `actions`."""
        return np.asarray(read_all(self.path, self._dataset(name, "actions")), dtype=np.float32)

    def stored_field(self, name: str, field: str) -> NDArray[np.float32]:
        """Return one field, converted."""
        known = self._fields[field]
        values = known.convert(read_all(self.path, self._dataset(name, f"obs/{known.key}")))
        steps = self._dataset(name, "actions").shape[0]
        if len(values) != steps:
            raise self.fault(f"{name}/obs/{known.key} has {len(values)} steps, but there are {steps} actions")
        return values

    def images(self, name: str, camera: str, steps: NDArray[np.int64]) -> ImageArray:
        """Return images, right side up."""
        dataset = self._dataset(name, f"obs/{self.facts.cameras[camera]}")
        actions = self._dataset(name, "actions").shape[0]
        return turned(read_images(self.path, dataset, steps, actions), self.facts.orientation)

    def subset(self, subset: str) -> tuple[str, ...] | None:
        """Return a mask of the file."""
        masks = self._file.get("mask", {})
        if subset not in masks:
            return None
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in masks[subset][:]]
        if missing := [name for name in names if name not in self._names]:
            raise self.fault(f"the subset {subset!r} names {missing[0]}, which is not in the file")
        return tuple(sorted(names, key=episode_number))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _facts(self) -> SourceFacts:
        if not self._names:
            raise self.fault("there is no demonstration in it")
        observations = self._data[self._names[0]].get("obs", {})
        images = [key for key, found in observations.items() if found.ndim == 4 and found.dtype == np.uint8]
        if not images:
            raise self.fault(f"there are no images in it. {self.missing_images_hint()}")
        self._require_delta_controller()
        self._fields = self._fields_in(observations)
        return SourceFacts(
            format=self.format,
            cameras=map_camera_names(self.path, images, self.usual_cameras, self._options.cameras),
            image_size=observations[images[0]].shape[1:3],
            proprioception_fields=tuple(
                ProprioceptionField(one.name, one.size or int(observations[one.key].shape[1]), one.description)
                for one in self._fields.values()
            ),
            control_hz=self._options.control_hz or self._control_hz(),
            action_convention=ACTION_CONVENTION,
            gripper=self._options.gripper or "close_positive",
            orientation=self._options.orientation or self.orientation,
            robot=self._robot(),
        )

    def _fields_in(self, observations: Mapping[str, Any]) -> dict[str, ObservationField]:
        robots = self._robots()
        found: dict[str, ObservationField] = {}
        for one in self.fields:
            fits = one.robot is None or all(one.robot in robot for robot in robots)
            if one.key in observations and fits:
                found.setdefault(one.name, one)
        return found

    def _robots(self) -> list[str]:
        robots = self._env_args.get("env_kwargs", {}).get("robots", [])
        return [robots] if isinstance(robots, str) else list(robots)

    def _robot(self) -> str | None:
        """Return the robot by our name; LIBERO's Panda on a mount is called MountedPanda."""
        robots = {"panda" if robot.endswith("Panda") else robot.lower() for robot in self._robots()}
        return robots.pop() if len(robots) == 1 else None

    def _episode(self, name: str) -> EpisodeFacts:
        instruction = self._options.instruction or self.instruction(name) or ""
        suite, task = self.suite_and_task()
        rewards = self._data[name].get("rewards")
        success = None if rewards is None else bool((read_all(self.path, rewards) >= _SUCCESS_REWARD).any())
        steps = int(self._dataset(name, "actions").shape[0])
        if not steps:
            raise self.fault(f"{name} has no steps: leave it out of the file")
        return EpisodeFacts(name, instruction, steps, suite, task, success)

    def _control_hz(self) -> int:
        kwargs = self._env_args.get("env_kwargs", {})
        return int(kwargs.get("control_freq", CONTROL_HZ))  # robosuite's default is 20 Hz, too

    def _require_delta_controller(self) -> None:
        """Raise where actions are not scaled end-effector deltas; a file without a controller is accepted."""
        controller = self._controller()
        problem = ""
        if controller.get("type", "OSC_POSE") != "OSC_POSE":
            problem = f"was recorded with the controller {controller['type']}"
        elif controller.get("control_delta") is False or controller.get("input_type", "delta") != "delta":
            problem = "has absolute actions (`control_delta` is false)"
        elif "output_max" in controller and not np.allclose(controller["output_max"], _DELTA_SCALES):
            problem = f"has another action scale (`output_max` is {controller['output_max']})"
        if problem:
            raise ConventionError(
                f"{self.path} {problem}; expected end-effector deltas of OSC_POSE, where 1 means "
                f"{MAX_DELTA_POSITION_M} m or {MAX_DELTA_ROTATION_RAD} rad. Use the dataset's delta-action version."
            )

    def _controller(self) -> dict[str, Any]:
        found = self._env_args.get("env_kwargs", {}).get("controller_configs") or {}
        if isinstance(found, list):
            found = found[0] if found else {}
        parts = found.get("body_parts", {})  # robosuite from 1.5 on
        return dict(parts.get("right", next(iter(parts.values()), {})) if parts else found)

    def _json(self, attribute: str) -> dict[str, Any]:
        text = self._data.attrs.get(attribute, "{}")
        try:
            content = json.loads(text)
        except (TypeError, ValueError) as error:
            raise self.fault(f"the attribute {attribute} of the group `data` is damaged ({error})") from error
        return content if isinstance(content, dict) else {}

    def _dataset(self, name: str, key: str) -> Any:
        found = self._data[name].get(key)
        if not isinstance(found, h5py.Dataset):
            raise self.fault(f"{name} lacks the dataset {key}")
        return found


def _site_axis_angle(quats_xyzw: FloatArray) -> NDArray[np.float32]:
    return quats_xyzw_to_axis_angle(with_mujoco_site_sign(quats_xyzw))


def _hand_to_site_axis_angle(quats_xyzw: FloatArray) -> NDArray[np.float32]:
    return _site_axis_angle(panda_hand_to_grip_site(quats_xyzw))


@FORMATS.named("robomimic")
class RobomimicSource(RobosuiteHdf5Source):
    """Source of one robomimic file; its images are right side up, since robomimic flips them before storing."""

    format = "robomimic"
    orientation = "upright"
    usual_cameras: ClassVar = {"agentview_image": "agentview", "robot0_eye_in_hand_image": "wrist"}
    fields = (
        ObservationField("end_effector_position", "robot0_eef_pos", "m, world frame, point between the fingertips"),
        ObservationField(
            "end_effector_axis_angle", "robot0_eef_quat_site", GRIP_SITE_DESCRIPTION, _site_axis_angle, size=3
        ),
        ObservationField(
            "end_effector_axis_angle",
            "robot0_eef_quat",
            GRIP_SITE_DESCRIPTION,
            _hand_to_site_axis_angle,
            size=3,
            robot="Panda",
        ),
        ObservationField("gripper_position", "robot0_gripper_qpos", "m, finger joints"),
        ObservationField("joint_positions", "robot0_joint_pos", "rad"),
        ObservationField("joint_velocities", "robot0_joint_vel", "rad/s"),
        ObservationField("hand_axis_angle", "robot0_eef_quat", HAND_DESCRIPTION, quats_xyzw_to_axis_angle, size=3),
    )

    @classmethod
    def recognizes(cls, candidate: SourceCandidate) -> bool:
        """Return whether the file has robomimic's attributes or robosuite's observations, and is not ours."""
        attributes = candidate.attributes
        if attributes.get("format") == FORMAT or "problem_info" in attributes:
            return False
        return "env_args" in attributes or any(key.startswith("robot0_") for key in candidate.observations)

    def instruction(self, name: str) -> str | None:
        """Return `lang` of the episode's `ep_meta`, else the attribute `instruction` of the episode or of `data`."""
        attributes = self._data[name].attrs
        try:
            language = json.loads(attributes.get("ep_meta", "{}")).get("lang")
        except (TypeError, ValueError, AttributeError):
            language = None
        text = language or attributes.get("instruction") or self._data.attrs.get("instruction")
        return str(text) if text else None

    def suite_and_task(self) -> tuple[str, str]:
        """Return `robomimic` and the environment's name."""
        return "robomimic", str(self._env_args.get("env_name", self.path.stem))

    def missing_images_hint(self) -> str:
        """Name robomimic's script that renders images."""
        return (
            "Render them with robomimic: `python robomimic/scripts/dataset_states_to_obs.py --done_mode 2 "
            "--dataset low_dim.hdf5 --output_name image.hdf5 --camera_names agentview robot0_eye_in_hand "
            "--camera_height 84 --camera_width 84`."
        )
