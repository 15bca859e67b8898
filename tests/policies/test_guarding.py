"""A program exit in a policy, from its own code or a library, becomes an error of the policy."""

import asyncio
from collections.abc import Sequence

import pytest

from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies import find_policy
from vla_bench.policies.policy import PolicyBase
from vla_bench.policies.reference import NoopPolicy, RandomPolicy
from vla_bench.policies.wrappers import ExitGuard, PolicyExitError


class Ending(PolicyBase):
    """Policy that raises a given exception."""

    def __init__(self, stop: BaseException) -> None:
        self._stop = stop

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        raise self._stop


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (SystemExit(0), r"served called sys\.exit\(0\) in act\. Raise an exception instead\."),
        (asyncio.CancelledError("the server went"), "served raised CancelledError in act: the server went"),
    ],
)
def test_what_ends_the_program_is_an_error(stop: BaseException, message: str) -> None:
    with pytest.raises(PolicyExitError, match=message):
        ExitGuard(Ending(stop), "served").act([], rows=[])


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), ValueError("no eyes")])
def test_an_interrupt_and_an_error_stay_what_they_are(stop: BaseException) -> None:
    with pytest.raises(type(stop)):
        ExitGuard(Ending(stop), "served").act([], rows=[])


def test_a_kind_of_card_whose_library_exits_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(*_: object, **__: object) -> FloatArray:
        raise SystemExit(3)

    policy = find_policy("noop").load()
    monkeypatch.setattr(NoopPolicy, "act", leave)
    monkeypatch.setattr(NoopPolicy, "reset", leave)
    with pytest.raises(PolicyExitError, match=r"noop called sys\.exit\(3\) in act"):
        policy.act([], rows=[])
    with pytest.raises(PolicyExitError, match=r"noop called sys\.exit\(3\) in reset"):
        policy.reset([], rows=[], seeds=[])


def test_a_card_that_exits_while_it_loads_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    source = find_policy("random")

    def leave(*_: object) -> None:
        raise SystemExit("no server")

    monkeypatch.setattr(RandomPolicy, "__init__", leave)
    with pytest.raises(PolicyExitError, match=r"random called sys\.exit\('no server'\) in loading"):
        source.load()
