"""SizedCache: values in use are never dropped, unused ones by size and recency."""

import gc

from vla_bench.core.cache import SizedCache


class Thing:
    """A value of a given size."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size


def _cache(max_bytes: int = 10) -> SizedCache[Thing]:
    return SizedCache(Thing, lambda thing: thing.size, max_bytes)


def _names(cache: SizedCache[Thing]) -> set[str]:
    gc.collect()
    return {thing.name for thing in cache.alive()}


def test_the_same_arguments_give_the_same_value() -> None:
    cache = _cache()
    assert cache("a", 1) is cache("a", 1)
    assert cache("a", 2) is not cache("a", 1)
    assert cache.made == 2


def test_unused_values_are_kept_up_to_the_limit() -> None:
    cache = _cache()
    for name in "abcd":
        cache(name, 4)
    assert _names(cache) == {"c", "d"}
    cache("c", 4)  # so that d is the least recently used
    cache("e", 5)
    assert _names(cache) == {"c", "e"}


def test_the_last_value_is_kept_at_any_size() -> None:
    cache = _cache()
    cache("a", 4)
    cache("large", 99)
    assert _names(cache) == {"large"}
    assert cache("large", 99).size == 99
    assert cache.made == 2


def test_a_value_in_use_is_never_dropped() -> None:
    cache = _cache()
    held = cache("held", 8)
    for number in range(20):
        cache(str(number), 8)
    assert cache("held", 8) is held
    assert cache.made == 21
