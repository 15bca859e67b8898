"""What a policy is: it hears when episodes begin and turns observations into chunks of actions, many rows at a time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.core.types import ACTION_DIM, FloatArray, Observation, ProprioceptionField


@dataclass(frozen=True)
class PolicyRequirements:
    """What a policy asks of the environments it acts in."""

    cameras: tuple[str, ...] = ()
    image_size: int | None = None  # side of the square images [pixels]; None: any size will do
    proprioception: tuple[str, ...] = ()  # names of the fields it reads
    needs_expert: bool = False  # wants `observation["expert_action"]`
    depth: bool = False
    robot: str | None = None  # whose actions it learnt; None: it acts on any


@dataclass(frozen=True)
class EnvironmentConventions:
    """What the environments of a run send: a policy checks this before the first step."""

    cameras: tuple[str, ...]
    image_size: int  # side of the square images [pixels]
    proprioception_fields: tuple[ProprioceptionField, ...]
    depth: bool = False
    expert: bool = False  # whether observations carry the expert's action
    robot: str = "panda"


class Policy(Protocol):
    """Turns observations into chunks of actions for a batch whose rows begin and end at different times."""

    @property
    def requirements(self) -> PolicyRequirements:
        """What the environments must send."""

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Learn what the environments send; raise `ConventionError` when that does not fit."""

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin new episodes in these rows of the batch; the other rows go on. A seed belongs to its episode."""

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the next actions of these rows, (B, H, 7) in -1..1: all H are executed before the next call."""


class PolicyBase(ABC):
    """A policy without state between calls; subclasses write `act` and say what they need."""

    @property
    def requirements(self) -> PolicyRequirements:
        """What the environments must send."""
        return PolicyRequirements()

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Check that the environments send what this policy needs."""
        check_requirements(self.requirements, conventions)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:  # noqa: B027
        """Begin new episodes: nothing to do where nothing is remembered."""

    @abstractmethod
    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the next actions of these rows, (B, H, 7)."""


class PolicyOutputError(VlaBenchError):
    """A policy that returned something else than finite actions of the right shape."""


def check_requirements(requirements: PolicyRequirements, conventions: EnvironmentConventions) -> None:
    """Raise `ConventionError` naming everything that the policy needs and the environments do not send."""
    fields = [field.name for field in conventions.proprioception_fields]
    problems = [
        *_missing("camera", requirements.cameras, conventions.cameras),
        *_missing("proprioception field", requirements.proprioception, fields),
    ]
    wanted_size = requirements.image_size if requirements.cameras else None
    if wanted_size not in (None, conventions.image_size):
        problems.append(f"it needs images of {wanted_size} pixels, they send {conventions.image_size}")
    if requirements.robot not in (None, conventions.robot):
        problems.append(f"it was trained on the robot {requirements.robot!r}, theirs is {conventions.robot!r}")
    if requirements.depth and not conventions.depth:
        problems.append("it needs depth images, they send none")
    if requirements.needs_expert and not conventions.expert:
        problems.append("it needs the expert's action, they offer none")
    if problems:
        raise ConventionError(f"The policy does not fit the environments: {'; '.join(problems)}.")


def as_chunks(actions: ArrayLike, batch: int) -> FloatArray:
    """Return `actions` as (B, H, 7) float32; (B, 7) counts as chunks of one.

    Raise `PolicyOutputError` for anything else.
    """
    try:
        chunks = np.asarray(actions, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise PolicyOutputError(f"The policy returned {type(actions).__name__}, not actions: {error}.") from error
    if chunks.ndim == 2:
        chunks = chunks[:, None, :]
    if chunks.ndim != 3 or chunks.shape[0] != batch or chunks.shape[1] == 0 or chunks.shape[2] != ACTION_DIM:
        shape = np.asarray(actions).shape
        raise PolicyOutputError(
            f"The policy returned actions of shape {shape} for {batch} observations. "
            f"Expected ({batch}, H, {ACTION_DIM}) with H of at least 1, or ({batch}, {ACTION_DIM})."
        )
    return chunks


def _missing(kind: str, wanted: Sequence[str], sent: Sequence[str]) -> list[str]:
    problems = []
    for name in wanted:
        if name not in sent:
            near = get_close_matches(name, sent, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            problems.append(f"it needs the {kind} {name!r}{hint}, they send {', '.join(sent) or 'none'}")
    return problems
