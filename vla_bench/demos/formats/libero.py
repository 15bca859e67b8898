"""Reader of LIBERO HDF5 files: the published ones, and those written by OpenVLA's `regenerate_libero_dataset.py`.

Images are stored with rows from the bottom up, as OpenGL renders them; a vertical flip turns them right side up.
OpenVLA's RLDS data rotates them by 180 degrees instead, which also swaps left and right.

In the published files row t of the observations was recorded after action t (LIBERO's `create_dataset.py`), in the
regenerated files before it. Both are read as stored, as other projects train on them.

`ee_ori` is the orientation of the hand body. It is converted to that of the grip site, which our environments observe;
the stored value is available as `hand_axis_angle`.
"""

import re
from pathlib import PurePosixPath
from typing import ClassVar

from vla_bench.demos.formats.robomimic import (
    GRIP_SITE_DESCRIPTION,
    HAND_DESCRIPTION,
    ObservationField,
    RobosuiteHdf5Source,
)
from vla_bench.demos.hdf5 import SourceCandidate
from vla_bench.demos.sources import FORMATS, panda_hand_to_grip_site_axis_angle

_SCENE_PREFIX = re.compile(r"^[A-Z_]+_SCENE\d+_")
_LANGUAGE_PATTERN = re.compile(r"\(:language\s+([^)]*)\)")
_FILE_SUFFIX = "_demo"


@FORMATS.named("libero")
class LiberoSource(RobosuiteHdf5Source):
    """Source of one LIBERO file, which holds one task; gripper and axis-angle conventions equal ours."""

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
    def recognizes(cls, candidate: SourceCandidate) -> bool:
        """Return whether the file has LIBERO's attributes or observations."""
        return "problem_info" in candidate.attributes or bool(candidate.observations & set(cls.usual_cameras))

    def instruction(self, name: str) -> str | None:
        """Return the instruction in `problem_info`, else in the BDDL text, else in the file name, as LIBERO does."""
        text = self._json("problem_info").get("language_instruction")
        if isinstance(text, list):
            text = "".join(text)
        if not text and (found := _LANGUAGE_PATTERN.search(str(self._data.attrs.get("bddl_file_content", "")))):
            text = found[1]
        if not text and self.path.stem.endswith(_FILE_SUFFIX):
            text = _SCENE_PREFIX.sub("", self.path.stem.removesuffix(_FILE_SUFFIX)).replace("_", " ")
        return str(text).strip().strip('"') or None if text else None

    def suite_and_task(self) -> tuple[str, str]:
        """Return folder and name of the BDDL file, else `libero` and the name of this file."""
        bddl = PurePosixPath(str(self._data.attrs.get("bddl_file_name", "")))
        if bddl.name:
            return bddl.parent.name or "libero", bddl.stem
        return "libero", self.path.stem.removesuffix(_FILE_SUFFIX)

    def missing_images_hint(self) -> str:
        """Name LIBERO's script that renders images."""
        return "Create the file again with LIBERO's `scripts/create_dataset.py --use-camera-obs`."
