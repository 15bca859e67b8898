"""Policies that see or act otherwise than they mean to."""

from collections.abc import Callable, Sequence

from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies.policy import Policy, as_chunks
from vla_bench.policies.wrapping import PolicyWrapper

Seeing = Callable[[Observation], Observation]
Acting = Callable[[FloatArray, Sequence[Observation]], FloatArray]  # chunks (B, H, 7) and what was seen before them


class Altered(PolicyWrapper):
    """A policy whose observations and actions pass through functions."""

    def __init__(self, policy: Policy, *, seeing: Seeing | None = None, acting: Acting | None = None) -> None:
        super().__init__(policy)
        self._seeing, self._acting = seeing, acting

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the altered chunks, (B, H, 7)."""
        seen = observations if self._seeing is None else [self._seeing(observation) for observation in observations]
        chunks = as_chunks(self._policy.act(seen, rows=rows), len(rows), self._action_dim)
        return chunks if self._acting is None else self._acting(chunks, observations)
