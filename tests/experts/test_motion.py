"""From a wanted pose to an action: right direction, within limits, by the shorter way round."""

import numpy as np
import pytest

from tests.tasks.small_world import SmallWorld
from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_multiply, quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray
from vla_bench.experts.motion import (
    CLOSE,
    OPEN,
    Pose,
    action_towards,
    nearest_equal_yaw,
    opening_yaw,
    rotation_error_rad,
)

_POINTING_DOWN = np.array([0.0, 1.0, 0.0, 0.0])  # wxyz: half a turn about x
_HERE = np.array([0.0, 0.0, 1.0])  # where a small world's end-effector is


class TurnedWorld(SmallWorld):
    """The gripper points down, turned about the vertical."""

    yaw_rad = 0.0

    def end_effector_quat_wxyz_world(self) -> FloatArray:
        return quat_wxyz_multiply(axis_angle_to_quat_wxyz(np.array([0, 0, self.yaw_rad])), _POINTING_DOWN)


def _world(yaw_rad: float = 0.0) -> TurnedWorld:
    world = TurnedWorld({})
    world.yaw_rad = yaw_rad
    return world


@pytest.mark.parametrize("offset", [(0.01, 0.0, 0.0), (0.0, -0.02, 0.01), (-0.5, 0.25, 0.1)])
def test_it_moves_straight_towards_the_pose(offset: tuple[float, float, float]) -> None:
    action = action_towards(_world(), Pose(_HERE + offset, 0.0), CLOSE)
    move = action[:3].astype(float)
    assert np.allclose(move / np.linalg.norm(move), offset / np.linalg.norm(offset), atol=1e-6)
    assert np.abs(action[:6]).max() <= 0.9 + 1e-6
    assert np.allclose(action[3:6], 0.0, atol=1e-6)
    assert action[6] == CLOSE


def test_at_the_pose_it_stands_still() -> None:
    assert np.allclose(action_towards(_world(0.4), Pose(_HERE, 0.4), OPEN), [0, 0, 0, 0, 0, 0, OPEN], atol=1e-6)


@pytest.mark.parametrize(("now", "wanted", "sign"), [(0.0, 0.2, 1), (0.0, -0.2, -1), (3.0, -3.0, 1), (-3.0, 3.0, -1)])
def test_it_turns_the_shorter_way(now: float, wanted: float, sign: int) -> None:
    action = action_towards(_world(now), Pose(_HERE, wanted), OPEN)
    assert np.sign(action[5]) == sign
    assert np.allclose(action[[0, 1, 2, 3, 4]], 0.0, atol=1e-6)


@pytest.mark.parametrize("yaw", [-1.5, 0.0, 0.7])
@pytest.mark.parametrize("tilt", [0.3, 1.0])
def test_a_tilt_turns_about_the_line_along_which_the_fingers_open(yaw: float, tilt: float) -> None:
    world, pose = _world(yaw), Pose(_HERE, yaw, tilt)
    turn = action_towards(world, pose, OPEN)[3:6].astype(float)
    assert turn / np.linalg.norm(turn) == pytest.approx([np.cos(yaw), np.sin(yaw), 0.0], abs=1e-6)
    assert rotation_error_rad(world, pose) == pytest.approx(tilt)


def test_tilted_a_quarter_turn_the_fingers_point_level_to_the_left_of_their_line() -> None:
    class Level(SmallWorld):
        def end_effector_quat_wxyz_world(self) -> FloatArray:
            return quat_wxyz_multiply(axis_angle_to_quat_wxyz(np.array([np.pi / 2, 0, 0])), _POINTING_DOWN)

    assert rotation_error_rad(Level({}), Pose(_HERE, 0.0, np.pi / 2)) == pytest.approx(0.0, abs=1e-6)
    pointing = quat_wxyz_to_matrix(Level({}).end_effector_quat_wxyz_world())[:, 2]
    assert pointing == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)  # they open along x


@pytest.mark.parametrize("yaw", [-1.5, -0.3, 0.0, 1.2])
def test_the_fingers_direction_is_read_from_the_gripper(yaw: float) -> None:
    assert opening_yaw(_world(yaw)) == pytest.approx(yaw)
    assert opening_yaw(_world(yaw + np.pi)) == pytest.approx(yaw)  # two fingers: half a turn is the same


@pytest.mark.parametrize(
    ("yaw", "symmetry", "to", "expected"),
    [
        (0.1, np.pi / 2, 0.0, 0.1),
        (0.1 + np.pi / 2, np.pi / 2, 0.0, 0.1),
        (-0.1 - np.pi, np.pi / 2, 0.0, -0.1),
        (0.1, np.pi / 2, np.pi / 2, 0.1 + np.pi / 2),
        (1.4, np.pi, 0.0, 1.4),
        (1.7, np.pi, 0.0, 1.7 - np.pi),
        (1.0, 0.0, 0.3, 0.3),  # round: any yaw will do
    ],
)
def test_of_equal_grasps_the_nearest_is_taken(yaw: float, symmetry: float, to: float, expected: float) -> None:
    assert nearest_equal_yaw(yaw, symmetry, to) == pytest.approx(expected)
