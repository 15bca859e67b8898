"""MuJoCo Warp goes on from a moment of ours, and what differs is told in words."""

from pathlib import Path

import mujoco
import numpy as np

from vla_bench.performance.measures.mujoco_warp import IMAGE_SIZE, agreement_text, write_snapshot
from vla_bench.performance.workloads import TABLETOP


def test_a_moment_has_what_the_other_side_needs(tmp_path: Path) -> None:
    model_path, moment_path = write_snapshot(TABLETOP, tmp_path)
    model, moment = mujoco.MjModel.from_binary_path(str(model_path)), dict(np.load(moment_path))
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, moment["state"], mujoco.mjtState.mjSTATE_INTEGRATION)
    mujoco.mj_forward(model, data)
    assert data.time > 1.0
    assert data.ncon * 4 == moment["contacts"]
    assert moment["substeps"] == 10  # 5 ms in 50 ms
    reached = data.site_xpos[int(moment["site"])]
    assert 0.0 < np.linalg.norm(moment["goal_position"] - reached) < 0.05  # 0.3 of 5 cm on each axis
    assert moment["pictures"].shape == (2, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert list(moment["camera_names"]) == ["agentview", "wrist"]
    assert moment["cameras"].sum() == 2
    torque = np.abs(moment["ctrl"][moment["actuators"]])
    assert torque.max() > 1.0


def test_differences_are_told_in_words() -> None:
    apart = {"arm_rad": 2e-7, "objects": 0.0032, "objects_per_s": 1.3}
    found = {"torque_nm": 2e-5, "states": {"10": apart}, "contacts": {"table and can": [5, 1]}, "pictures_db": [13.6]}
    text = agreement_text(found)
    assert "torques of the controller differ by 2e-05 N m at most" in text
    assert "after 10 physics steps joints 2e-07 rad, objects 0.0032 (m or of a quaternion)" in text
    assert "(MuJoCo, Warp): table and can 5 and 1." in text
    assert "none" in agreement_text({**found, "contacts": {}})
