import io
import math
from pathlib import Path

import pandas as pd
import pytest

from tests.results.made_up import episodes, made_run
from vla_bench.results import comparison_page
from vla_bench.results.comparison import PAIR_COLUMNS, Comparison, compare
from vla_bench.results.comparison_page import verdicts
from vla_bench.results.leaderboard import ALL_TASKS
from vla_bench.results.leaderboard_tables import Row
from vla_bench.results.pairing import read_paired_runs
from vla_bench.results.run_info import RunInfo
from vla_bench.results.statistics.paired import PairCounts, mcnemar_exact, mean_difference
from vla_bench.results.statistics.proportions import fixed_tasks


def compared(folder: Path, alpha: float = 0.05, **policies: dict[str, str]) -> Comparison:
    """Compare policies given as the letters of their outcomes on each task."""
    folders = [
        made_run(
            folder / policy,
            [record for task, letters in tasks.items() for record in episodes(letters, policy=policy, task=task)],
        )
        for policy, tasks in policies.items()
    ]
    return compare(read_paired_runs(folders), alpha)


def row(comparison: Comparison, task: str, first: str = "a", second: str = "b") -> Row:
    table = comparison.pairs
    (found,) = table[(table["task"] == task) & (table["first"] == first) & (table["second"] == second)].to_dict(
        "records"
    )
    return found


def test_a_row_says_what_the_counts_say(tmp_path: Path) -> None:
    found = compared(tmp_path, a={"lift": "sssssssf", "stack": "ssff"}, b={"lift": "ssffffff", "stack": "fsff"})
    lift, stack, overall = row(found, "lift"), row(found, "stack"), row(found, ALL_TASKS)
    counts = PairCounts(2, 5, 0, 1), PairCounts(1, 1, 0, 2)
    assert list(found.pairs.columns) == list(PAIR_COLUMNS)
    assert (lift["pairs"], lift["first_only"], lift["second_only"]) == (8, 5, 0)
    assert (lift["first_rate"], lift["second_rate"], lift["difference"]) == pytest.approx((7 / 8, 2 / 8, 5 / 8))
    assert lift["p"] == pytest.approx(2 / 2**5)
    assert (lift["p_holm"], stack["p_holm"]) == pytest.approx((4 / 2**5, 1.0))
    assert overall["difference"] == pytest.approx((5 / 8 + 1 / 4) / 2)
    assert (overall["difference_low"], overall["difference_high"]) == (
        mean_difference(counts).low,
        mean_difference(counts).high,
    )
    assert overall["p"] == overall["p_holm"] == pytest.approx(mcnemar_exact(counts[0] + counts[1]))
    assert overall["first_low"] == pytest.approx(fixed_tasks([7, 2], [8, 4]).low)


def test_the_order_of_the_runs_turns_the_signs_and_nothing_else(tmp_path: Path) -> None:
    one, other = {"lift": "ssssssffe"}, {"lift": "sfffffsfs"}
    there, back = compared(tmp_path / "1", a=one, b=other), compared(tmp_path / "2", b=other, a=one)
    forth, reverse = row(there, "lift"), row(back, "lift", "b", "a")
    assert forth["difference"] == -reverse["difference"]
    assert forth["difference_low"] == pytest.approx(-reverse["difference_high"])
    assert forth["p"] == reverse["p"]
    assert forth["difference_worst"] == pytest.approx(-reverse["difference_best"])


def test_pairs_with_an_error_are_left_out_and_both_bounds_stand_beside(tmp_path: Path) -> None:
    found = row(compared(tmp_path, a={"lift": "ssseef"}, b={"lift": "fffsfe"}), "lift")
    assert (found["pairs"], found["errors"], found["difference"]) == (3, 3, 1.0)
    assert found["difference_worst"] == pytest.approx((3 - 2) / 6)  # a: sssff.f, b: fffsf.s
    assert found["difference_best"] == pytest.approx((5 - 1) / 6)


def test_a_task_that_only_ended_in_errors_has_no_difference(tmp_path: Path) -> None:
    found = compared(tmp_path, a={"lift": "ss", "stack": "ee"}, b={"lift": "sf", "stack": "sf"})
    assert math.isnan(row(found, "stack")["difference"])
    assert math.isnan(row(found, "stack")["p_holm"])
    assert row(found, ALL_TASKS)["difference"] == 0.5
    assert "\N{EN DASH}" in comparison_page.comparison_markdown(found)


def test_ranks_hold_all_pairs_together(tmp_path: Path) -> None:
    found = compared(
        tmp_path, good={"lift": "s" * 30}, middle={"lift": "s" * 27 + "f" * 3}, bad={"lift": "f" * 25 + "s" * 5}
    )
    ranking = found.ranking.set_index("policy")
    assert list(ranking.index) == ["good", "middle", "bad"]
    assert ranking[["rank", "group"]].to_numpy().tolist() == [["1 to 2", "a"], ["1 to 2", "a"], ["3", "b"]]
    overall = found.pairs[found.pairs["task"] == ALL_TASKS].set_index(["first", "second"])
    assert overall.loc[("good", "middle"), "p"] == pytest.approx(0.25)
    assert overall.loc[("middle", "bad"), "p_holm"] == pytest.approx(2 * overall.loc[("middle", "bad"), "p"])


