"""robosuite's control of its arms, compiled: the same torques to the bit, at a fraction of the time.

robosuite computes its operational-space control in Python, at every one of the 25 physics steps of a control step.
Goals and grippers are left to robosuite, once a control step; what remains is done here, in the order of its
`OperationalSpaceController.run_controller` and with its own compiled functions.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import mujoco
import numba
import numpy as np
from numpy.typing import NDArray
from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error

from vla_bench.core.errors import ConventionError
from vla_bench.core.types import FloatArray
from vla_bench.envs.native import call, functions


class RobosuiteControl:
    """Controls and simulates all robots of a robosuite environment whose arms stand on fixed bases."""

    def __init__(self, env: Any) -> None:
        self._model: mujoco.MjModel = env.sim.model._model
        self._data: mujoco.MjData = env.sim.data._data
        self._robots = env.robots
        self._substeps = int(env.control_timestep / env.model_timestep)
        self._addresses = self._model._address, self._data._address, self._data.qM.ctypes.data
        self.begin_episode()

    def begin_episode(self) -> None:
        """Take over the controllers that robosuite has made: it makes them anew at every reset."""
        self._driven = [
            _Driven(
                robot.composite_controller,
                int(robot.action_dim),
                [
                    (controller, self._arm(controller, self._actuators(robot, part)))
                    for part, controller in robot.part_controllers.items()
                    if part in robot.arms
                ],
                [
                    (controller, self._actuators(robot, part))
                    for part, controller in robot.part_controllers.items()
                    if part not in robot.arms
                ],
            )
            for robot in self._robots
        ]
        self._arms = tuple(arm for driven in self._driven for _, arm in driven.arms)

    def advance(self, action: FloatArray) -> None:
        """Run one control step under the actions of all robots, one after another."""
        mujoco.mj_step1(self._model, self._data)
        for driven in self._driven:
            own, action = action[: driven.action_dim], action[driven.action_dim :]
            for controller, arm in driven.arms:
                # All that a goal needs of the state. robosuite would compute the inertia too, which is done below.
                controller.ref_pos[:], controller.ref_ori_mat[:] = arm.position, arm.matrix
                controller.new_update = False
            driven.composite.update_state()
            driven.composite.set_goal(own)
            for controller, arm in driven.arms:
                _take_goal(controller, arm)
            for controller, actuators in driven.others:
                low, high = self._model.actuator_ctrlrange[actuators].T
                self._data.ctrl[actuators] = np.clip(controller.run_controller(), low, high)
        _advance(functions(), self._addresses, self._arms, self._substeps)

    def _actuators(self, robot: Any, part: str) -> NDArray[np.int64]:
        return np.asarray(robot._ref_actuators_indexes_dict[part], dtype=np.int64)

    def _arm(self, controller: Any, actuators: NDArray[np.int64]) -> "_Arm":
        _check_supported(controller)
        model, data = self._model, self._data
        site = model.site(controller.ref_name).id
        return _Arm(
            site,
            np.asarray(controller.qpos_index, dtype=np.int64),
            np.asarray(controller.qvel_index, dtype=np.int64),
            actuators,
            model.actuator_ctrlrange[actuators],
            np.zeros(len(actuators)),
            np.zeros(6),
            np.zeros(6),
            np.zeros(3),
            np.eye(3),
            data.site_xpos[site],
            data.site_xmat[site].reshape(3, 3),
            data.qpos,
            data.qvel,
            data.qfrc_bias,
            data.ctrl,
        )


@dataclass(frozen=True)
class _Driven:
    """One robot, with what moves it."""

    composite: Any  # robosuite's controller of the whole robot
    action_dim: int
    arms: "list[tuple[Any, _Arm]]"  # robosuite's controllers, and what compiled code makes of them
    others: list[tuple[Any, NDArray[np.int64]]]  # grippers, and their actuators


class _Arm(NamedTuple):
    """What compiled code works with. From `position` on the arrays are MuJoCo's own memory."""

    site: int
    qpos_addresses: NDArray[np.int64]
    dof_addresses: NDArray[np.int64]
    actuators: NDArray[np.int64]
    limits: FloatArray  # (joints, 2) [N m]
    rest: FloatArray  # (joints,) [rad]
    kp: FloatArray  # (6,)
    kd: FloatArray  # (6,)
    goal_position: FloatArray  # (3,) world frame
    goal_matrix: FloatArray  # (3, 3) world frame
    position: FloatArray  # (3,) of the site
    matrix: FloatArray  # (3, 3) of the site
    qpos: FloatArray
    qvel: FloatArray
    bias: FloatArray
    ctrl: FloatArray


