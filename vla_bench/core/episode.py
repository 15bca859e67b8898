"""Episode identity and the hashes of scenes and actions."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import UnknownNameError, VlaBenchError

CLEAN = "clean"  # the variant without perturbation

_SCENE_DECIMALS = 5  # of m, rad, m/s: resets differ by about 1e-15 between CPUs, different scenes by far more
_ROUNDED = f"r{_SCENE_DECIMALS}:"  # prefix of hashes of rounded numbers; earlier hashes covered every bit


@dataclass(frozen=True, order=True)
class EpisodeIdentity:
    """Identity of an episode: the scene is a pure function of these five fields."""

    suite: str
    task: str
    index: int
    seed: int = 0  # base seed of the run
    variant: str = CLEAN  # or a perturbation of the clean episode, as `axis=severity,...`

    @property
    def perturbation(self) -> str:
        """The perturbation of the variant; "" for none."""
        return self.variant if "=" in self.variant else ""

    @property
    def task_id(self) -> str:
        """`suite.task`."""
        return f"{self.suite}.{self.task}"

    @property
    def name(self) -> str:
        """`suite.task/variant/seed/index`."""
        return f"{self.task_id}/{self.variant}/{self.seed}/{self.index}"

    def generator(self, purpose: str) -> np.random.Generator:
        """Return the random generator of this episode for one `purpose` ("scene", "policy", "noise", ...)."""
        text = json.dumps({**asdict(self), "purpose": purpose}, sort_keys=True)
        return np.random.default_rng(np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype=np.uint32))

    def scene_seed(self) -> int:
        """Return the seed for `env.reset(seed=...)`; a perturbed episode has the scene of the clean one."""
        scene = replace(self, variant=CLEAN) if self.perturbation else self
        return int(scene.generator("scene").integers(2**31))


def find_episode(text: str, known: Iterable[EpisodeIdentity]) -> EpisodeIdentity:
    """Return the episode named by `text`, as `suite.task/variant/seed/index`.

    All parts but task and index may be omitted if exactly one of the `known` episodes matches. Raise `VlaBenchError`
    otherwise.
    """
    known = sorted(known)
    parts = text.split("/")
    if not 2 <= len(parts) <= 4 or not parts[-1].isdecimal():
        raise VlaBenchError(f"{text!r} is not an episode name. Expected task/index, or suite.task/variant/seed/index.")
    task, between, index = parts[0], parts[1:-1], int(parts[-1])
    of_task = [episode for episode in known if task in (episode.task, episode.task_id)]
    if not of_task:
        raise UnknownNameError("task with recorded episodes", task, {episode.task for episode in known})
    found = [
        episode
        for episode in of_task
        if episode.index == index and all(part in (episode.variant, str(episode.seed)) for part in between)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise VlaBenchError(f"{text!r} matches several episodes: {', '.join(episode.name for episode in found)}.")
    others = sorted({episode.index for episode in of_task})
    raise VlaBenchError(f"No recorded episode {text!r}. The indices of {task} are {others[0]} to {others[-1]}.")


def scene_hash(*arrays: NDArray[np.generic]) -> str:
    """Return the hash of the numbers of a scene, `r5:` and a digest; floats are rounded to 5 decimals.

    Rounding makes the hash of an episode equal on CPUs that round differently.
    """
    return _ROUNDED + array_hash(*map(_rounded, arrays))


def other_kind_of_scene_hash(first: str, second: str) -> str:
    """Return why two scene hashes cannot be compared, or "" if they can."""
    if first.startswith(_ROUNDED) == second.startswith(_ROUNDED):
        return ""
    return f"only one covers rounded numbers ({_ROUNDED}...), the other was recorded before scene hashes were rounded"


def array_hash(*arrays: NDArray[np.generic]) -> str:
    """Return a short SHA-256 digest of the arrays' dtypes, shapes and bytes, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _rounded(array: NDArray[Any]) -> NDArray[Any]:
    if not np.issubdtype(array.dtype, np.floating):
        return array
    rounded: NDArray[Any] = np.round(array, _SCENE_DECIMALS) + 0.0  # -0.0 becomes 0.0
    return rounded
