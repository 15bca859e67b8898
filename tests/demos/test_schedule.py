"""Order of collection attempts."""

import random

import pytest

from vla_bench.demos.schedule import AttemptSchedule, ExpertUnsuccessfulError

FAILING = {1, 2, 5, 9}


def run(episodes: int, workers: int, seed: int, earlier: dict[int, bool] | None = None) -> AttemptSchedule:
    """Run a schedule with workers that finish in random order and sometimes die."""
    order = random.Random(seed)
    schedule = AttemptSchedule("reach", episodes, earlier or {})
    running: list[int] = []
    while not schedule.is_complete():
        while len(running) < workers and (index := schedule.next_index()) is not None:
            running.append(index)
        index = running.pop(order.randrange(len(running)))
        if order.random() < 0.2:
            schedule.release(index)
        else:
            schedule.record_outcome(index, success=index not in FAILING)
    assert not running, "an attempt was begun that nobody needed"
    return schedule


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("seed", range(5))
def test_first_successes_are_selected_in_any_order_of_completion(workers: int, seed: int) -> None:
    schedule = run(6, workers, seed)
    assert list(schedule.selected()) == [0, 3, 4, 6, 7, 8]
    assert list(schedule.failed()) == [1, 2, 5]


def test_a_gap_after_an_interruption_is_filled() -> None:
    earlier = {0: True, 1: False, 2: False, 4: True, 6: True}  # 3 and 5 were running
    schedule = run(4, 2, 0, earlier)
    assert list(schedule.selected()) == [0, 3, 4, 6]


def test_more_episodes_continue_after_fewer() -> None:
    first = run(3, 2, 0)
    earlier = {**dict.fromkeys(first.selected(), True), **dict.fromkeys(first.failed(), False)}
    assert list(run(6, 2, 0, earlier).selected()) == [0, 3, 4, 6, 7, 8]


def test_only_attempts_that_count_are_made() -> None:
    schedule = AttemptSchedule("reach", 3, {})
    assert [schedule.next_index() for _ in range(4)] == [0, 1, 2, None]
    schedule.record_outcome(1, success=False)
    assert [schedule.next_index() for _ in range(2)] == [3, None]


def test_an_unsuccessful_expert_is_stopped() -> None:
    schedule = AttemptSchedule("reach", 3, {})

    def fail_until_given_up() -> None:
        for _ in range(1000):
            index = schedule.next_index()
            assert index is not None
            schedule.record_outcome(index, success=False)

    with pytest.raises(ExpertUnsuccessfulError, match="succeeded in 0 of 25 attempts at reach"):
        fail_until_given_up()


def test_rare_successes_extend_the_limit_of_attempts() -> None:
    schedule = AttemptSchedule("reach", 3, {index: index == 0 for index in range(54)})
    assert schedule.next_index() == 54
    schedule.record_outcome(54, success=False)
    with pytest.raises(ExpertUnsuccessfulError, match="succeeded in 1 of 55"):
        schedule.next_index()
