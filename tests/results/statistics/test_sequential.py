import math
from collections.abc import Callable

import numpy as np
import pytest

from vla_bench.results.statistics.sequential import Decision, PairedOutcome, SequentialComparison, next_batch

Outcome = Callable[[str, int], tuple[bool | None, bool | None]]


def play(
    comparison: SequentialComparison, outcome: Outcome, most: int = 10_000
) -> tuple[Decision, list[tuple[str, int]]]:
    """Run what is wanted until nothing is, and return the decision and the episodes in order."""
    ran: list[tuple[str, int]] = []
    decision = comparison.decision()
    while (wanted := comparison.wanted()) and len(ran) < most:
        ran += wanted
        decision = comparison.update(PairedOutcome(task, index, *outcome(task, index)) for task, index in wanted)
    return decision, ran


def by_chance(seed: int, wins: dict[str, float], losses: dict[str, float]) -> Outcome:
    """Return outcomes that are a function of the episode, as those of a simulation are."""

    def outcome(task: str, index: int) -> tuple[bool, bool]:
        drawn = np.random.default_rng([seed, index, *task.encode()]).random()
        return drawn < wins[task], wins[task] <= drawn < wins[task] + losses[task]

    return outcome


TASKS = {"lift": range(100), "stack": range(100), "push": range(100)}
BETTER = by_chance(0, {"lift": 0.6, "stack": 0.5, "push": 0.0}, {"lift": 0.1, "stack": 0.1, "push": 0.0})


def test_a_better_policy_is_found_with_few_episodes() -> None:
    decision, ran = play(SequentialComparison(TASKS), BETTER)
    assert (decision.finding, decision.stopped) == ("first", True)
    assert decision.low >= 0 < decision.difference
    assert decision.p <= 0.05
    assert len(ran) == decision.pairs < 100
    worse, _ = play(SequentialComparison(TASKS), lambda task, index: BETTER(task, index)[::-1])
    assert worse.finding == "second"
    assert (worse.low, worse.high) == pytest.approx((-decision.high, -decision.low))


def test_nothing_is_decided_where_nothing_differs() -> None:
    decision, ran = play(SequentialComparison(TASKS), lambda task, index: (True, True))
    assert (decision.finding, decision.stopped, decision.difference, decision.p) == ("undecided", True, 0.0, 1.0)
    assert len(ran) == 300
    assert decision.low < 0 < decision.high


def test_equal_policies_are_told_equal_within_a_margin_that_was_asked_for() -> None:
    decision, ran = play(SequentialComparison(TASKS, margin=0.1), lambda task, index: (True, True))
    assert decision.finding == "equivalent"
    assert -0.1 <= decision.low <= decision.high <= 0.1
    assert len(ran) < 200


def test_episodes_go_where_the_policies_differ() -> None:
    outcome = by_chance(1, {"lift": 0.3, "stack": 0.3, "push": 0.0}, {"lift": 0.3, "stack": 0.3, "push": 0.0})
    comparison = SequentialComparison(TASKS)
    play(comparison, outcome, most=150)
    pairs = {task.task: task.pairs for task in comparison.decision().tasks}
    assert pairs["push"] < 0.7 * pairs["lift"]
    assert pairs["lift"] == pairs["stack"]


def test_a_batch_asks_for_rounds_over_all_tasks() -> None:
    wanted = SequentialComparison({"b": [5, 7, 9], "a": [1, 2, 3]}, batch=4).wanted()
    assert wanted == [("b", 5), ("a", 1), ("b", 7), ("a", 2)]


def test_the_order_and_grouping_of_outcomes_change_nothing() -> None:
    straight, ran = play(SequentialComparison(TASKS), BETTER)
    one_by_one = SequentialComparison(TASKS)
    while wanted := one_by_one.wanted():
        task, index = wanted[-1]
        one_by_one.update([PairedOutcome(task, index, *BETTER(task, index))])
    assert one_by_one.decision() == straight
    resumed = SequentialComparison(TASKS)
    resumed.update(PairedOutcome(task, index, *BETTER(task, index)) for task, index in reversed(ran))
    assert resumed.decision() == straight
    assert resumed.wanted() == []


