"""Torques by Cholesky factors, compared with robosuite's own functions; supported settings of its controllers."""

import numpy as np
import pytest

import vla_bench.envs.rendering.backend  # noqa: F401  # chooses OpenGL before robosuite is imported
from vla_bench.core.errors import ConventionError
from vla_bench.core.types import FloatArray
from vla_bench.envs.control.operational_space import ArmState, cholesky_torques
from vla_bench.envs.robosuite.factory import make_robosuite_env

_JOINTS = 7


def _case(seed: int) -> tuple[FloatArray, ...]:
    """Return mass, Jacobian, acceleration, rest, position and velocity."""
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(_JOINTS, _JOINTS))
    mass = root @ root.T + 0.1 * np.eye(_JOINTS)
    others = (generator.normal(size=_JOINTS) for _ in range(3))
    return mass, generator.normal(size=(6, _JOINTS)), 100 * generator.normal(size=6), *others


def _torques(case: tuple[FloatArray, ...]) -> FloatArray:
    mass, jacobian, acceleration, rest, position, velocity = (np.ascontiguousarray(part) for part in case)
    torques: FloatArray = cholesky_torques(ArmState(mass, jacobian, position, velocity), acceleration, rest)
    return torques


def _robosuite_torques(case: tuple[FloatArray, ...]) -> FloatArray:
    from robosuite.utils.control_utils import nullspace_torques, opspace_matrices

    mass, jacobian, acceleration, rest, position, velocity = case
    _, linear, angular, null = opspace_matrices(mass, jacobian, jacobian[:3], jacobian[3:])
    wrench = np.concatenate([linear @ acceleration[:3], angular @ acceleration[3:]])
    torques: FloatArray = jacobian.T @ wrench + nullspace_torques(mass, null, rest, position, velocity)
    return torques


@pytest.mark.parametrize("seed", range(20))
def test_torques_are_robosuite_torques(seed: int) -> None:
    case = _case(seed)
    expected = _robosuite_torques(case)
    assert np.abs(_torques(case) - expected).max() < 1e-10 * np.abs(expected).max()


@pytest.mark.parametrize("lost", [(5,), (0,), (2, 4)])
def test_singular_postures_use_the_formula_of_robosuite(lost: tuple[int, ...]) -> None:
    case = _case(0)
    case[1][list(lost)] = 0.0  # rows of the Jacobian: a singular posture
    torques = _torques(case)
    assert np.isfinite(torques).all()
    assert np.array_equal(torques, _robosuite_torques(case))


def test_nearly_singular_postures_use_the_formula_of_robosuite() -> None:
    case = _case(1)
    case[1][4] = case[1][3] + 1e-6 * case[1][4]
    assert np.array_equal(_torques(case), _robosuite_torques(case))


@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("right", "impedance_mode", "variable", "impedance_mode='variable', not 'fixed'"),
        ("right", "_goal_update_mode", "desired", "_goal_update_mode='desired', not 'achieved'"),
        ("right", "output_min", np.full(6, -0.01), "output_min other than minus output_max"),
        ("right_gripper", "output_max", np.array([0.5]), "gripper controller has output_max=.0.5., not 1"),
    ],
)
def test_unsupported_controller_settings_are_refused(part: str, name: str, value: object, words: str) -> None:
    env = make_robosuite_env("panda", env_name="Lift")
    from vla_bench.envs.control.robosuite import RobosuiteController

    setattr(env.robots[0].part_controllers[part], name, value)
    with pytest.raises(ConventionError, match=words):
        RobosuiteController(env)
    env.close()
