"""Rotations against scipy, and the conventions that silently cost success rate."""

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vla_bench.core.geometry import (
    axis_angle_to_quat_wxyz,
    quat_wxyz_multiply,
    quat_wxyz_to_axis_angle,
    quat_wxyz_to_matrix,
    yaw_of,
)
from vla_bench.core.types import FloatArray

QUATERNIONS = [np.roll(Rotation.random(rng=seed).as_quat(), 1) for seed in range(25)]  # wxyz, both signs of w


def _scipy(quat_wxyz: FloatArray) -> Rotation:
    return Rotation.from_quat(np.roll(quat_wxyz, -1))


@pytest.mark.parametrize("quat_wxyz", QUATERNIONS)
def test_matrix_is_scipys(quat_wxyz: FloatArray) -> None:
    np.testing.assert_allclose(quat_wxyz_to_matrix(quat_wxyz), _scipy(quat_wxyz).as_matrix(), atol=1e-12)


def test_matrix_of_an_unnormalised_quaternion_is_a_rotation() -> None:
    np.testing.assert_allclose(quat_wxyz_to_matrix(3.0 * QUATERNIONS[0]), quat_wxyz_to_matrix(QUATERNIONS[0]))


@pytest.mark.parametrize("quat_wxyz", QUATERNIONS)
def test_axis_angle_is_the_same_rotation_as_scipys(quat_wxyz: FloatArray) -> None:
    ours = Rotation.from_rotvec(quat_wxyz_to_axis_angle(quat_wxyz))
    assert (ours * _scipy(quat_wxyz).inv()).magnitude() < 1e-9


@pytest.mark.parametrize("quat_wxyz", QUATERNIONS)
def test_axis_angle_keeps_the_quaternions_sign_as_robosuite_does(quat_wxyz: FloatArray) -> None:
    angles = [np.linalg.norm(quat_wxyz_to_axis_angle(sign * quat_wxyz)) for sign in (1.0, -1.0)]
    assert sum(angles) == pytest.approx(2 * np.pi)
    assert (angles[0] > np.pi) == (quat_wxyz[0] < 0)


@pytest.mark.parametrize("quat_wxyz", QUATERNIONS)
def test_axis_angle_equals_robosuites(quat_wxyz: FloatArray) -> None:
    transform_utils = pytest.importorskip("robosuite.utils.transform_utils")
    expected = transform_utils.quat2axisangle(np.roll(quat_wxyz, -1).copy())
    np.testing.assert_allclose(quat_wxyz_to_axis_angle(quat_wxyz), expected, atol=1e-9)


@pytest.mark.parametrize("quat_wxyz", QUATERNIONS)
def test_axis_angle_and_back(quat_wxyz: FloatArray) -> None:
    np.testing.assert_allclose(axis_angle_to_quat_wxyz(quat_wxyz_to_axis_angle(quat_wxyz)), quat_wxyz, atol=1e-9)


def test_no_rotation_has_no_axis() -> None:
    np.testing.assert_array_equal(axis_angle_to_quat_wxyz(np.zeros(3)), [1, 0, 0, 0])
    np.testing.assert_array_equal(quat_wxyz_to_axis_angle(np.array([1.0, 0, 0, 0])), np.zeros(3))


@pytest.mark.parametrize(("first", "second"), list(itertools.pairwise(QUATERNIONS)))
def test_product_applies_the_second_rotation_first(first: FloatArray, second: FloatArray) -> None:
    vector = np.array([0.3, -1.0, 2.0])
    product = quat_wxyz_to_matrix(quat_wxyz_multiply(first, second)) @ vector
    np.testing.assert_allclose(product, quat_wxyz_to_matrix(first) @ (quat_wxyz_to_matrix(second) @ vector))


@pytest.mark.parametrize("yaw", [-3.0, -1.2, 0.0, 0.4, 2.9])
def test_yaw_of_an_upright_body(yaw: float) -> None:
    assert yaw_of(axis_angle_to_quat_wxyz(np.array([0.0, 0.0, yaw]))) == pytest.approx(yaw)
