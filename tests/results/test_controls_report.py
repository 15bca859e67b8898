import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.results.made_up import episodes, made_run
from vla_bench.core.errors import VlaBenchError
from vla_bench.results.controls import CONTROLS_FILE, ControlReport, control_table, read_controls
from vla_bench.results.errors import IncomparableRunsError
from vla_bench.results.leaderboard_page import write_leaderboard
from vla_bench.results.run_info import RunInfo

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
    score = (1 - 2 / 9) / (1 - 1 / 9)
    assert made.language_use.value == pytest.approx(score), "the better of blank and wrong object, on common episodes"
    assert made.language_use.low < score < made.language_use.high
    assert made.vision_use.value == pytest.approx(1.0)
    assert made.vision_use.low < 1.0, "ten episodes alike do not make it certain"
    rows = {row.name: row for row in made.rows}
    assert rows["wrong-object"].episodes == 9, "an episode with an error is no pair"
    assert rows["blank-instruction"].drop.value == pytest.approx(0.7)
    assert rows["blank-instruction"].drop.low < 0.7 < rows["blank-instruction"].drop.high


def test_a_policy_at_the_floor_has_no_scores(tmp_path: Path) -> None:
    made = report(tmp_path, own="sfffffffff")
    assert math.isnan(made.language_use.value)
    assert math.isnan(made.vision_use.value)
    assert "Language use not defined" in control_table(made).footnotes[0]


def test_a_control_with_other_code_of_the_policy_is_told(tmp_path: Path) -> None:
    report(tmp_path)
    for name, code in ((".", "a"), ("controls/black-image", "b"), ("controls/blank-instruction", "a")):
        folder = tmp_path / "run" / name
        info = RunInfo.read(folder)
        session = info.sessions[0].model_copy(update={"policy_code": code})
        info.model_copy(update={"policy_argument": "m:p", "sessions": (session,)}).write(folder)
    (made,) = read_controls(tmp_path / "run")
    told = "Different code: 20 episodes of m:p ran with code a, then 10 episodes of m:p ran with code b"
    assert told in control_table(made).footnotes


def test_only_common_episodes_are_compared(tmp_path: Path) -> None:
    made = report(tmp_path, expert="s" * 30)
    assert {row.name: row.episodes for row in made.rows}["expert"] == 10


def test_a_run_without_controls_says_how_to_make_them(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", episodes("s"))
    with pytest.raises(VlaBenchError, match=r"has no controls\. `vla-bench run \.\.\. --controls` runs them"):
        read_controls(folder)


def test_controls_stand_in_the_published_pages(tmp_path: Path) -> None:
    report(tmp_path)
    files = write_leaderboard([tmp_path / "run"], tmp_path / "results")
    page = (tmp_path / "results" / "controls.md").read_text()
    assert "## p on robosuite" in page
    assert re.search(r"Language use 0\.8[78] \[0\.\d\d, [01]\.\d\d\], vision use 1\.00 \[0\.\d\d, 1\.00\]", page)
    assert "Protocol: rendering fast, wait steps 10." in page
    assert tmp_path / "results" / "controls.md" in files.paths
    assert "vision use 1.00 [" in files.report.read_text()


def test_a_control_of_another_protocol_is_not_compared(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", episodes("ss", policy="p"))
    made_run(folder / "controls" / "expert", episodes("ss"), protocol={"rendering": "fast", "latency": "80ms"})
    (folder / CONTROLS_FILE).write_text(json.dumps({"expert": "controls/expert"}))
    with pytest.raises(IncomparableRunsError, match=r"have different protocols: .*protocol\.latency"):
        read_controls(folder)


def test_a_control_that_met_other_scenes_is_not_compared(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", episodes("ss", policy="p"))
    made_run(folder / "controls" / "expert", [replace(one, scene_hash="other") for one in episodes("ss")])
    (folder / CONTROLS_FILE).write_text(json.dumps({"expert": "controls/expert"}))
    with pytest.raises(IncomparableRunsError, match="have different scenes in 2 of 2 common episodes"):
        read_controls(folder)


def test_where_nothing_was_said_in_place_of_a_wrong_object_the_table_says_so(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", episodes("sss", policy="p"))
    silent = [replace(one, instruction="") for one in episodes("fff", policy="p (wrong-object)")]
    made_run(folder / "controls" / "wrong-object", silent)
    (folder / CONTROLS_FILE).write_text(json.dumps({"wrong-object": "controls/wrong-object"}))
    (made,) = read_controls(folder)
    assert any(note.startswith("In 3 episodes of wrong-object") for note in control_table(made).footnotes)
