"""Policy wrappers: exit guard, fixed batch shape, and switching from one policy to another at a step.

Batches have one shape because a matrix product rounds differently for another number of rows: libraries choose
another kernel. With openvla-nano on a Xeon all results of a batch of 2 differ in the last bits from the same inputs
alone. In batches of one shape, with prompts of one length, results are bit-identical at any position of the batch
(with one thread, or with a power of two as the shape).
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import repeat
from typing import TypeVar

import numpy as np

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.core.types import ACTION_DIM, FloatArray, Observation
from vla_bench.policies.policy import EnvironmentConventions, Policy, PolicyRequirements, as_chunks


class PolicyWrapper:
    """Base of wrappers: forwards everything but `act` to another policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._action_dim = ACTION_DIM

    @property
    def requirements(self) -> PolicyRequirements:
        """Requirements of the wrapped policy."""
        return self._policy.requirements

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Connect the wrapped policy."""
        self._action_dim = conventions.action_dim
        self._policy.connect(conventions)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Start new episodes in the wrapped policy."""
        self._policy.reset(instructions, rows=rows, seeds=seeds)

    def padding_group(self, instruction: str) -> Hashable:
        """Return the key of the wrapped policy."""
        return self._policy.padding_group(instruction)


class PolicyExitError(VlaBenchError):
    """A policy whose code or library tried to end the program."""

    def __init__(self, name: str, where: str, stop: BaseException) -> None:
        if isinstance(stop, SystemExit):
            super().__init__(f"{name} called sys.exit({stop.code!r}) in {where}. Raise an exception instead.")
        else:  # PanicException of a Rust library, CancelledError of asyncio
            super().__init__(f"{name} raised {type(stop).__name__} in {where}: {stop}")


@contextmanager
def exits_as_errors(name: str, where: str) -> Iterator[None]:
    """Convert exceptions that end the program, except a user interrupt, to `PolicyExitError`."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as stop:
        raise PolicyExitError(name, where, stop) from stop


class ExitGuard(PolicyWrapper):
    """Wrapper of a policy that prevents exits of the program."""

    def __init__(self, policy: Policy, name: str) -> None:
        super().__init__(policy)
        self._name = name

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Connect the wrapped policy."""
        with exits_as_errors(self._name, "connect"):
            super().connect(conventions)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Start new episodes in the wrapped policy."""
        with exits_as_errors(self._name, "reset"):
            super().reset(instructions, rows=rows, seeds=seeds)

    def padding_group(self, instruction: str) -> Hashable:
        """Return the key of the wrapped policy."""
        with exits_as_errors(self._name, "padding_group"):
            return super().padding_group(instruction)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the actions of the wrapped policy."""
        with exits_as_errors(self._name, "act"):
            return self._policy.act(observations, rows=rows)


class FixedBatch(PolicyWrapper):
    """Wrapper with a fixed batch size: larger batches are split, smaller ones are filled with copies of the last slot.

    Slots of different padding groups are computed separately. Copies have their own slots, from `first_spare_slot` on.
    """

    def __init__(self, policy: Policy, shape: int, *, first_spare_slot: int) -> None:
        super().__init__(policy)
        if shape < 1:
            raise VlaBenchError(f"The batch shape is {shape}. Expected 1 or more.")
        self._shape, self._spare_slots = shape, range(first_spare_slot, first_spare_slot + shape - 1)
        self._instructions: dict[int, str] = {}  # by slot, including spare slots
        self._groups: dict[str, Hashable] = {}  # by instruction

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Start new episodes in the wrapped policy."""
        super().reset(instructions, rows=rows, seeds=seeds)
        self._instructions.update(zip(rows, instructions, strict=True))
        for instruction in instructions:
            if instruction not in self._groups:
                self._groups[instruction] = self.padding_group(instruction)

    def blocks(self, rows: Sequence[int]) -> list[list[int]]:
        """Split slots into blocks of one forward pass."""
        groups: dict[Hashable, list[int]] = {}
        for row in rows:
            groups.setdefault(self._groups[self._instructions[row]], []).append(row)
        return [
            group[start : start + self._shape]
            for group in groups.values()
            for start in range(0, len(group), self._shape)
        ]

    def full_blocks(self, rows: Sequence[int]) -> list[list[int]]:
        """Return the full blocks, or all blocks if none is full; the remaining slots wait."""
        blocks = self.blocks(rows)
        return [block for block in blocks if len(block) == self._shape] or blocks

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the actions of the wrapped policy, (B, H, 7)."""
        positions = {row: position for position, row in enumerate(rows)}
        blocks = self.blocks(rows)
        parts = [self._act([observations[positions[row]] for row in block], block) for block in blocks]
        computed = {
            row: chunk
            for block, part in zip(blocks, parts, strict=True)
            for row, chunk in zip(block, part, strict=True)
        }
        return np.stack([computed[row] for row in rows])

    def _act(self, observations: list[Observation], rows: list[int]) -> FloatArray:
        spare = list(self._spare_slots[: self._shape - len(rows)])
        instruction = self._instructions[rows[-1]]
        strange = [row for row in spare if self._instructions.get(row) != instruction]
        if strange:
            self.reset([instruction] * len(strange), rows=strange, seeds=[0] * len(strange))
        # Separate copies: a policy may modify its observations in place.
        filled = [*observations, *(deepcopy(observations[-1]) for _ in spare)]
        return as_chunks(self._policy.act(filled, rows=[*rows, *spare]), self._shape, self._action_dim)[: len(rows)]


