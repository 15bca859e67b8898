"""Reader of LIBERO HDF5 files."""

import re
from pathlib import Path, PurePosixPath
from typing import ClassVar

from vla_bench.demos.formats.robomimic import (
    GRIP_SITE_DESCRIPTION,
    HAND_DESCRIPTION,
    ObservationField,
    RobosuiteHdf5Source,
)
from vla_bench.demos.hdf5 import data_attributes, first_observations
from vla_bench.demos.sources import FORMATS, panda_hand_to_grip_site_axis_angle

# ~ LIBERO's HDF5 files: the published ones, and those that OpenVLA's `regenerate_libero_dataset.py` makes of them.
# ~
# ~ Images are stored as OpenGL renders them, rows from the bottom up; a vertical flip turns them right side up.
# ~ (OpenVLA's
# ~ RLDS data rotates them by 180 degrees instead, which also swaps left and right.) In the published files row t of
# ~ the
# ~ observations was seen after action t (LIBERO's `create_dataset.py`), in the regenerated ones before it; both are
# ~ read
# ~ as they are, as everybody trains on them. `ee_ori` is the hand's orientation, which is turned to that of the
# ~ point
# ~ between the fingertips, as our environments give it; as stored it is `hand_axis_angle`.

_SCENE_PREFIX = re.compile(r"^[A-Z_]+_SCENE\d+_")
_LANGUAGE_PATTERN = re.compile(r"\(:language\s+([^)]*)\)")
_FILE_SUFFIX = "_demo"


@FORMATS.named("libero")
class LiberoSource(RobosuiteHdf5Source):
    """One task a file; the gripper is -1 open and +1 close, axis-angles keep the quaternion's sign, as ours do."""

    format = "libero"
    orientation = "upside_down"
    usual_cameras: ClassVar = {"agentview_rgb": "agentview", "eye_in_hand_rgb": "wrist"}
    fields = (
        ObservationField("end_effector_position", "ee_pos", "m, world frame, point between the fingertips"),
        ObservationField(
            "end_effector_axis_angle", "ee_ori", GRIP_SITE_DESCRIPTION, panda_hand_to_grip_site_axis_angle
        ),
        ObservationField("gripper_position", "gripper_states", "m, finger joints"),
        ObservationField("joint_positions", "joint_states", "rad"),
        ObservationField("hand_axis_angle", "ee_ori", HAND_DESCRIPTION),
    )

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether the file has LIBERO's attributes or observations."""
        observations = first_observations(path)
        return "problem_info" in data_attributes(path) or bool(observations & {"agentview_rgb", "eye_in_hand_rgb"})

    def instruction(self, name: str) -> str | None:
        """Return what `problem_info` says, else the BDDL text, else the file's name, as LIBERO itself takes it."""
        said = self._json("problem_info").get("language_instruction")
        if isinstance(said, list):
            said = "".join(said)
        if not said and (found := _LANGUAGE_PATTERN.search(str(self._data.attrs.get("bddl_file_content", "")))):
            said = found[1]
        if not said and self.path.stem.endswith(_FILE_SUFFIX):
            said = _SCENE_PREFIX.sub("", self.path.stem.removesuffix(_FILE_SUFFIX)).replace("_", " ")
        return str(said).strip().strip('"') or None if said else None

    def suite_and_task(self) -> tuple[str, str]:
        """Return the BDDL file's folder and name, else those of this file."""
        bddl = PurePosixPath(str(self._data.attrs.get("bddl_file_name", "")))
        if bddl.name:
            return bddl.parent.name or "libero", bddl.stem
        return "libero", self.path.stem.removesuffix(_FILE_SUFFIX)

    def missing_images_hint(self) -> str:
        """Name LIBERO's own way to images."""
        return "Make it again with LIBERO's `scripts/create_dataset.py --use-camera-obs`."
