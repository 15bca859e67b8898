"""Arm postures that put the end-effector at a wanted pose, for scenes that are looked at rather than acted in."""

import mujoco
import numpy as np

from vla_bench.core.types import FloatArray

_ITERATIONS = 40
_DAMPING = 0.02
_STEP_LIMIT_RAD = 0.4


def reach_posture(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    site: int,
    joints: FloatArray,
    position_world: FloatArray,
    yaw_rad: float,
) -> None:
    """Move the arm in `data` so that `site` points down at `position_world` with its x axis along `yaw_rad`.

    Damped least squares on the kinematics alone; `joints` are ids. Velocities and contacts are left as they are.
    """
    qpos, dof = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
    low, high = model.jnt_range[joints].T
    jacobian_position, jacobian_rotation = np.zeros((3, model.nv)), np.zeros((3, model.nv))
    x_axis, z_axis = np.array([np.cos(yaw_rad), np.sin(yaw_rad), 0.0]), np.array([0.0, 0.0, -1.0])
    wanted = np.stack([x_axis, np.cross(z_axis, x_axis), z_axis], axis=1)
    for _ in range(_ITERATIONS):
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        matrix = data.site_xmat[site].reshape(3, 3)
        turn = 0.5 * sum(np.cross(matrix[:, k], wanted[:, k]) for k in range(3))
        error = np.concatenate([position_world - data.site_xpos[site], turn])
        if np.abs(error).max() < 1e-3:
            return
        mujoco.mj_jacSite(model, data, jacobian_position, jacobian_rotation, site)
        jacobian = np.concatenate([jacobian_position[:, dof], jacobian_rotation[:, dof]])
        step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + _DAMPING**2 * np.eye(6), error)
        data.qpos[qpos] = np.clip(data.qpos[qpos] + np.clip(step, -_STEP_LIMIT_RAD, _STEP_LIMIT_RAD), low, high)
