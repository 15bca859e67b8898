from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.results.made_up import Outcome, described, episode, made_run
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.run import run_evaluation
from vla_bench.evaluation.sequential_plan import SequentialPlan, sequential_plan
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.ledger import read_ledger
from vla_bench.results.run_info import RunInfo
from vla_bench.results.runs import Run, read_run

TASKS = ("lift", "stack")
PLANNED = [EpisodeIdentity("robosuite", task, index) for task in TASKS for index in range(30)]


@pytest.fixture
def against(tmp_path: Path) -> Run:
    """A run that failed in every episode, with an error in the second of `lift`."""
    records = [episode(e.index, "failure", task=e.task, policy="old") for e in PLANNED if e != PLANNED[1]]
    return read_run(made_run(tmp_path / "old", [*records, episode(1, "error", policy="old")]))


def play(plan: SequentialPlan, outcome: Callable[[EpisodeIdentity], Outcome]) -> dict[EpisodeIdentity, EpisodeRecord]:
    """Run the rounds of a plan with these outcomes."""
    records: dict[EpisodeIdentity, EpisodeRecord] = {}
    while wanted := plan.next_round(records):
        assert not set(wanted) & set(records)
        records |= {e: episode(e.index, outcome(e), task=e.task, policy="new") for e in wanted}
    return records


def test_a_better_policy_stops_early_with_a_verdict(against: Run) -> None:
    plan = SequentialPlan(PLANNED, against)
    records = play(plan, lambda asked: "success")
    assert len(records) == 16
    assert plan.decision.finding == "first"
    assert plan.verdict.startswith(f"Better than old ({against.folder}): +100.0 points [+")
    assert plan.verdict.endswith("p 0.0003 at level 0.05, 16 pairs, valid at any time.")


def test_a_worse_policy_stops_early_too(tmp_path: Path) -> None:
    good = read_run(made_run(tmp_path / "good", [episode(e.index, task=e.task, policy="good") for e in PLANNED]))
    plan = SequentialPlan(PLANNED, good)
    play(plan, lambda asked: "failure")
    assert plan.verdict.startswith(f"Worse than good ({good.folder}): -100.0 points [-100, -")


def test_equal_policies_use_all_common_episodes(against: Run) -> None:
    plan = SequentialPlan(PLANNED, against)
    records = play(plan, lambda asked: "failure")
    assert plan.verdict.startswith("Not distinguishable from old")
    assert PLANNED[1] not in records  # the other policy had an error
    assert len(records) == 58  # 29 of each task: the last of `stack` has no partner
    within = SequentialPlan(PLANNED, against, margin=0.2)
    assert len(play(within, lambda asked: "failure")) < 58
    assert within.verdict.startswith("Within 20 points of old")


def test_there_is_no_verdict_before_the_end(against: Run) -> None:
    plan = SequentialPlan(PLANNED, against)
    assert plan.verdict == ""
    assert len(plan.next_round({})) == 16
    assert len(plan.episodes) == 59


def test_an_episode_with_an_error_is_skipped(against: Run) -> None:
    plan = SequentialPlan(PLANNED, against)
    records = play(plan, lambda asked: "error" if asked.index == 0 else "success")
    assert len(records) == 18
    assert plan.decision.pairs == 16


def test_a_new_plan_continues_from_the_records(against: Run) -> None:
    records = play(SequentialPlan(PLANNED, against), lambda asked: "success")
    half = dict(list(records.items())[:5])
    rest = SequentialPlan(PLANNED, against).next_round(half)
    assert set(rest) == set(records) - set(half)
    again = SequentialPlan(PLANNED, against)
    assert again.next_round(records) == []
    assert again.decision.finding == "first"


def test_records_of_other_episodes_do_not_count(against: Run) -> None:
    strangers = [episode(0, task="door", policy="new"), episode(0, seed=5, policy="new")]
    records = {stranger.identity: stranger for stranger in strangers}
    assert len(SequentialPlan(PLANNED, against).next_round(records)) == 16


def test_variants_of_a_task_are_tasks_of_their_own(tmp_path: Path) -> None:
    planned = [
        EpisodeIdentity("robosuite", "lift", index, 0, variant) for variant in ("clean", "dark") for index in (0, 1)
    ]
    records = [episode(e.index, "failure", variant=e.variant, policy="old") for e in planned]
    plan = SequentialPlan(planned, read_run(made_run(tmp_path / "old", records)))
    assert set(plan.next_round({})) == set(planned)
    assert [task.task for task in plan.decision.tasks] == ["lift", "lift (dark)"]


def test_another_scene_of_the_same_episode_stops_the_run(against: Run) -> None:
    moved = replace(episode(0, policy="new"), scene_hash="elsewhere")
    text = r"robosuite\.lift/clean/0/0 has another scene in .*old: scene_hash lift-0-0, here elsewhere\."
    with pytest.raises(VlaBenchError, match=text):
        SequentialPlan(PLANNED, against).next_round({moved.identity: moved})


def test_scene_hashes_of_different_kinds_are_reported_as_such(against: Run) -> None:
    rounded = replace(episode(0, policy="new"), scene_hash="r5:0123456789abcdef")
    with pytest.raises(
        VlaBenchError, match=r"recorded before scene hashes were rounded\. Run the older of the two again"
    ):
        SequentialPlan(PLANNED, against).next_round({rounded.identity: rounded})


def test_another_protocol_is_refused_before_the_run(against: Run) -> None:
    plan = SequentialPlan(PLANNED, against)
    plan.require_comparable(described())
    other = described(protocol={"rendering": "faithful", "wait_steps": 10})
    with pytest.raises(
        VlaBenchError, match=r'old was run under another protocol: protocol\.rendering: "fast", then "fai'
    ):
        plan.require_comparable(other)


def test_a_reference_run_without_common_episodes_is_an_error(against: Run) -> None:
    other_seed = [replace(e, seed=3) for e in PLANNED]
    text = (
        r"old has no episode of robosuite\.lift or stack \(clean\) with seed 3 .* 60 episodes of robosuite with seed 0"
    )
    with pytest.raises(VlaBenchError, match=text):
        SequentialPlan(other_seed, against)


def test_a_run_is_not_compared_with_itself(against: Run) -> None:
    options = RunOptions("expert", "tabletop_pick", against.folder)
    with pytest.raises(VlaBenchError, match="cannot be compared with itself"):
        sequential_plan(options, against.folder, alpha=0.05, margin=0.0)


def test_a_run_stops_when_the_comparison_is_decided(tmp_path: Path) -> None:
    options = RunOptions("noop", "tabletop_pick", tmp_path / "noop", tasks=("pick_red_cube",), workers=1, episodes=9)
    run_evaluation(options)
    ours = replace(options, policy="expert", output=tmp_path / "expert")
    planned = [EpisodeIdentity("tabletop_pick", "pick_red_cube", index) for index in range(9)]
    for session in range(2):  # the second has nothing left to do
        plan = SequentialPlan(planned, read_run(options.output), batch=8)
        report = run_evaluation(ours, plan=plan)
        assert report.resumed == 8 * session
        assert read_ledger(ours.output / "ledger.sqlite")["episode_index"].tolist() == list(range(8))
        assert RunInfo.read(ours.output).verdict.startswith("Better than noop")
    assert read_run(ours.output).missing() == []
