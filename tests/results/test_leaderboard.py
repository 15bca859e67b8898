import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.results.made_up import episode, episodes, frame_of, made_run
from vla_bench.core.errors import VlaBenchError
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.errors import IncomparableRunsError, LedgerError, RunFolderError
from vla_bench.results.leaderboard import (
    ALL_TASKS,
    LEADERBOARD_COLUMNS,
    LeaderboardKey,
    leaderboard,
    missing_episodes,
    read_runs,
    unranked,
)
from vla_bench.results.leaderboard_tables import Row
from vla_bench.results.ledger import LEDGER_NAME, Ledger, read_ledger
from vla_bench.results.run_info import RUN_INFO_NAME
from vla_bench.results.runs import read_comparable_runs
from vla_bench.results.statistics import wilson
from vla_bench.results.statistics.proportions import fixed_tasks, sampled_tasks


def row(table: pd.DataFrame, **where: str) -> Row:
    """Return the only row with these values."""
    found = table[(table[list(where)] == pd.Series(where)).all(axis=1)]
    assert len(found) == 1, f"{len(found)} rows are {where}"
    return found.to_dict("records")[0]


def test_rows_hold_what_was_recorded() -> None:
    records = [*episodes("ssf", task="lift", steps=10), *episodes("f", task="stack", steps=50)]
    table = leaderboard(frame_of(records))
    lift = row(table, task="lift")
    assert list(table.columns) == list(LEADERBOARD_COLUMNS)
    assert (lift["policy"], lift["suite"], lift["episodes"], lift["errors"]) == ("expert", "robosuite", 3, 0)
    assert lift["success_rate"] == pytest.approx(2 / 3)
    assert (lift["success_low"], lift["success_high"]) == (wilson(2, 3).low, wilson(2, 3).high)
    assert (lift["mean_reward"], lift["std_reward"]) == pytest.approx((2 / 3, math.sqrt(1 / 3)))
    overall = row(table, task=ALL_TASKS)
    assert (overall["episodes"], overall["mean_steps"]) == (4, 20)
    assert overall["success_rate"] == pytest.approx((2 / 3 + 0) / 2)  # each task counts alike
    assert math.isnan(row(table, task="stack")["std_reward"])


def test_errors_are_neither_success_nor_failure_and_shown_beside() -> None:
    scored = row(leaderboard(frame_of(episodes("sfee"))), task="lift")
    assert (scored["episodes"], scored["errors"], scored["success_rate"]) == (4, 2, 0.5)
    assert (scored["success_low"], scored["success_high"]) == (wilson(1, 2).low, wilson(1, 2).high)
    assert (scored["success_if_errors_fail"], scored["success_if_errors_succeed"]) == (0.25, 0.75)
    assert scored["mean_reward"] == 0.5


def test_only_errors_leave_no_rate() -> None:
    broken = row(leaderboard(frame_of(episodes("ee"))), task="lift")
    assert math.isnan(broken["success_rate"])
    assert math.isnan(broken["mean_steps"])
    assert (broken["success_if_errors_fail"], broken["success_if_errors_succeed"]) == (0.0, 1.0)


def test_no_episodes_make_an_empty_leaderboard() -> None:
    table = leaderboard(frame_of([episode()]).iloc[:0])
    assert table.empty
    assert list(table.columns) == list(LEADERBOARD_COLUMNS)


def test_best_policy_comes_first_and_the_overall_row_after_its_tasks() -> None:
    records = [
        *episodes("fff", policy="zero"),
        *episodes("sf", policy="half"),
        *episodes("sss", policy="best"),
        *episodes("sss", policy="best", task="stack"),
        *episodes("e", policy="broken"),
        *episodes("f", policy="best", suite="another"),
    ]
    table = leaderboard(frame_of(records), rank_with_errors=True)
    assert list(table[["suite", "policy", "task"]].itertuples(index=False, name=None)) == [
        ("another", "best", "lift"),
        ("another", "best", ALL_TASKS),
        ("robosuite", "best", "lift"),
        ("robosuite", "best", "stack"),
        ("robosuite", "best", ALL_TASKS),
        ("robosuite", "half", "lift"),
        ("robosuite", "half", ALL_TASKS),
        ("robosuite", "zero", "lift"),
        ("robosuite", "zero", ALL_TASKS),
        ("robosuite", "broken", "lift"),
        ("robosuite", "broken", ALL_TASKS),
    ]
    assert unranked(table) == [("robosuite", "clean")]
    unsorted = leaderboard(frame_of(records))
    assert list(dict.fromkeys(unsorted.query("suite == 'robosuite'")["policy"])) == ["best", "broken", "half", "zero"]


