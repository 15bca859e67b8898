"""Compiled control of robosuite's arms: the same states within rounding, at a fraction of the time.

robosuite computes its operational-space control in Python, at every one of the 25 physics steps of a control step.
Gripper targets stay with robosuite, once a control step; goals and torques of the arms are computed here, as in its
`OperationalSpaceController`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from robosuite.controllers.composite.composite_controller import CompositeController
from robosuite.controllers.parts.gripper.simple_grip import SimpleGripController
from robosuite.utils.transform_utils import quat2mat

from vla_bench.core.errors import ConventionError
from vla_bench.core.types import FloatArray
from vla_bench.envs.control.native import call, functions
from vla_bench.envs.control.operational_space import operational_space_torques


class RobosuiteController:
    """Controls and simulates all robots of a robosuite environment whose arms stand on fixed bases."""

    def __init__(self, env: Any) -> None:
        self._model, self._data = env.sim.model._model, env.sim.data._data
        self._robots = env.robots
        self._substeps = int(env.control_timestep / env.model_timestep)
        self._addresses = self._model._address, self._data._address, self._data.qM.ctypes.data
        self._jacobian, self._mass = np.zeros((6, self._model.nv)), np.zeros((self._model.nv, self._model.nv))
        self.begin_episode()

    def begin_episode(self) -> None:
        """Take over the controllers that robosuite has made: it makes them anew at every reset."""
        self._arms: list[tuple[Any, _Arm]] = []
        self._grippers: list[_Gripper] = []
        first = 0
        for robot in self._robots:
            composite = robot.composite_controller
            _check_composite_controller(composite)
            for part, controller in robot.part_controllers.items():
                begin, end = composite._action_split_indexes[part]
                numbers = slice(first + begin, first + end)
                actuators = np.asarray(robot._ref_actuators_indexes_dict[part], dtype=np.int64)
                if part in robot.arms:
                    self._arms.append((controller, self._arm(controller, numbers, actuators)))
                else:
                    self._grippers.append(_gripper(composite.grippers[part], controller, numbers, actuators))
            first += int(robot.action_dim)

    def advance(self, action: FloatArray) -> None:
        """Run one control step under the actions of all robots, one after another."""
        action = np.asarray(action, dtype=np.float64)
        for gripper in self._grippers:
            self._data.ctrl[gripper.actuators] = gripper.command(action)
        for controller, arm in self._arms:
            arm.rest[:] = controller.initial_joint  # restoring a state sets it
        arms = tuple(arm for _, arm in self._arms)
        _advance(functions(), self._addresses, arms, action, self._jacobian, self._mass, self._substeps)

    def _arm(self, controller: Any, numbers: slice, actuators: NDArray[np.int64]) -> "_Arm":
        _check_supported(controller)
        model, data = self._model, self._data
        site = model.site(controller.ref_name).id
        base = model.site(f"{controller.naming_prefix}{controller.part_name}_center").id
        return _Arm(
            site,
            numbers.start,
            np.asarray(controller.qpos_index, dtype=np.int64),
            np.asarray(controller.qvel_index, dtype=np.int64),
            actuators,
            model.actuator_ctrlrange[actuators],
            controller.output_max / controller.input_max,
            controller.kp.astype(np.float64),
            controller.kd.astype(np.float64),
            np.zeros(len(actuators)),
            np.zeros(3),
            np.eye(3),
            data.site_xmat[base].reshape(3, 3),
            data.site_xpos[site],
            data.site_xmat[site].reshape(3, 3),
            data.qpos,
            data.qvel,
            data.qfrc_bias,
            data.ctrl,
        )


@dataclass(frozen=True)
class _Gripper:
    """A gripper of robosuite: from a number of the action to what its actuators are told."""

    model: Any
    numbers: slice  # of the action
    actuators: NDArray[np.int64]
    low: FloatArray  # (actuators,), told where the gripper's own number is -1
    high: FloatArray  # (actuators,), told where it is 1

    def command(self, action: FloatArray) -> FloatArray:
        """Return what the actuators are told, until the next control step."""
        share = (self.model.format_action(action[self.numbers]) + 1.0) / 2.0
        told: FloatArray = self.low + (self.high - self.low) * np.minimum(np.maximum(share, 0.0), 1.0)
        return told


def _gripper(model: Any, controller: Any, numbers: slice, actuators: NDArray[np.int64]) -> _Gripper:
    """Return a gripper at work; its controller's whole doing is to stretch [-1, 1] to the actuators' range."""
    if type(controller) is not SimpleGripController or not controller.use_action_scaling or controller.interpolator:
        raise ConventionError(
            f"robosuite's gripper controller {type(controller).__name__} is not supported as it is set."
        )
    for bound, value in (("input_min", -1), ("input_max", 1), ("output_min", -1), ("output_max", 1)):
        if not np.all(getattr(controller, bound) == value):
            raise ConventionError(
                f"robosuite's gripper controller has {bound}={getattr(controller, bound)}, not {value}."
            )
    return _Gripper(model, numbers, actuators, np.array(controller.actuator_min), np.array(controller.actuator_max))


class _Arm(NamedTuple):
    """What compiled code works with. From `base_matrix` on the arrays are MuJoCo's own memory."""

    site: int  # the point that is controlled
    number: int  # of the action, where the six that are this arm's begin
    qpos_addresses: NDArray[np.int64]
    dof_addresses: NDArray[np.int64]
    actuators: NDArray[np.int64]
    limits: FloatArray  # (joints, 2) [N m]
    scale: FloatArray  # (6,) what 1 in an action means [m, rad]
    kp: FloatArray  # (6,)
    kd: FloatArray  # (6,)
    rest: FloatArray  # (joints,) [rad]
    goal_position: FloatArray  # (3,) world frame
    goal_matrix: FloatArray  # (3, 3) world frame
    base_matrix: FloatArray  # (3, 3) axes that an action is said in
    position: FloatArray  # (3,) of the site
    matrix: FloatArray  # (3, 3) of the site
    qpos: FloatArray
    qvel: FloatArray
    bias: FloatArray
    ctrl: FloatArray


