"""robomimic's HDF5 files with images, as its `dataset_states_to_obs.py` writes them (robomimic 0.3 to 0.5)."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import FloatArray
from vla_bench.demos.conversions import panda_hand_to_grip_site, quats_xyzw_to_axis_angle, signed_as_from_matrix
from vla_bench.demos.foreign_hdf5 import GRIP_SITE, HAND, ForeignHdf5Source, ObservationField
from vla_bench.demos.hdf5 import data_attributes, first_observations
from vla_bench.demos.header import FORMAT
from vla_bench.demos.sources import FORMATS


def _of_site(quats_xyzw: FloatArray) -> NDArray[np.float32]:
    return quats_xyzw_to_axis_angle(signed_as_from_matrix(quats_xyzw))


def _of_hand(quats_xyzw: FloatArray) -> NDArray[np.float32]:
    return _of_site(panda_hand_to_grip_site(quats_xyzw))


@FORMATS.named("robomimic")
class RobomimicSource(ForeignHdf5Source):
    """Images are right side up: robomimic's robosuite wrapper turns them before they are stored."""

    format = "robomimic"
    orientation = "upright"
    usual_cameras: ClassVar = {"agentview_image": "agentview", "robot0_eye_in_hand_image": "wrist"}
    fields = (
        ObservationField("end_effector_position", "robot0_eef_pos", "m, world frame, point between the fingertips"),
        ObservationField("end_effector_axis_angle", "robot0_eef_quat_site", GRIP_SITE, _of_site, size=3),
        ObservationField("end_effector_axis_angle", "robot0_eef_quat", GRIP_SITE, _of_hand, size=3, robot="Panda"),
        ObservationField("gripper_position", "robot0_gripper_qpos", "m, finger joints"),
        ObservationField("joint_positions", "robot0_joint_pos", "rad"),
        ObservationField("joint_velocities", "robot0_joint_vel", "rad/s"),
        ObservationField("hand_axis_angle", "robot0_eef_quat", HAND, quats_xyzw_to_axis_angle, size=3),
    )

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether the file has robomimic's attributes or robosuite's observations, and is not ours."""
        attributes = data_attributes(path)
        if attributes.get("format") == FORMAT or "problem_info" in attributes:
            return False
        return "env_args" in attributes or any(key.startswith("robot0_") for key in first_observations(path))

    def instruction(self, name: str) -> str | None:
        """Return what the episode's `ep_meta` says (`lang`), or else the group's own attribute."""
        attributes = self._data[name].attrs
        try:
            said = json.loads(attributes.get("ep_meta", "{}")).get("lang")
        except (TypeError, ValueError, AttributeError):
            said = None
        text = said or attributes.get("instruction") or self._data.attrs.get("instruction")
        return str(text) if text else None

    def suite_and_task(self) -> tuple[str, str]:
        """Return `robomimic` and the environment's name."""
        return "robomimic", str(self._env_args.get("env_name", self.path.stem))

    def without_images(self) -> str:
        """Name robomimic's own way to images."""
        return (
            "Render them with robomimic: `python robomimic/scripts/dataset_states_to_obs.py --done_mode 2 "
            "--dataset low_dim.hdf5 --output_name image.hdf5 --camera_names agentview robot0_eye_in_hand "
            "--camera_height 84 --camera_width 84`."
        )