def test_a_batch_that_is_half_run_asks_for_the_other_half() -> None:
    comparison = SequentialComparison({"lift": range(8)}, batch=4)
    decision = comparison.update([PairedOutcome("lift", 1, True, False)])
    assert comparison.wanted() == [("lift", 0), ("lift", 2), ("lift", 3)]
    assert (decision.pairs, decision.stopped) == (0, False)
    assert math.isnan(decision.difference)


def test_an_error_is_passed_over_for_the_next_episode() -> None:
    comparison = SequentialComparison({"lift": range(8)}, batch=4)
    comparison.update(PairedOutcome("lift", index, None if index == 2 else True, False) for index in range(4))
    assert comparison.wanted() == [("lift", 4)]
    decision = comparison.update([PairedOutcome("lift", 4, True, False)])
    assert (decision.pairs, decision.tasks[0].wins) == (4, 4)
    assert comparison.wanted() == [("lift", 5), ("lift", 6), ("lift", 7)]


def test_a_task_of_nothing_but_errors_ends_the_comparison() -> None:
    decision, _ = play(
        SequentialComparison({"a": range(5), "b": range(5)}), lambda task, index: (task == "a" or None, True)
    )
    assert (decision.finding, decision.stopped, decision.pairs) == ("undecided", True, 0)


def test_tasks_are_tested_each_with_holm() -> None:
    decision, _ = play(SequentialComparison(TASKS, alpha=1e-9), BETTER)
    p, adjusted = {task.task: task.p for task in decision.tasks}, decision.adjusted()
    assert p["lift"] < p["stack"] < 0.01
    assert adjusted == pytest.approx({"lift": 3 * p["lift"], "stack": 2 * p["stack"], "push": 1.0})


@pytest.mark.parametrize(
    ("episodes", "options", "text"),
    [
        ({}, {}, "a task has no episodes"),
        ({"lift": []}, {}, "a task has no episodes"),
        ({"lift": [0]}, {"alpha": 0.0}, r"are 0\.0, 0\.0 and 16"),
        ({"lift": [0]}, {"margin": 1.0}, r"are 0\.05, 1\.0 and 16"),
        ({"lift": [0]}, {"batch": 0}, r"are 0\.05, 0\.0 and 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    episodes: dict[str, list[int]], options: dict[str, float], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        SequentialComparison(episodes, **options)  # type: ignore[arg-type]


def test_next_batch_gives_two_to_one_where_policies_differ_and_never_more_than_is_left() -> None:
    asked, rounds = next_batch([10, 0], [20, 20], [80, 80], 16)
    assert (asked.tolist(), int(rounds)) == ([2, 1], 6)
    assert next_batch([10, 0], [20, 20], [1, 80], 16)[0].tolist() == [1, 1]
    assert int(next_batch([0, 0], [20, 20], [0, 5], 16)[1]) == 0
    many, _ = next_batch(np.array([[10, 0], [0, 0]]), np.array([[20, 20], [0, 0]]), np.full((2, 2), 50), 16)
    assert many.tolist() == [[2, 1], [1, 1]]


def test_equal_policies_are_rarely_called_different_however_often_one_looks() -> None:
    wins = {"lift": 0.35, "stack": 0.05}
    losses = {"lift": 0.05, "stack": 0.35}  # equal on average alone
    findings = [
        play(SequentialComparison({"lift": range(60), "stack": range(60)}), by_chance(seed, wins, losses))[0].finding
        for seed in range(60)
    ]
    assert sum(finding != "undecided" for finding in findings) <= 6  # chance of more, at 5 %: 0.03