def _check_composite_controller(composite: Any) -> None:
    if type(composite).set_goal is not CompositeController.set_goal:
        raise ConventionError(f"robosuite's {type(composite).__name__} is not supported, only the controller `BASIC`.")


def _check_supported(controller: Any) -> None:
    plain = {
        "impedance_mode": "fixed",
        "input_type": "delta",
        "input_ref_frame": "base",
        "_goal_update_mode": "achieved",
        "use_ori": True,
        "position_limits": None,
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
    for end in ("input", "output"):
        if not np.array_equal(getattr(controller, f"{end}_min"), -getattr(controller, f"{end}_max")):
            raise ConventionError(f"robosuite's arm controller has {end}_min other than minus {end}_max.")


@numba.njit(cache=True)
def _advance(  # type: ignore[no-untyped-def]
    functions, addresses, arms, action, jacobian, mass, substeps
):
    """Run the physics steps of a control step. `jacobian` (6, nv) and `mass` (nv, nv) are room to work in."""
    model, data, inertia = addresses
    for substep in range(substeps):
        call(functions.step1, (model, data))
        call(functions.full_mass, (model, mass.ctypes.data, inertia))
        for arm in arms:
            if substep == 0:
                _set_goal(arm, action[arm.number : arm.number + 6])
            call(functions.jacobian_of_site, (model, data, jacobian.ctypes.data, jacobian[3:].ctypes.data, arm.site))
            _apply(arm, jacobian, mass)
        call(functions.step2, (model, data))


@numba.njit(cache=True)
def _set_goal(arm, action):  # type: ignore[no-untyped-def]
    """Set the goal where the action points from the pose reached."""
    delta = np.minimum(np.maximum(action, -1.0), 1.0) * arm.scale
    base = arm.base_matrix
    angle = np.sqrt(delta[3] ** 2 + delta[4] ** 2 + delta[5] ** 2)
    quat_xyzw = np.array([0.0, 0.0, 0.0, 1.0])
    if angle > 0.0:
        quat_xyzw[:3], quat_xyzw[3] = delta[3:] / angle * np.sin(angle / 2.0), np.cos(angle / 2.0)
    turn = quat2mat(quat_xyzw)  # robosuite's own, since it rounds to single precision
    arm.goal_position[:] = arm.position + base @ delta[:3]
    arm.goal_matrix[:] = base @ turn @ np.ascontiguousarray(base.T) @ arm.matrix


@numba.njit(cache=True)
def _apply(arm, whole_jacobian, whole_mass):  # type: ignore[no-untyped-def]
    size, dofs = len(arm.rest), arm.dof_addresses
    position, velocity = _gather(arm.qpos, arm.qpos_addresses), _gather(arm.qvel, dofs)
    jacobian, mass = np.empty((6, size)), np.empty((size, size))
    for i in range(size):
        for k in range(6):
            jacobian[k, i] = whole_jacobian[k, dofs[i]]
        for j in range(size):
            mass[i, j] = whole_mass[dofs[i], dofs[j]]
    acceleration = _acceleration(
        arm.goal_position - arm.position, arm.goal_matrix, arm.matrix, arm.kp, arm.kd, jacobian, velocity
    )
    torque = operational_space_torques(mass, jacobian, acceleration, arm.rest, position, velocity)
    bias, actuators, limits, ctrl = arm.bias, arm.actuators, arm.limits, arm.ctrl
    for i in range(size):
        ctrl[actuators[i]] = min(max(torque[i] + bias[dofs[i]], limits[i, 0]), limits[i, 1])


@numba.njit(cache=True)
def _gather(values, places):  # type: ignore[no-untyped-def]
    """Return `values[places]`; compiled, that expression is many times slower."""
    taken = np.empty(len(places))
    for i in range(len(places)):
        taken[i] = values[places[i]]
    return taken


@numba.njit(cache=True)
def _acceleration(missing, goal, matrix, kp, kd, jacobian, velocity):  # type: ignore[no-untyped-def]
    """Return how the hand should accelerate (6,), where `missing` (3,) is the way to the goal."""
    acceleration = np.zeros(6)
    acceleration[:3] = missing
    for k in range(3):  # half the sum of the cross products of the axes: robosuite's `orientation_error`
        after, last = (k + 1) % 3, (k + 2) % 3
        for axis in range(3):
            acceleration[3 + k] += 0.5 * matrix[after, axis] * goal[last, axis]
            acceleration[3 + k] -= 0.5 * matrix[last, axis] * goal[after, axis]
    for k in range(6):
        acceleration[k] *= kp[k]
        for i in range(len(velocity)):
            acceleration[k] -= kd[k] * jacobian[k, i] * velocity[i]
    return acceleration
