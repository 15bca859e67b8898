"""Batches of one shape, so that an action never depends on what else is computed at the same time.

A matrix product is rounded differently for another number of rows, because libraries choose another kernel for it: with
openvla-nano on a Xeon all rows of a batch of 2 differ in the last bits from the same rows alone. In batches of one
shape, with prompts of one length, they are equal to the bit wherever in the batch a row stands (on one thread, or with
a power of two as the shape).
"""

from collections.abc import Hashable, Sequence
from copy import deepcopy

import numpy as np

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies.policy import Policy, as_chunks
from vla_bench.policies.wrapping import PolicyWrapper


class FixedBatch(PolicyWrapper):
    """Compute `shape` rows at a time: more are split, fewer are filled up with copies of the last.

    Rows of different padding groups are computed apart. Copies have rows of their own, from `first_spare_row` on.
    """

    def __init__(self, policy: Policy, shape: int, *, first_spare_row: int) -> None:
        super().__init__(policy)
        if shape < 1:
            raise VlaBenchError(f"The batch shape is {shape}. Expected 1 or more.")
        self._shape, self._spare_rows = shape, range(first_spare_row, first_spare_row + shape - 1)
        self._instructions: dict[int, str] = {}  # by row, spare rows included
        self._groups: dict[str, Hashable] = {}  # by instruction

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin new episodes in the wrapped policy."""
        super().reset(instructions, rows=rows, seeds=seeds)
        self._instructions.update(zip(rows, instructions, strict=True))
        for instruction in instructions:
            if instruction not in self._groups:
                self._groups[instruction] = self.padding_group(instruction)

    def blocks(self, rows: Sequence[int]) -> list[list[int]]:
        """Split rows into those that are computed together."""
        groups: dict[Hashable, list[int]] = {}
        for row in rows:
            groups.setdefault(self._groups[self._instructions[row]], []).append(row)
        return [
            group[start : start + self._shape]
            for group in groups.values()
            for start in range(0, len(group), self._shape)
        ]

    def full_blocks(self, rows: Sequence[int]) -> list[list[int]]:
        """Return the blocks that are full, or all where none is: what is left over waits for company."""
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
        spare = list(self._spare_rows[: self._shape - len(rows)])
        instruction = self._instructions[rows[-1]]
        strange = [row for row in spare if self._instructions.get(row) != instruction]
        if strange:
            self.reset([instruction] * len(strange), rows=strange, seeds=[0] * len(strange))
        # Each its own: a policy that normalises what it is sent in place would do so once for every row.
        filled = [*observations, *(deepcopy(observations[-1]) for _ in spare)]
        return as_chunks(self._policy.act(filled, rows=[*rows, *spare]), self._shape, self._action_dim)[: len(rows)]
