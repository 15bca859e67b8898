from itertools import combinations, product

import pytest

from vla_bench.results.statistics.multiple_comparisons import Rank, group_letters, rank


def test_policies_that_were_not_told_apart_share_a_letter_and_a_range() -> None:
    ranks = rank(["a", "b", "c"], {("a", "c")})
    assert ranks == {"a": Rank(1, 2, "a"), "b": Rank(1, 3, "ab"), "c": Rank(2, 3, "b")}


def test_no_difference_is_one_group_and_all_differences_are_ranks() -> None:
    assert set(group_letters(["a", "b", "c"], ()).values()) == {"a"}
    everything = rank(["a", "b", "c"], {("a", "b"), ("a", "c"), ("b", "c")})
    assert [(place.first, place.last, place.group) for place in everything.values()] == [
        (1, 1, "a"),
        (2, 2, "b"),
        (3, 3, "c"),
    ]


@pytest.mark.parametrize("chosen", list(product([False, True], repeat=6)))
def test_letters_say_exactly_which_pairs_differ(chosen: tuple[bool, ...]) -> None:
    names = ["w", "x", "y", "z"]
    pairs = list(combinations(names, 2))
    different = {pair for pair, differs in zip(pairs, chosen, strict=True) if differs}
    letters = group_letters(names, different)
    for one, other in pairs:
        assert bool(set(letters[one]) & set(letters[other])) == ((one, other) not in different)
    assert letters["w"].startswith("a")
