"""Policies as a user would write them."""

from collections.abc import Sequence

import numpy as np

from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies import PolicyRequirements


class Fragile:
    """Breaks down once, at its third look at the world."""

    requirements = PolicyRequirements(batch_shape=None)
    looks = 0

    def act(self, observations: Sequence[Observation]) -> FloatArray:
        Fragile.looks += len(observations)
        if Fragile.looks == 3:
            raise RuntimeError("broke down")
        return np.zeros((len(observations), 80, 7))


class Looking:
    """Moves by what it sees: a policy of a user, with images."""

    requirements = PolicyRequirements(cameras=("agentview", "wrist"), image_size=32)

    def act(self, observations: Sequence[Observation]) -> FloatArray:
        chunks = []
        for observation in observations:
            images = observation["images"]
            assert {name: image.shape for name, image in images.items()} == dict.fromkeys(images, (32, 32, 3))
            means = np.concatenate([image.mean(axis=(0, 1)) for image in images.values()])  # (6,)
            chunks.append(np.tile([*(means / 128 - 1), 1.0], (8, 1)))
        return np.asarray(chunks)
