"""Policies as users write them."""

from collections.abc import Sequence

import numpy as np

from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies import PolicyRequirements


class Fragile:
    """Raises once, at its third observation."""

    requirements = PolicyRequirements(batch_shape=None)
    looks = 0

    def act(self, observations: Sequence[Observation]) -> FloatArray:
        Fragile.looks += len(observations)
        if Fragile.looks == 3:
            raise RuntimeError("broke down")
        return np.zeros((len(observations), 80, 7))


class Hopeless:
    """Never returns an action."""

    requirements = PolicyRequirements()

    def act(self, observations: Sequence[Observation]) -> FloatArray:
        raise ValueError("no eyes")


class Network:
    """Two torch layers, large enough for results that depend on the batch."""

    requirements = PolicyRequirements(cameras=("agentview", "wrist"), image_size=32)

    def __init__(self) -> None:
        import torch

        torch.manual_seed(0)
        self._layers = torch.nn.Sequential(torch.nn.Linear(6144, 96), torch.nn.Tanh(), torch.nn.Linear(96, 40 * 7))

    def act(self, observations: Sequence[Observation]) -> FloatArray:
        import torch

        images = [np.concatenate([image.ravel() for image in seen["images"].values()]) for seen in observations]
        with torch.inference_mode():
            actions = self._layers(torch.from_numpy(np.stack(images).astype(np.float32) / 128 - 1))
        return actions.reshape(-1, 40, 7).clamp(-1, 1).numpy()  # type: ignore[no-any-return]


class Looking:
    """Moves depending on the images."""

    requirements = PolicyRequirements(cameras=("agentview", "wrist"), image_size=32)

    def act(self, observations: Sequence[Observation]) -> FloatArray:
        chunks = []
        for observation in observations:
            images = observation["images"]
            assert {name: image.shape for name, image in images.items()} == dict.fromkeys(images, (32, 32, 3))
            means = np.concatenate([image.mean(axis=(0, 1)) for image in images.values()])  # (6,)
            chunks.append(np.tile([*(means / 128 - 1), 1.0], (8, 1)))
        return np.asarray(chunks)


class Quitter:
    """Calls sys.exit, as a script does."""

    requirements = PolicyRequirements(batch_shape=None)

    def act(self, observations: Sequence[Observation]) -> FloatArray:
        raise SystemExit(0)
