"""Steps at which nothing was done, which OpenVLA leaves out of LIBERO's demonstrations."""

import numpy as np
from numpy.typing import NDArray

_STILL = 1e-4  # largest norm of the arm's action; openvla's regenerate_libero_dataset.py


def steps_with_effect(actions: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the steps of an episode, of actions (T, 7), at which the arm moves or the gripper's command changes.

    A change is against the last step that is kept; the first step needs the arm to move.
    """
    kept: list[int] = []
    still = np.linalg.norm(actions[:, :-1], axis=1) < _STILL
    for step, gripper in enumerate(actions[:, -1]):
        if still[step] and (not kept or gripper == actions[kept[-1], -1]):
            continue
        kept.append(step)
    return np.array(kept, dtype=np.int64)