def test_suites_and_variants_are_compared_each_for_itself(tmp_path: Path) -> None:
    folders = [
        made_run(tmp_path / policy, [*episodes("sf", policy=policy), *episodes("ss", policy=policy, variant="dark")])
        for policy in ("a", "b")
    ]
    found = compare(read_paired_runs(folders))
    assert list(found.pairs["variant"]) == ["clean", "clean", "dark", "dark"]
    assert [table.title for table in comparison_page.comparison_tables(found)] == [
        "robosuite (clean): a against b",
        "robosuite (dark): a against b",
    ]


def test_csv_holds_every_number(tmp_path: Path) -> None:
    found = compared(tmp_path, a={"lift": "sssf", "stack": "ffse"}, b={"lift": "sfff", "stack": "ffss"})
    again = pd.read_csv(io.StringIO(comparison_page.comparison_csv(found)))
    pd.testing.assert_frame_equal(again, found.pairs, check_dtype=False, rtol=1e-8)


def test_tables_show_percent_points_and_p(tmp_path: Path) -> None:
    found = compared(tmp_path, a={"lift": "s" * 20}, b={"lift": "f" * 20})
    (table,) = comparison_page.overview_tables(found)
    cells = dict(zip(table.header, table.rows[0], strict=True))
    assert cells["a %"] == "100.0 [83.9, 100.0]"
    assert cells["difference"].startswith("+100.0 [+73")
    assert (cells["wins"], cells["losses"], cells["pairs"], cells["p"]) == ("20", "0", "20", "<0.0001")
    assert "errors" not in table.header
    latex = comparison_page.comparison_latex(found)
    assert r"\textless{}0.0001" in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1


def test_several_policies_have_their_ranks_first_and_every_pair_in_the_files(tmp_path: Path) -> None:
    found = compared(tmp_path, a={"lift": "sss"}, b={"lift": "fff"}, c={"lift": "ffs"})
    assert [table.title for table in comparison_page.overview_tables(found)] == [
        "robosuite: ranks",
        "robosuite: averages of the tasks",
    ]
    page = comparison_page.comparison_markdown(found)
    for title in ("a against b", "a against c", "b against c"):
        assert f"## robosuite: {title}" in page
    assert "1 to 3" in page
    assert page.count("Protocol: ") == 1  # under the tables of the suite


def test_verdict_names_the_better_policy_whatever_the_order(tmp_path: Path) -> None:
    better, worse = {"lift": "s" * 20, "stack": "s" * 20}, {"lift": "s" * 10 + "f" * 10, "stack": "s" * 20}
    for number, policies in enumerate(({"a": better, "b": worse}, {"b": worse, "a": better})):
        overall, tasks = verdicts(compared(tmp_path / str(number), **policies))
        assert overall.startswith("robosuite: a is better than b: +25.0 points [+")
        assert overall.endswith("p = 0.0020, 40 paired episodes.")
        assert tasks == f"1 of 2 tasks differ significantly after Holm adjustment: lift {'-' if number else '+'}50."


def test_verdict_without_a_difference_says_what_it_would_take(tmp_path: Path) -> None:
    found = compared(tmp_path, a={"lift": "s" * 12 + "f" * 8}, b={"lift": "f" * 3 + "s" * 10 + "f" * 7})
    overall, plan = verdicts(found)
    assert "a and b are not significantly different: +10.0 points [-" in overall
    assert plan.startswith("20 pairs detect a difference of ")
    assert "For 10.0 points: " in plan
    assert "For 5.0 points: " in plan
    (asked,) = [text for text in verdicts(found, wanted=0.3) if "For 30.0 points: " in text]
    assert "For 5.0 points" not in asked


def test_verdict_with_errors_says_whether_they_matter(tmp_path: Path) -> None:
    letters = {"lift": "s" * 20 + "e"}
    firm = verdicts(compared(tmp_path / "firm", a=letters, b={"lift": "f" * 21}))
    assert any("1 pairs with an error are excluded. The result is the same in both cases" in text for text in firm)
    frail = verdicts(compared(tmp_path / "frail", a={"lift": "s" * 6 + "e" * 6}, b={"lift": "f" * 6 + "s" * 6}))
    assert any("6 pairs with an error are excluded. The result depends on them" in text for text in frail)


def test_verdict_of_nothing_but_errors(tmp_path: Path) -> None:
    found = compared(tmp_path, a={"lift": "ee"}, b={"lift": "sf"})
    assert verdicts(found) == ("robosuite: a and b share no episode without an error.",)


def test_episodes_that_only_some_met_are_told(tmp_path: Path) -> None:
    found = compared(tmp_path, a={"lift": "ssss"}, b={"lift": "ss"})
    assert verdicts(found)[-1] == "Compared on the 2 episodes that all runs have in common; excluded: 2 of a."


def test_a_run_that_was_stopped_by_its_outcomes_is_told(tmp_path: Path) -> None:
    folders = [made_run(tmp_path / policy, episodes("sssf", policy=policy)) for policy in ("a", "b")]
    RunInfo.read(folders[0]).finished_now("Better than b: +50.0 points.").write(folders[0])
    text = verdicts(compare(read_paired_runs(folders)))[-1]
    assert text.startswith("a was stopped by its plan depending on the outcomes: Better than b: +50.0 points. Interv")
