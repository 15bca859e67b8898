"""How far a policy's actions are from the expert's, in parts that different mistakes spoil."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import FloatArray

_PARTS = (slice(0, 3), slice(3, 6), slice(6, 7))  # position, rotation, gripper
_LEAST_SPREAD = 0.02  # where the expert hardly moves, a small error is a small error


@dataclass(frozen=True, eq=False)
class ActionErrors:
    """Errors relative to what the best constant action would have: 0 is the expert, 1 no better than a constant.

    Each array has one number a moment, (M,); `by_step` one a step of the predicted chunks, (H,).
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    gripper: NDArray[np.float64]
    by_step: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """The mean of the three parts, (M,)."""
        mean: NDArray[np.float64] = (self.position + self.rotation + self.gripper) / 3.0
        return mean


def action_errors(predicted: FloatArray, expert: FloatArray) -> ActionErrors:
    """Compare chunks (M, H, 7) of a policy and of the expert; all but `by_step` judge the first action alone."""
    predicted = np.concatenate([predicted[..., :6], np.sign(predicted[..., 6:])], axis=-1)  # only its sign counts
    parts = [_relative(predicted[..., part], expert[..., part]) for part in _PARTS]
    position, rotation, gripper = (error[:, 0] for error in parts)
    return ActionErrors(position, rotation, gripper, np.mean([error.mean(axis=0) for error in parts], axis=0))


def _relative(predicted: FloatArray, expert: FloatArray) -> NDArray[np.float64]:
    """Return the mean absolute error of each action, (M, H), over that of the expert's median."""
    spread = float(np.abs(expert - np.median(expert, axis=(0, 1))).mean())
    error: NDArray[np.float64] = np.abs(predicted - expert).mean(axis=-1, dtype=np.float64)
    return error / max(spread, _LEAST_SPREAD)
