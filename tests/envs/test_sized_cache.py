"""Shared values live as long as they are used, and the last ones for a while longer."""

import gc

from vla_bench.core.cache import SizedCache


class Thing:
    """A value of a given size."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size


def _things(most_bytes: int = 10) -> SizedCache[Thing]:
    return SizedCache(Thing, lambda thing: thing.size, most_bytes)


def _names(things: SizedCache[Thing]) -> set[str]:
    gc.collect()
    return {thing.name for thing in things.alive()}


def test_the_same_arguments_give_the_same_value() -> None:
    things = _things()
    assert things("a", 1) is things("a", 1)
    assert things("a", 2) is not things("a", 1)
    assert things.made == 2


def test_values_that_nobody_holds_are_kept_while_they_are_small_together() -> None:
    things = _things()
    for name in "abcd":
        things(name, 4)
    assert _names(things) == {"c", "d"}
    things("c", 4)  # so that d is the one asked for longest ago
    things("e", 5)
    assert _names(things) == {"c", "e"}


def test_the_last_value_is_kept_however_large_it_is() -> None:
    things = _things()
    things("a", 4)
    things("large", 99)
    assert _names(things) == {"large"}
    assert things("large", 99).size == 99
    assert things.made == 2


def test_a_value_that_somebody_holds_stays_the_same_however_many_come_after() -> None:
    things = _things()
    held = things("held", 8)
    for number in range(20):
        things(str(number), 8)
    assert things("held", 8) is held
    assert things.made == 21
