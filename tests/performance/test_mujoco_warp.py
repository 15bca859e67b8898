"""The snapshot for MuJoCo Warp and the text on its differences."""

from pathlib import Path

import mujoco
import numpy as np

from vla_bench.performance.measures.mujoco_warp import agreement_text, write_snapshot
from vla_bench.performance.workloads import IMAGE_SIZE, TABLETOP


def test_snapshot_contains_the_simulation_state_and_controller(tmp_path: Path) -> None:
    model_path, snapshot_path = write_snapshot(TABLETOP, tmp_path)
    model, snapshot = mujoco.MjModel.from_binary_path(str(model_path)), dict(np.load(snapshot_path))
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, snapshot["state"], mujoco.mjtState.mjSTATE_INTEGRATION)
    mujoco.mj_forward(model, data)
    assert data.time > 1.0
    assert data.ncon * 4 == snapshot["contacts"]
    assert snapshot["substeps"] == 10  # 5 ms in 50 ms
    reached = data.site_xpos[int(snapshot["site"])]
    assert 0.0 < np.linalg.norm(snapshot["goal_position"] - reached) < 0.05  # 0.3 of 5 cm on each axis
    assert snapshot["images"].shape == (2, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert list(snapshot["camera_names"]) == ["agentview", "wrist"]
    assert snapshot["cameras"].sum() == 2
    torque = np.abs(snapshot["ctrl"][snapshot["actuators"]])
    assert torque.max() > 1.0


def test_differences_are_described() -> None:
    apart = {"arm_rad": 2e-7, "objects": 0.0032, "objects_per_s": 1.3}
    found = {"torque_nm": 2e-5, "states": {"10": apart}, "contacts": {"table and can": [5, 1]}, "images_db": [13.6]}
    text = agreement_text(found)
    assert "torques of the controller differ by 2e-05 N m at most" in text
    assert "after 10 physics steps joints 2e-07 rad, objects 0.0032 (m or of a quaternion)" in text
    assert "(MuJoCo, Warp): table and can 5 and 1." in text
    assert "none" in agreement_text({**found, "contacts": {}})
