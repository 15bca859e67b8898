"""Compiled control of robosuite's arms: equal states within rounding, at a fraction of the time.

robosuite computes its operational-space control in Python, at every one of the 25 physics steps of a control step.
Here, goals and torques of the arms are computed as in its `OperationalSpaceController`, in compiled code; robosuite
computes the gripper targets, once per control step.
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
from vla_bench.envs.control.native import call
from vla_bench.envs.control.operational_space import Arm, arm_of, physics_of, simulate


class RobosuiteController:
    """Controls and simulates all robots of a robosuite environment whose arms stand on fixed bases."""

    def __init__(self, env: Any) -> None:
        self._model, self._data = env.sim.model._model, env.sim.data._data
        self._robots = env.robots
        self._substeps = int(env.control_timestep / env.model_timestep)
        self._physics = physics_of(self._model, self._data)
        self.begin_episode()

    def begin_episode(self) -> None:
        """Read robosuite's controllers, which it creates again at every reset."""
        self._controllers: list[Any] = []  # of the arms
        arms: list[Arm] = []
        commands: list[_ArmCommand] = []
        self._grippers: list[_Gripper] = []
        first = 0
        for robot in self._robots:
            composite = robot.composite_controller
            _check_composite_controller(composite)
            for part, controller in robot.part_controllers.items():
                begin, end = composite._action_split_indexes[part]
                indices = slice(first + begin, first + end)
                actuators = np.asarray(robot._ref_actuators_indexes_dict[part], dtype=np.int64)
                if part in robot.arms:
                    _check_supported(controller)
                    self._controllers.append(controller)
                    arms.append(self._arm(controller, actuators))
                    commands.append(self._command(controller, indices))
                else:
                    self._grippers.append(_gripper(composite.grippers[part], controller, indices, actuators))
            first += int(robot.action_dim)
        self._arms, self._commands = tuple(arms), tuple(commands)

    def advance(self, action: FloatArray) -> None:
        """Run one control step with the actions of all robots, concatenated."""
        action = np.asarray(action, dtype=np.float64)
        for gripper in self._grippers:
            self._data.ctrl[gripper.actuators] = gripper.command(action)
        for controller, arm in zip(self._controllers, self._arms, strict=True):
            arm.rest[:] = controller.initial_joint  # restoring a state sets it
        _advance(self._physics, self._arms, self._commands, action, self._substeps)

    def _arm(self, controller: Any, actuators: NDArray[np.int64]) -> Arm:
        return arm_of(
            self._model,
            self._data,
            site=self._model.site(controller.ref_name).id,
            qpos_addresses=np.asarray(controller.qpos_index, dtype=np.int64),
            dof_addresses=np.asarray(controller.qvel_index, dtype=np.int64),
            actuators=actuators,
            gains=(controller.kp.astype(np.float64), controller.kd.astype(np.float64)),
            cholesky=True,
        )

    def _command(self, controller: Any, indices: slice) -> "_ArmCommand":
        base = self._model.site(f"{controller.naming_prefix}{controller.part_name}_center").id
        scale = controller.output_max / controller.input_max
        return _ArmCommand(indices.start, scale, self._data.site_xmat[base].reshape(3, 3))


@dataclass(frozen=True)
class _Gripper:
    """A gripper of robosuite, which maps its part of an action to actuator targets."""

    model: Any
    indices: slice  # of its values in the action
    actuators: NDArray[np.int64]
    low: FloatArray  # (actuators,) targets where the gripper model's output is -1
    high: FloatArray  # (actuators,) targets where the output is 1

    def command(self, action: FloatArray) -> FloatArray:
        """Return the targets of the actuators, (actuators,), until the next control step."""
        fraction = (self.model.format_action(action[self.indices]) + 1.0) / 2.0
        targets: FloatArray = self.low + (self.high - self.low) * np.minimum(np.maximum(fraction, 0.0), 1.0)
        return targets


def _gripper(model: Any, controller: Any, indices: slice, actuators: NDArray[np.int64]) -> _Gripper:
    """Return a gripper; raise `ConventionError` unless its controller only scales [-1, 1] to the actuators' range."""
    if type(controller) is not SimpleGripController or not controller.use_action_scaling or controller.interpolator:
        raise ConventionError(
            f"robosuite's gripper controller {type(controller).__name__} has unsupported settings. "
            "Expected a SimpleGripController with action scaling and without interpolator."
        )
    for bound, value in (("input_min", -1), ("input_max", 1), ("output_min", -1), ("output_max", 1)):
        if not np.all(getattr(controller, bound) == value):
            raise ConventionError(
                f"robosuite's gripper controller has {bound}={getattr(controller, bound)}, not {value}."
            )
    return _Gripper(model, indices, actuators, np.array(controller.actuator_min), np.array(controller.actuator_max))


class _ArmCommand(NamedTuple):
    """The part of an action that moves an arm."""

    begin: int  # index of the first of its six values in the action
    scale: FloatArray  # (6,) displacement of the goal at 1 [m, rad]
    base_matrix: FloatArray  # (3, 3) frame of the displacement: a view of MuJoCo's memory


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
def _advance(physics, arms, commands, action, substeps):  # type: ignore[no-untyped-def]
    """Set the goals of all arms and run the physics steps of a control step."""
    call(physics.functions.step1, (physics.model, physics.data))
    for number in range(len(arms)):
        command = commands[number]
        _set_goal(arms[number], command, action[command.begin : command.begin + 6])
    simulate(physics, arms, substeps)


@numba.njit(cache=True)
def _set_goal(arm, command, action):  # type: ignore[no-untyped-def]
    """Set the goal to the current pose moved by the action."""
    delta = np.minimum(np.maximum(action, -1.0), 1.0) * command.scale
    base = command.base_matrix
    angle = np.sqrt(delta[3] ** 2 + delta[4] ** 2 + delta[5] ** 2)
    quat_xyzw = np.array([0.0, 0.0, 0.0, 1.0])
    if angle > 0.0:
        quat_xyzw[:3], quat_xyzw[3] = delta[3:] / angle * np.sin(angle / 2.0), np.cos(angle / 2.0)
    rotation = quat2mat(quat_xyzw)  # robosuite's own, since it rounds to single precision
    arm.goal_position[:] = arm.position + base @ delta[:3]
    arm.goal_matrix[:] = base @ rotation @ np.ascontiguousarray(base.T) @ arm.matrix
