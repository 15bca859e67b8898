"""What ends a program in a policy's code is an error of the policy: it would end the run, perhaps with status 0."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies.policy import EnvironmentConventions, Policy
from vla_bench.policies.wrapping import PolicyWrapper


class PolicyExitError(VlaBenchError):
    """A policy whose code, or a library of it, raised what ends the program."""

    def __init__(self, name: str, where: str, stop: BaseException) -> None:
        if isinstance(stop, SystemExit):
            super().__init__(f"{name} called sys.exit({stop.code!r}) in {where}. Raise an exception instead.")
        else:  # a Rust library's PanicException, asyncio's CancelledError
            super().__init__(f"{name} raised {type(stop).__name__} in {where}: {stop}")


@contextmanager
def no_exit(name: str, where: str) -> Iterator[None]:
    """Turn what ends the program, but for a user's interrupt, into `PolicyExitError`."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as stop:
        raise PolicyExitError(name, where, stop) from stop


class Guarded(PolicyWrapper):
    """A policy that cannot end the program."""

    def __init__(self, policy: Policy, name: str) -> None:
        super().__init__(policy)
        self._name = name

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Connect the wrapped policy."""
        with no_exit(self._name, "connect"):
            super().connect(conventions)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin new episodes in the wrapped policy."""
        with no_exit(self._name, "reset"):
            super().reset(instructions, rows=rows, seeds=seeds)

    def padding_group(self, instruction: str) -> Hashable:
        """Return what the wrapped policy says."""
        with no_exit(self._name, "padding_group"):
            return super().padding_group(instruction)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return what the wrapped policy returns."""
        with no_exit(self._name, "act"):
            return self._policy.act(observations, rows=rows)
