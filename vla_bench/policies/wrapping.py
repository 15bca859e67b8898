"""What every policy that wraps another has in common."""

from collections.abc import Hashable, Sequence

from vla_bench.core.types import ACTION_DIM
from vla_bench.policies.policy import EnvironmentConventions, Policy, PolicyRequirements


class PolicyWrapper:
    """A policy that passes everything but `act` on to another."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._action_dim = ACTION_DIM

    @property
    def requirements(self) -> PolicyRequirements:
        """What the wrapped policy needs."""
        return self._policy.requirements

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Connect the wrapped policy."""
        self._action_dim = conventions.action_dim
        self._policy.connect(conventions)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin new episodes in the wrapped policy."""
        self._policy.reset(instructions, rows=rows, seeds=seeds)

    def padding_group(self, instruction: str) -> Hashable:
        """Return what the wrapped policy says."""
        return self._policy.padding_group(instruction)
