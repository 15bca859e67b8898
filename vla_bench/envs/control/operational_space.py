"""Operational-space torques of an arm by Cholesky factors: robosuite's formula without its general inverses.

At every physics step robosuite inverts the mass matrix, and takes pseudo-inverses, by singular values, of three
inertias at the end-effector. All four matrices are symmetric and positive definite, so triangular factors of them give
the same numbers up to rounding. Near a singular posture they would not: there, robosuite's own functions are called.
"""

import numba
import numpy as np
from robosuite.utils.control_utils import nullspace_torques, opspace_matrices

_MIN_PIVOT = 1e-7  # of the diagonal; with smaller ones the two ways differ by more than 1e-9
_POSTURE_KP = 10.0  # 1/s^2, critically damped: the default of robosuite's `nullspace_torques`


# Arrays of float64 throughout: `mass` (n, n), `jacobian` (6, n), `acceleration` of the hand (6,), the others (n,).
@numba.njit(cache=True)
def operational_space_torques(mass, jacobian, acceleration, rest, position, velocity):  # type: ignore[no-untyped-def]
    """Return the torques (n,) [N m], without those against gravity, that accelerate the hand and pull to `rest`."""
    mass_factor = mass.copy()
    if _factorize(mass_factor, 0):
        inverse = _inverse_inertia_at_hand(mass_factor, jacobian)
        angular = inverse.copy()
        # The factor of the first three rows of all six is that of the linear part.
        if _factorize(inverse, 0) and _factorize(angular, 3):
            return _torques(mass, jacobian, inverse, angular, acceleration, rest, position, velocity)
    return _torques_near_singularity(mass, jacobian, acceleration, rest, position, velocity)


@numba.njit(cache=True)
def _inverse_inertia_at_hand(mass_factor, jacobian):  # type: ignore[no-untyped-def]
    """Return J M^-1 J^T, (6, 6): the products of the rows that forward substitution makes of the Jacobian's."""
    half, inverse = jacobian.copy(), np.empty((6, 6))
    for i in range(6):
        _forward_substitute(mass_factor, half[i], 0, len(mass_factor))
        for j in range(i + 1):
            total = 0.0
            for k in range(len(mass_factor)):
                total += half[i, k] * half[j, k]
            inverse[i, j] = inverse[j, i] = total
    return inverse


@numba.njit(cache=True)
def _torques(mass, jacobian, full, angular, acceleration, rest, position, velocity):  # type: ignore[no-untyped-def]
    size, kd = len(rest), 2.0 * np.sqrt(_POSTURE_KP)
    pull, felt, wrench, torques = np.empty(size), np.zeros(6), acceleration.copy(), np.zeros(size)
    for i in range(size):  # the joints, as accelerations, and what that would do to the hand, which must not feel it
        pull[i] = _POSTURE_KP * (rest[i] - position[i]) - kd * velocity[i]
        for row in range(6):
            felt[row] += jacobian[row, i] * pull[i]
    _solve(full, wrench, 0, 3)
    _solve(angular, wrench, 3, 6)
    _solve(full, felt, 0, 6)
    for i in range(size):
        for j in range(size):
            torques[i] += mass[i, j] * pull[j]
        for row in range(6):
            torques[i] += jacobian[row, i] * (wrench[row] - felt[row])
    return torques


@numba.njit(cache=True)
def _torques_near_singularity(mass, jacobian, acceleration, rest, position, velocity):  # type: ignore[no-untyped-def]
    _, linear, angular, null = opspace_matrices(mass, jacobian, jacobian[:3], jacobian[3:])
    wrench = np.concatenate((np.dot(linear, acceleration[:3]), np.dot(angular, acceleration[3:])))
    return np.dot(jacobian.T, wrench) + nullspace_torques(mass, null, rest, position, velocity)


@numba.njit(cache=True)
def _factorize(matrix, first):  # type: ignore[no-untyped-def]
    """Leave the Cholesky factor of the rows from `first` in their lower triangle; return whether to rely on it."""
    for column in range(first, len(matrix)):
        pivot = matrix[column, column]
        for k in range(first, column):
            pivot -= matrix[column, k] * matrix[column, k]
        if not pivot > _MIN_PIVOT * matrix[column, column]:
            return False
        matrix[column, column] = np.sqrt(pivot)
        for row in range(column + 1, len(matrix)):
            rest = matrix[row, column]
            for k in range(first, column):
                rest -= matrix[row, k] * matrix[column, k]
            matrix[row, column] = rest / matrix[column, column]
    return True


@numba.njit(cache=True)
def _forward_substitute(factor, vector, first, end):  # type: ignore[no-untyped-def]
    """Substitute in place, from row `first` to before `end`."""
    for i in range(first, end):
        for k in range(first, i):
            vector[i] -= factor[i, k] * vector[k]
        vector[i] /= factor[i, i]


@numba.njit(cache=True)
def _solve(factor, vector, first, end):  # type: ignore[no-untyped-def]
    """Solve in place, from row `first` to before `end` of what `_factorize` left."""
    _forward_substitute(factor, vector, first, end)
    for i in range(end - 1, first - 1, -1):
        for k in range(i + 1, end):
            vector[i] -= factor[k, i] * vector[k]
        vector[i] /= factor[i, i]
