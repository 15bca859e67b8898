import json
import math
from pathlib import Path

import pytest

from tests.results.made_up import episodes, made_run
from vla_bench.core.errors import VlaBenchError
from vla_bench.results.controls import CONTROLS_FILE, ControlReport, control_table, read_controls
from vla_bench.results.publish import write_leaderboard

OUTCOMES = {
    "expert": "ssssssssss",
    "noop": "ffffffffff",
    "random": "sfffffffff",
    "blank-instruction": "ssffffffff",
    "wrong-object": "sffffffffe",
    "black-image": "sfffffffff",
    "shuffled-instruction": "ssssssssff",
}


def report(tmp_path: Path, own: str = "sssssssssf", **others: str) -> ControlReport:
    folder = made_run(tmp_path / "run", episodes(own, policy="p"))
    outcomes = {**OUTCOMES, **others}
    places = {}
    for name, letters in outcomes.items():
        made_run(folder / "controls" / name, episodes(letters, policy=name))
        places[name] = f"controls/{name}"
    (folder / CONTROLS_FILE).write_text(json.dumps(places))
    (made,) = read_controls(folder)
    return made


def test_scores_are_what_is_lost_of_the_success_above_the_floor(tmp_path: Path) -> None:
    made = report(tmp_path)
    assert made.success.rate == 0.9
    assert made.language_use == pytest.approx((0.9 - 0.2) / (0.9 - 0.1)), "the better of blank and wrong object counts"
    assert made.vision_use == pytest.approx(1.0)
    rows = {row.name: row for row in made.rows}
    assert rows["wrong-object"].episodes == 9, "an episode with an error is no pair"
    assert rows["blank-instruction"].drop.value == pytest.approx(0.7)
    assert rows["blank-instruction"].drop.low < 0.7 < rows["blank-instruction"].drop.high


def test_a_policy_at_the_floor_has_no_scores(tmp_path: Path) -> None:
    made = report(tmp_path, own="sfffffffff")
    assert math.isnan(made.language_use)
    assert math.isnan(made.vision_use)
    assert "Language use not defined" in control_table(made).footnotes[0]


def test_only_common_episodes_are_compared(tmp_path: Path) -> None:
    made = report(tmp_path, expert="s" * 30)
    assert {row.name: row.episodes for row in made.rows}["expert"] == 10


def test_a_run_without_controls_says_how_to_make_them(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", episodes("s"))
    with pytest.raises(VlaBenchError, match=r"has no controls\. `vla-bench run \.\.\. --controls` makes them"):
        read_controls(folder)


def test_controls_stand_in_the_published_pages(tmp_path: Path) -> None:
    report(tmp_path)
    files = write_leaderboard([tmp_path / "run"], tmp_path / "results")
    page = (tmp_path / "results" / "controls.md").read_text()
    assert "## p on robosuite" in page
    assert "Language use 0.87, vision use 1.00" in page
    assert tmp_path / "results" / "controls.md" in files.paths
    assert "Language use 0.87" in files.report.read_text()