Value = TypeVar("Value")


class SwitchedPolicy:
    """Policy in which `first` acts for `at` steps of an episode and `second` afterwards; all slots are copies of one
    episode.

    A chunk of the first policy is truncated at the switch. `waits` returns for each episode the number of steps before
    each chunk takes effect; chunks that would take effect after the switch come from the second policy. Raise
    `ConventionError` if one environment cannot serve both policies.
    """

    def __init__(
        self, first: Policy, second: Policy, at: int, waits: Callable[[], Iterator[int]] = lambda: repeat(0)
    ) -> None:
        if at < 0:
            raise VlaBenchError(f"Cannot branch at step {at}. Expected 0 or more.")
        self._first, self._second, self._at = first, second, at
        self._requirements = _combined_requirements(first.requirements, second.requirements)
        self._new_waits, self._waits = waits, waits()
        self._steps, self._action_dim = 0, ACTION_DIM

    @property
    def requirements(self) -> PolicyRequirements:
        """Requirements of both policies."""
        return self._requirements

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Connect both policies."""
        self._action_dim = conventions.action_dim
        self._first.connect(conventions)
        self._second.connect(conventions)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Start the episode in both policies."""
        self._steps, self._waits = 0, self._new_waits()
        self._first.reset(instructions, rows=rows, seeds=seeds)
        self._second.reset(instructions, rows=rows, seeds=seeds)

    def padding_group(self, instruction: str) -> Hashable:
        """Return the keys of both policies."""
        return self._first.padding_group(instruction), self._second.padding_group(instruction)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the next actions of the active policy, (B, H, 7)."""
        self._steps += next(self._waits)
        left = self._at - self._steps
        if left <= 0:
            return self._second.act(observations, rows=rows)
        chunks = as_chunks(self._first.act(observations, rows=rows), len(rows), self._action_dim)[:, :left]
        self._steps += chunks.shape[1]
        return chunks


def _combined_requirements(first: PolicyRequirements, second: PolicyRequirements) -> PolicyRequirements:
    return PolicyRequirements(
        cameras=tuple(dict.fromkeys((*first.cameras, *second.cameras))),
        image_size=_common_value("image size", first.image_size, second.image_size),
        proprioception=tuple(dict.fromkeys((*first.proprioception, *second.proprioception))),
        expert=_common_value("expert", first.expert, second.expert),
        depth=first.depth or second.depth,
        action_dim=_common_value("size of an action", first.action_dim, second.action_dim),
        robot=_common_value("robot", first.robot, second.robot),
        batch_shape=first.batch_shape,  # the first part must be as recorded
    )


def _common_value(name: str, first: Value | None, second: Value | None) -> Value | None:
    if first is not None and second is not None and first != second:
        raise ConventionError(f"One environment cannot serve both policies: {name} {first}, then {second}.")
    return second if first is None else first
