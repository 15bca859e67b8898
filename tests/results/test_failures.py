"""Failed episodes are sorted by where they went wrong."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.results.made_up import episode, made_run
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.errors import IncomparableRunsError
from vla_bench.results.failures import episode_table, failure_table, failures_csv, failures_page, read_failures


def _failed(index: int, **fields: object) -> EpisodeRecord:
    return replace(episode(index, "failure", policy="mine", phase="reach"), drops=0, disturbed=0, **fields)  # type: ignore[arg-type]


def test_each_failure_has_the_bucket_of_what_went_wrong(tmp_path: Path) -> None:
    wrong = {
        "lost again what was reached": _failed(0, progress=1.0, final_progress=0.5),
        "dropped it": replace(_failed(1), drops=2),
        "met some sub-goals": _failed(2, progress=0.5, final_progress=0.5),
        "held it, did not place it": replace(_failed(3), phase="carry"),
        "touched it, did not grasp it": replace(_failed(4), phase="grasp"),
        "took hold, did not move it": replace(_failed(5), phase="operate"),
        "moved something else": replace(_failed(6), disturbed=1),
        "never reached it": _failed(7),
    }
    run = made_run(tmp_path / "mine", [*wrong.values(), episode(8, policy="mine")])
    table = read_failures(run).table.set_index("episode_index")
    assert table["bucket"].to_dict() == {record.episode_index: name for name, record in wrong.items()}


def test_the_way_is_compared_with_the_experts_and_videos_are_named(tmp_path: Path) -> None:
    run = made_run(
        tmp_path / "mine", [replace(_failed(0), path_length_m=3.0, steps=125), replace(_failed(1), path_length_m=1.0)]
    )
    expert = made_run(tmp_path / "expert", [replace(episode(0), path_length_m=1.5)])
    (run / "videos").mkdir()
    (run / "videos" / "robosuite.lift_clean_seed0_0001.mp4").touch()
    table = read_failures(run, expert).table.set_index("episode_index")
    assert table.loc[0, "path_over_expert"] == 2.0
    assert table["path_over_expert"].isna().tolist() == [False, True]
    assert table.loc[0, "time_over_expert"] == 2.5
    assert table["video"].tolist() == ["", "videos/robosuite.lift_clean_seed0_0001.mp4"]


def test_the_most_frequent_bucket_stands_first(tmp_path: Path) -> None:
    run = made_run(
        tmp_path / "mine",
        [_failed(0), replace(_failed(1), phase="carry"), replace(_failed(2), phase="carry"), episode(3, policy="mine")],
    )
    text = failure_table(read_failures(run))
    assert [(row[0], row[1], row[2]) for row in text.rows] == [
        ("held it, did not place it", "2", "50"),
        ("never reached it", "1", "25"),
    ]
    assert text.title == "mine: 3 of 4 episodes failed"


def test_the_page_names_every_failed_episode_and_its_video_under_the_protocol(tmp_path: Path) -> None:
    run = made_run(tmp_path / "mine", [_failed(0), _failed(4), episode(1, policy="mine")])
    (run / "videos").mkdir()
    (run / "videos" / "robosuite.lift_clean_seed0_0004.mp4").touch()
    report = read_failures(run)
    assert [(row[1], row[2]) for row in episode_table(report).rows] == [
        ("lift/0", "\N{EN DASH}"),
        ("lift/4", "videos/robosuite.lift_clean_seed0_0004.mp4"),
    ]
    page = failures_page([report])
    assert "| lift/4 | videos/robosuite.lift_clean_seed0_0004.mp4 |" in page
    assert "Protocol: rendering fast, wait steps 10." in page
    assert failures_csv([report]).splitlines()[1].startswith("mine,robosuite,lift,clean,0,0,never reached it,")


def test_the_expert_is_found_among_the_controls_and_must_have_met_the_same_scenes(tmp_path: Path) -> None:
    run = made_run(tmp_path / "mine", [replace(_failed(0), path_length_m=3.0), replace(episode(1), policy="mine")])
    expert = made_run(run / "controls" / "expert", [replace(episode(i), path_length_m=1.5) for i in range(2)])
    (run / "controls" / "controls.json").write_text(json.dumps({"expert": "controls/expert"}))
    report = read_failures(run)
    assert report.table.loc[0, "path_over_expert"] == 2.0
    assert report.solved[1] == 1.0
    shutil.rmtree(expert)
    made_run(expert, [replace(episode(0), scene_hash="other")])
    with pytest.raises(IncomparableRunsError, match="have different scenes in 1 of 1 common episodes"):
        read_failures(run)