def _take_goal(controller: Any, arm: _Arm) -> None:
    """Write what robosuite's controller aims at into the memory that compiled code reads."""
    arm.rest[:], arm.kp[:], arm.kd[:] = controller.initial_joint, controller.kp, controller.kd
    arm.goal_position[:] = controller.origin_pos + np.dot(controller.origin_ori, controller.goal_pos)
    arm.goal_matrix[:] = np.dot(controller.origin_ori, controller.goal_ori)


def _check_supported(controller: Any) -> None:
    plain = {
        "impedance_mode": "fixed",
        "input_ref_frame": "base",
        "interpolator_pos": None,
        "interpolator_ori": None,
        "uncoupling": True,
        "num_ref_sites": 1,
    }
    for name, value in plain.items():
        if getattr(controller, name) != value:
            raise ConventionError(
                f"robosuite's arm controller has {name}={getattr(controller, name)!r}, not {value!r}."
            )


@numba.njit(cache=True)
def _advance(functions: Any, addresses: Any, arms: Any, substeps: int) -> None:
    """Run the physics steps of a control step; the first half of the first one has been computed."""
    for substep in range(substeps):
        if substep > 0:
            call(functions.step1, (addresses[0], addresses[1]))
        for arm in arms:
            _apply(functions, addresses, arm)
        call(functions.step2, (addresses[0], addresses[1]))


@numba.njit(cache=True)
def _apply(functions: Any, addresses: Any, arm: Any) -> None:
    model, data, inertia = addresses
    size = arm.qvel.shape[0]
    whole, mass = np.zeros((6, size)), np.empty((size, size))
    rotation = whole[3:]
    call(functions.jacobian_of_site, (model, data, whole.ctypes.data, rotation.ctypes.data, arm.site))
    call(functions.full_mass, (model, mass.ctypes.data, inertia))
    velocity, turning = np.dot(whole[:3], arm.qvel), np.dot(rotation, arm.qvel)
    jacobian = np.ascontiguousarray(whole[:, arm.dof_addresses])
    # Column by column, as numpy leaves it for robosuite: the inverse would differ in the last bit otherwise.
    arm_mass = np.asfortranarray(mass[arm.dof_addresses, :][:, arm.dof_addresses])
    turn = orientation_error(arm.goal_matrix, arm.matrix)
    force = (arm.goal_position - arm.position) * arm.kp[:3] + -velocity * arm.kd[:3]
    moment = turn * arm.kp[3:] + -turning * arm.kd[3:]
    _, by_force, by_moment, null = opspace_matrices(arm_mass, jacobian, jacobian[:3], jacobian[3:])
    wrench = np.concatenate((np.dot(by_force, force), np.dot(by_moment, moment)))
    torque = np.dot(jacobian.T, wrench) + arm.bias[arm.dof_addresses]
    torque += nullspace_torques(arm_mass, null, arm.rest, arm.qpos[arm.qpos_addresses], arm.qvel[arm.dof_addresses])
    for i in range(len(torque)):
        arm.ctrl[arm.actuators[i]] = min(max(torque[i], arm.limits[i, 0]), arm.limits[i, 1])
