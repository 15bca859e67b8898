"""One arm of a robosuite environment: its controller, what that remembers, and what the arm feels."""

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.rotations import quat_wxyz_to_axis_angle
from vla_bench.core.types import FloatArray, ProprioceptionField

_RIGHT = "right"  # what robosuite calls the arm of a robot that has one
_FINGERS, _JOINTS = 2, 7


class Arm:
    """A robot with one arm. Its action has 7 numbers; a gripper that cannot move ignores the last."""

    def __init__(self, robot: Any, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._robot, self._model, self._data = robot, model, data
        self._hand: int = model.body(robot.robot_model.eef_name[_RIGHT]).id
        self._action_dim = int(robot.action_dim)

    @property
    def action_dim(self) -> int:
        """How many numbers of an action robosuite takes: one less than ours where the gripper cannot move."""
        return self._action_dim

    def feel(self) -> None:
        """Note force and torque at the hand, as robosuite does once a control step: Wipe's reward asks for them."""
        force, torque = self._robot.ee_force[_RIGHT], self._robot.ee_torque[_RIGHT]
        self._robot.recent_ee_forcetorques[_RIGHT].push(np.concatenate([force, torque]))

    def look_again(self) -> None:
        """Let the controllers compute everything anew at the next step."""
        for controller in self._robot.part_controllers.values():
            controller.new_update = True

    def proprioception(self) -> FloatArray:
        """Return the arm's own state in the order of `fields`; fingers that there are not stand at 0."""
        robot, data = self._robot, self._data
        end_effector, quat = robot.eef_site_id[_RIGHT], np.zeros(4)
        mujoco.mju_mat2Quat(quat, data.site_xmat[end_effector])
        fingers = np.zeros(_FINGERS)
        if robot.gripper[_RIGHT].dof:
            fingers[:] = data.qpos[robot._ref_gripper_joint_pos_indexes[_RIGHT]]
        parts = (
            data.site_xpos[end_effector],
            quat_wxyz_to_axis_angle(quat),
            fingers,
            data.qpos[robot._ref_joint_pos_indexes],
            data.qvel[robot._ref_joint_vel_indexes],
            quat_wxyz_to_axis_angle(data.xquat[self._hand]),
        )
        return np.concatenate(parts)

    def memory(self) -> NDArray[np.float64]:
        """Return what the controllers remember from step to step: fingers (2), then posture (7)."""
        controller = self._robot.part_controllers[_RIGHT]
        return np.concatenate([np.resize(self._gripper.current_action, _FINGERS), controller.initial_joint])

    def remember(self, memory: NDArray[np.float64]) -> None:
        """Restore what `memory` returned."""
        self._gripper.current_action = memory[:_FINGERS].copy()
        self._robot.part_controllers[_RIGHT].initial_joint = memory[_FINGERS:].copy()

    @property
    def _gripper(self) -> Any:
        return self._robot.gripper[_RIGHT]


MEMORY = _FINGERS + _JOINTS  # numbers that `Arm.memory` returns


def fields(prefix: str = "") -> tuple[ProprioceptionField, ...]:
    """Return the fields of one arm's proprioception; `prefix`, such as "left_", tells two arms apart."""
    single = (
        ProprioceptionField("end_effector_position", 3, "m, world frame, point between the fingertips"),
        ProprioceptionField("end_effector_axis_angle", 3, "rad, world frame, robosuite's sign convention"),
        ProprioceptionField("gripper_position", _FINGERS, "m, finger joints"),
        ProprioceptionField("joint_positions", _JOINTS, "rad"),
        ProprioceptionField("joint_velocities", _JOINTS, "rad/s"),
        ProprioceptionField("hand_axis_angle", 3, "rad, world frame, the body that holds the gripper: LIBERO's state"),
    )
    return tuple(ProprioceptionField(f"{prefix}{field.name}", field.size, field.description) for field in single)