def test_variants_are_not_pooled() -> None:
    table = leaderboard(frame_of([*episodes("ss"), *episodes("ff", variant="camera-2")]))
    assert row(table, task=ALL_TASKS, variant="clean")["success_rate"] == 1.0
    assert row(table, task=ALL_TASKS, variant="camera-2")["success_rate"] == 0.0


def test_planned_episodes_that_are_missing_are_counted(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", episodes("ss"), planned={"lift": 5, "stack": 3})
    runs = read_comparable_runs([folder])
    table = leaderboard(runs[0].episodes, missing_episodes(runs))
    assert row(table, task="lift")["missing"] == 3
    assert (row(table, task="stack")["episodes"], row(table, task="stack")["missing"]) == (0, 3)
    assert math.isnan(row(table, task="stack")["success_rate"])
    assert row(table, task=ALL_TASKS)["missing"] == 6
    assert missing_episodes(runs)[LeaderboardKey("robosuite", "clean", "expert", "stack")] == 3


def test_runs_are_merged_with_their_folder_named(tmp_path: Path) -> None:
    first = made_run(tmp_path / "first", episodes("ss"))
    second = made_run(tmp_path / "second", episodes("sf", policy="random"))
    third = made_run(tmp_path / "third", episodes("fff", seed=1))
    frame = read_runs([first, second, third])
    assert frame.groupby("run").size().to_dict() == {str(first): 2, str(second): 2, str(third): 3}
    assert row(leaderboard(frame), policy="expert", task="lift")["episodes"] == 5


def test_the_same_folder_twice_and_an_identical_copy_count_once(tmp_path: Path) -> None:
    first = made_run(tmp_path / "first", episodes("sf", wall_s=1))
    again = made_run(tmp_path / "again", episodes("sf", wall_s=2))
    assert len(read_runs([first, first])) == 2
    assert len(read_runs([first, again])) == 2


def test_one_episode_with_two_results_is_refused(tmp_path: Path) -> None:
    first = made_run(tmp_path / "first", episodes("ssf"))
    second = made_run(tmp_path / "second", episodes("sff", steps=50))
    text = r"first and .*second record 1 episode of expert differently, first robosuite\.lift clean 1 seed 0: "
    with pytest.raises(IncomparableRunsError, match=text + r"outcome: success, then failure; reward: 1\.0, then 0\.0"):
        read_runs([first, second])


def test_other_protocols_of_one_suite_are_refused_and_named(tmp_path: Path) -> None:
    first = made_run(tmp_path / "first", episodes("s"), protocol={"rendering": "fast", "wait_steps": 10})
    second = made_run(tmp_path / "second", episodes("s", policy="b"), protocol={"rendering": "fast", "wait_steps": 0})
    with pytest.raises(IncomparableRunsError, match=r"first and .*second .*suite robosuite.*wait_steps: 10, then 0"):
        read_runs([first, second])


def test_other_protocols_of_other_suites_stand_beside_each_other(tmp_path: Path) -> None:
    first = made_run(tmp_path / "first", episodes("s"), protocol={"horizon": 200})
    second = made_run(tmp_path / "second", episodes("s", suite="tabletop"), protocol={"horizon": 300})
    assert set(leaderboard(read_runs([first, second]))["suite"]) == {"robosuite", "tabletop"}


def test_two_policies_of_one_name_are_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "weights"
    checkpoint.write_bytes(b"weights")
    first = made_run(tmp_path / "first", episodes("s"), card={"chunk": 8})
    second = made_run(tmp_path / "second", episodes("f", seed=1), card={"chunk": 4})
    third = made_run(tmp_path / "third", episodes("f", seed=1), card={"chunk": 8}, checkpoint=checkpoint)
    with pytest.raises(IncomparableRunsError, match=r"policy name 'expert'.*card\.chunk: 8, then 4"):
        read_runs([first, second])
    with pytest.raises(IncomparableRunsError, match=r"policy name 'expert'.*checkpoint_hash"):
        read_runs([first, third])


def test_folders_that_are_no_runs_are_named(tmp_path: Path) -> None:
    whole = made_run(tmp_path / "whole", episodes("s"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RunFolderError, match=r"empty is not a readable run: it has no ledger.sqlite and no run.json"):
        read_runs([whole, empty])
    with pytest.raises(RunFolderError, match=r"nowhere is not a readable run: the folder does not exist"):
        read_runs([tmp_path / "nowhere"])
    with pytest.raises(RunFolderError, match=r"run.json is not a readable run: it is not a folder"):
        read_runs([whole / RUN_INFO_NAME])
    (whole / LEDGER_NAME).write_bytes((whole / LEDGER_NAME).read_bytes()[:5000])
    with pytest.raises(LedgerError, match=r"whole/ledger.sqlite: the file is damaged"):
        read_runs([whole])
    (whole / RUN_INFO_NAME).unlink()
    with pytest.raises(RunFolderError, match=r"it has no run.json"):
        read_runs([whole])


def test_a_run_without_an_episode_yet_is_named(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", episodes("s"))
    (folder / LEDGER_NAME).unlink()

    Ledger(folder / LEDGER_NAME).close()
    with pytest.raises(RunFolderError, match=r"run is not a readable run: it has no episodes yet"):
        read_runs([folder])


def test_a_ledger_of_another_policy_is_told(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", [*episodes("s"), episode(1, policy="stranger")])
    with pytest.raises(RunFolderError, match="episodes of stranger, but its policy is expert"):
        read_runs([folder])


def test_folders_and_files_may_be_named_as_text(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", episodes("sfs"))
    assert len(read_runs([str(folder)])) == len(read_ledger(str(folder / LEDGER_NAME))) == 3


def test_a_description_of_another_run_is_told(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", [replace(episode(0), card_hash="0123456789abcdef")])
    with pytest.raises(RunFolderError, match=r"its run\.json does not belong to its episodes: their card is 0123"):
        read_runs([folder])


def test_no_folders_at_all_are_told() -> None:
    with pytest.raises(VlaBenchError, match="No run folders were given"):
        read_runs([])


def test_suite_average_has_an_interval_for_these_tasks_and_one_for_others_like_them() -> None:
    records = [*episodes("s" * 20, task="lift"), *episodes("s" * 8 + "f" * 12, task="stack")]
    overall = row(leaderboard(frame_of(records)), task=ALL_TASKS)
    fixed, sampled = fixed_tasks([20, 8], [20, 20]), sampled_tasks([20, 8], [20, 20])
    assert (overall["success_low"], overall["success_high"]) == (fixed.low, fixed.high)
    assert (overall["sampled_low"], overall["sampled_high"]) == (sampled.low, sampled.high)
    assert math.isnan(row(leaderboard(frame_of(records)), task="lift")["sampled_low"])


def test_errors_of_a_task_bound_the_average_of_all() -> None:
    records = [*episodes("se", task="lift"), *episodes("sf", task="stack")]
    overall = row(leaderboard(frame_of(records)), task=ALL_TASKS)
    assert (overall["success_rate"], overall["success_if_errors_fail"]) == (0.75, 0.5)
    assert overall["success_if_errors_succeed"] == 0.75


def ranking(records: Sequence[EpisodeRecord], *, rank_with_errors: bool = False) -> dict[str, tuple[str, str]]:
    table = leaderboard(frame_of(records), rank_with_errors=rank_with_errors)
    assert set(table.loc[table["task"] != ALL_TASKS, "rank"]) == {""}
    overall = table[table["task"] == ALL_TASKS]
    return {line["policy"]: (line["rank"], line["group"]) for line in overall.to_dict("records")}


def test_policies_that_were_not_told_apart_share_a_group() -> None:
    records = [
        *episodes("s" * 30, policy="good"),
        *episodes("s" * 28 + "f" * 2, policy="close"),
        *episodes("f" * 30, policy="bad"),
    ]
    assert ranking(records) == {"good": ("1 to 2", "a"), "close": ("1 to 2", "a"), "bad": ("3", "b")}


def test_a_suite_with_errors_is_not_ranked_unless_asked() -> None:
    records = [*episodes("s" * 30 + "e", policy="good"), *episodes("f" * 31, policy="bad")]
    assert ranking(records) == {"bad": ("", ""), "good": ("", "")}
    assert ranking(records, rank_with_errors=True) == {"good": ("1", "a"), "bad": ("2", "b")}


def test_policies_without_common_episodes_are_not_ranked() -> None:
    alone = episodes("s" * 30, policy="good")
    assert ranking(alone) == {"good": ("", "")}
    assert set(ranking([*alone, *episodes("f" * 30, policy="bad", seed=1)]).values()) == {("", "")}
    moved = [replace(record, scene_hash="elsewhere") for record in episodes("f" * 30, policy="bad")]
    assert set(ranking([*alone, *moved]).values()) == {("", "")}
