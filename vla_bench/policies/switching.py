"""One policy up to a step, then another: what would the other have done from there?"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import repeat
from typing import TypeVar

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.core.types import ACTION_DIM, FloatArray, Observation
from vla_bench.policies.policy import EnvironmentConventions, Policy, PolicyRequirements, as_chunks

Fact = TypeVar("Fact")


class SwitchedPolicy:
    """`first` acts for `at` steps of an episode, `second` from then on; all rows are copies of one episode.

    A chunk of the first policy is cut off at the switch. `waits` says anew for each episode how many steps pass before
    each chunk takes effect; what would take effect after the switch is the second policy's to answer. Raise
    `ConventionError` where one environment cannot serve both.
    """

    def __init__(
        self, first: Policy, second: Policy, at: int, waits: Callable[[], Iterator[int]] = lambda: repeat(0)
    ) -> None:
        if at < 0:
            raise VlaBenchError(f"Cannot branch at step {at}. Expected 0 or more.")
        self._first, self._second, self._at = first, second, at
        self._requirements = _both(first.requirements, second.requirements)
        self._new_waits, self._waits = waits, waits()
        self._steps, self._action_dim = 0, ACTION_DIM

    @property
    def requirements(self) -> PolicyRequirements:
        """What both policies need."""
        return self._requirements

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Connect both policies."""
        self._action_dim = conventions.action_dim
        self._first.connect(conventions)
        self._second.connect(conventions)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin the episode in both policies."""
        self._steps, self._waits = 0, self._new_waits()
        self._first.reset(instructions, rows=rows, seeds=seeds)
        self._second.reset(instructions, rows=rows, seeds=seeds)

    def padding_group(self, instruction: str) -> Hashable:
        """Return what both policies say."""
        return self._first.padding_group(instruction), self._second.padding_group(instruction)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the next actions of the policy whose turn it is, (B, H, 7)."""
        self._steps += next(self._waits)
        left = self._at - self._steps
        if left <= 0:
            return self._second.act(observations, rows=rows)
        chunks = as_chunks(self._first.act(observations, rows=rows), len(rows), self._action_dim)[:, :left]
        self._steps += chunks.shape[1]
        return chunks


def _both(first: PolicyRequirements, second: PolicyRequirements) -> PolicyRequirements:
    return PolicyRequirements(
        cameras=tuple(dict.fromkeys((*first.cameras, *second.cameras))),
        image_size=_one("image size", first.image_size, second.image_size),
        proprioception=tuple(dict.fromkeys((*first.proprioception, *second.proprioception))),
        expert=_one("expert", first.expert, second.expert),
        depth=first.depth or second.depth,
        action_dim=_one("size of an action", first.action_dim, second.action_dim),
        robot=_one("robot", first.robot, second.robot),
        batch_shape=first.batch_shape,  # the first part must come out as it is recorded
    )


def _one(name: str, first: Fact | None, second: Fact | None) -> Fact | None:
    if first is not None and second is not None and first != second:
        raise ConventionError(f"One environment cannot serve both policies: {name} {first}, then {second}.")
    return second if first is None else first
