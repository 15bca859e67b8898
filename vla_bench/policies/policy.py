"""The policy protocol, what a policy requires of its environments, and checks of its actions."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.core.types import ACTION_DIM, FloatArray, Observation, ProprioceptionField

DEFAULT_BATCH_SHAPE = 4  # rows; openvla-nano: 3.3 ms a row on one core of a Xeon, against 4.2 for 1 and 3.1 for 8


@dataclass(frozen=True)
class PolicyRequirements:
    """What a policy asks of the environments it acts in, and how many rows of its batch it computes together.

    Matrix products of another shape are rounded otherwise, so `batch_shape` decides the last bits of an action. It is
    the same however many rows wait: fewer are padded, more are split (`FixedBatch`).
    """

    cameras: tuple[str, ...] = ()
    image_size: int | None = None  # side of the square images [pixels]; None: any size will do
    proprioception: tuple[str, ...] = ()  # names of the fields it reads
    expert: str | None = (
        None  # whose actions it wants as `observation["expert_action"]`, of `vla_bench.experts.catalogue`
    )
    depth: bool = False
    action_dim: int | None = None  # numbers in an action of the policy; None: as many as the environments take
    robot: str | None = None  # whose actions it learnt; None: it acts on any
    batch_shape: int | None = DEFAULT_BATCH_SHAPE  # None: a row is computed by itself, whatever stands beside it

    def __post_init__(self) -> None:
        if self.batch_shape is not None and self.batch_shape < 1:
            raise VlaBenchError(f"batch_shape is {self.batch_shape}. Expected 1 or more, or None.")


@dataclass(frozen=True)
class EnvironmentConventions:
    """What the environments of a run send: a policy checks this before the first step."""

    cameras: tuple[str, ...]
    image_size: int  # side of the square images [pixels]
    proprioception_fields: tuple[ProprioceptionField, ...]
    depth: bool = False
    expert: str | None = None  # whose actions the observations carry
    action_dim: int = ACTION_DIM  # numbers in an action: 7 for each arm
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

    def padding_group(self, instruction: str) -> Hashable:
        """Return what rows must have in common to be computed together, such as the length of their prompts."""

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the next actions of these rows, (B, H, 7) in -1..1: all H are executed before the next call.

        Where there are two arms, an action has the right one's 7 numbers and then the left one's.
        """


class PolicyBase(ABC):
    """A policy without state between calls; subclasses write `act` and say what they need."""

    _action_dim: int = ACTION_DIM  # numbers in an action, once it is connected

    @property
    def requirements(self) -> PolicyRequirements:
        """What the environments must send."""
        return PolicyRequirements()

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Check that the environments send what this policy needs."""
        check_requirements(self.requirements, conventions)
        self._action_dim = conventions.action_dim

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:  # noqa: B027
        """Begin new episodes: nothing to do where nothing is remembered."""

    def padding_group(self, instruction: str) -> Hashable:
        """Compute rows of the same instruction together: nothing is padded to the length of another's."""
        return instruction

    @abstractmethod
    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the next actions of these rows, (B, H, 7)."""


class PolicyOutputError(VlaBenchError):
    """A policy that returned something else than finite actions of the right shape."""


def check_requirements(requirements: PolicyRequirements, conventions: EnvironmentConventions) -> None:
    """Raise `ConventionError` naming everything that the policy needs and the environments do not send."""
    if requirements.action_dim not in (None, conventions.action_dim):  # for other arms: the rest is no matter then
        arms = conventions.action_dim // ACTION_DIM
        taken = f"{conventions.action_dim}, {ACTION_DIM} for each of {arms} arm{'s' if arms > 1 else ''}"
        raise ConventionError(
            f"The policy does not fit the environments: its actions have {requirements.action_dim} numbers, "
            f"they take {taken}."
        )
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
    if requirements.expert not in (None, conventions.expert):
        offered = "none" if conventions.expert is None else f"those of {conventions.expert!r}"
        problems.append(f"it needs the actions of {requirements.expert!r}, they offer {offered}")
    if problems:
        raise ConventionError(f"The policy does not fit the environments: {'; '.join(problems)}.")


def as_chunks(actions: ArrayLike, batch: int, action_dim: int = ACTION_DIM) -> FloatArray:
    """Return `actions` as (B, H, action_dim) float32; (B, action_dim) counts as chunks of one.

    Raise `PolicyOutputError` for anything else.
    """
    try:
        given = np.asarray(actions)
    except (TypeError, ValueError) as error:
        raise PolicyOutputError(f"The policy returned {type(actions).__name__}, not actions: {error}.") from error
    if not np.can_cast(given.dtype, np.float32, "same_kind"):  # complex, text, objects: a cast would lose or parse
        raise PolicyOutputError(
            f"The policy returned {type(actions).__name__}, not actions: its values are {given.dtype}, no real numbers."
        )
    chunks = given.astype(np.float32)  # a copy: a policy may fill the same array again before these are executed
    if chunks.ndim == 2:
        chunks = chunks[:, None, :]
    if chunks.ndim != 3 or chunks.shape[0] != batch or chunks.shape[1] == 0 or chunks.shape[2] != action_dim:
        raise PolicyOutputError(
            f"The policy returned actions of shape {given.shape} for {batch} observations. "
            f"Expected ({batch}, H, {action_dim}) with H of at least 1, or ({batch}, {action_dim})."
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
