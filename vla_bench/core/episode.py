"""The identity of an episode: everything that decides its scene, and nothing else."""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, order=True)
class EpisodeIdentity:
    """Which episode of which task: the scene is a pure function of these five fields."""

    suite: str
    task: str
    index: int
    seed: int = 0  # base seed of the run
    variant: str = "clean"

    @property
    def task_id(self) -> str:
        """`suite.task`."""
        return f"{self.suite}.{self.task}"

    def generator(self, purpose: str) -> np.random.Generator:
        """Return the random generator of this episode for one `purpose` ("scene", "policy", "noise", ...)."""
        text = json.dumps({**asdict(self), "purpose": purpose}, sort_keys=True)
        return np.random.default_rng(np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype=np.uint32))

    def scene_seed(self) -> int:
        """Return the seed to give to `env.reset(seed=...)`."""
        return int(self.generator("scene").integers(2**31))


def array_hash(*arrays: NDArray[np.generic]) -> str:
    """Return a short SHA-256 digest of the arrays' dtypes, shapes and bytes, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
