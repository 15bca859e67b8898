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

# batch size; openvla-nano on one core of a Xeon: 3.3 ms per slot, against 4.2 with 1 and 3.1 with 8
DEFAULT_BATCH_SHAPE = 4


@dataclass(frozen=True)
class PolicyRequirements:
    """Requirements of a policy on its environments, and the batch size of its forward pass.

    Matrix products of another shape round differently, so `batch_shape` decides the last bits of an action. It is
    constant for any number of waiting slots: fewer are padded, more are split (`FixedBatch`).
    """

    cameras: tuple[str, ...] = ()
    image_size: int | None = None  # side of the square images [pixels]; None: any size
    proprioception: tuple[str, ...] = ()  # names of the required fields
    expert: str | None = (
        None  # expert whose actions are required as `observation["expert_action"]`, of `vla_bench.experts.catalogue`
    )
    depth: bool = False
    action_dim: int | None = None  # size of an action; None: that of the environments
    robot: str | None = None  # robot of the training data; None: any
    batch_shape: int | None = DEFAULT_BATCH_SHAPE  # None: slots are computed independently of each other

    def __post_init__(self) -> None:
        if self.batch_shape is not None and self.batch_shape < 1:
            raise VlaBenchError(f"batch_shape is {self.batch_shape}. Expected 1 or more, or None.")


@dataclass(frozen=True)
class EnvironmentConventions:
    """Conventions of the environments of a run; a policy checks them before the first step."""

    cameras: tuple[str, ...]
    image_size: int  # side of the square images [pixels]
    proprioception_fields: tuple[ProprioceptionField, ...]
    depth: bool = False
    expert: str | None = None  # expert whose actions are in the observations
    action_dim: int = ACTION_DIM  # size of an action: 7 per arm
    robot: str = "panda"


class Policy(Protocol):
    """Protocol of policies: action chunks for a batch of slots whose episodes start and end independently."""

    @property
    def requirements(self) -> PolicyRequirements:
        """Requirements on the environments."""

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Check the conventions of the environments; raise `ConventionError` if they do not fit."""

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Start new episodes in these slots; other slots continue. Each seed belongs to its episode."""

    def padding_group(self, instruction: str) -> Hashable:
        """Return the key that slots of one forward pass must share, such as the prompt length."""

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the next actions of these slots, (B, H, 7) in -1..1: all H are executed before the next call.

        With two arms, an action has 7 numbers for the right arm, then 7 for the left.
        """


class PolicyBase(ABC):
    """Base of policies without state between calls; subclasses implement `act` and state their requirements."""

    _action_dim: int = ACTION_DIM  # size of an action, known after `connect`

    @property
    def requirements(self) -> PolicyRequirements:
        """Requirements on the environments."""
        return PolicyRequirements()

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Check the requirements against the environments."""
        check_requirements(self.requirements, conventions)
        self._action_dim = conventions.action_dim

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:  # noqa: B027
        """Start new episodes; nothing to do without state."""

    def padding_group(self, instruction: str) -> Hashable:
        """Return the instruction: slots of one forward pass have the same prompt and need no padding."""
        return instruction

    @abstractmethod
    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the next actions of these slots, (B, H, 7)."""


class PolicyOutputError(VlaBenchError):
    """A policy that did not return finite actions of the right shape."""


def check_requirements(requirements: PolicyRequirements, conventions: EnvironmentConventions) -> None:
    """Raise `ConventionError` with all requirements that the environments do not meet."""
    # another number of arms: the other checks do not apply
    if requirements.action_dim not in (None, conventions.action_dim):
        arms = conventions.action_dim // ACTION_DIM
        taken = f"{conventions.action_dim}, {ACTION_DIM} for each of {arms} arm{'s' if arms > 1 else ''}"
        raise ConventionError(
            f"The policy does not fit the environments: its actions have {requirements.action_dim} numbers, but "
            f"they take {taken}."
        )
    fields = [field.name for field in conventions.proprioception_fields]
    problems = [
        *_missing("camera", requirements.cameras, conventions.cameras),
        *_missing("proprioception field", requirements.proprioception, fields),
    ]
    wanted_size = requirements.image_size if requirements.cameras else None
    if wanted_size not in (None, conventions.image_size):
        problems.append(f"it needs images of {wanted_size} pixels, but they have {conventions.image_size}")
    if requirements.robot not in (None, conventions.robot):
        problems.append(f"it was trained on the robot {requirements.robot!r}, but they have {conventions.robot!r}")
    if requirements.depth and not conventions.depth:
        problems.append("it needs depth images, but they have none")
    if requirements.expert not in (None, conventions.expert):
        offered = "none" if conventions.expert is None else f"those of {conventions.expert!r}"
        problems.append(f"it needs the actions of {requirements.expert!r}, but they have {offered}")
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
    # complex numbers, text or objects, which a cast would truncate or parse
    if not np.can_cast(given.dtype, np.float32, "same_kind"):
        raise PolicyOutputError(
            f"The policy returned {type(actions).__name__} of data type {given.dtype}. Expected real numbers."
        )
    chunks = given.astype(np.float32)  # a copy: a policy may reuse its array before these actions are executed
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
            problems.append(f"it needs the {kind} {name!r}{hint}, but they have {', '.join(sent) or 'none'}")
    return problems
