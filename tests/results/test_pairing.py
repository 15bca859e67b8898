from dataclasses import replace
from pathlib import Path

import pytest

from tests.results.made_up import episode, episodes, made_run
from vla_bench.core.errors import VlaBenchError
from vla_bench.results.errors import IncomparableRunsError
from vla_bench.results.pairing import read_paired_runs
from vla_bench.results.run_info import RunInfo


def test_runs_stand_side_by_side_by_identity(tmp_path: Path) -> None:
    first = made_run(tmp_path / "a", episodes("sf", policy="x"))
    second = made_run(tmp_path / "b", list(reversed(episodes("fs", policy="y"))))
    paired = read_paired_runs([first, second])
    assert paired.labels == ("x", "y")
    assert paired.outcomes["x"].tolist() == ["success", "failure"]
    assert paired.outcomes["y"].tolist() == ["failure", "success"]
    assert paired.left_out == {"x": 0, "y": 0}


def test_only_common_episodes_are_paired_and_the_others_counted(tmp_path: Path) -> None:
    first = made_run(tmp_path / "a", episodes("sfss", policy="x"))
    second = made_run(tmp_path / "b", episodes("ff", policy="y"))
    paired = read_paired_runs([first, second])
    assert len(paired.outcomes) == 2
    assert paired.left_out == {"x": 2, "y": 0}


def test_checkpoints_of_one_policy_are_called_by_their_folders(tmp_path: Path) -> None:
    folders = [made_run(tmp_path / name, episodes("s", policy="x")) for name in ("step_1000", "step_2000")]
    other = made_run(tmp_path / "z", episodes("s", policy="y"))
    assert read_paired_runs([*folders, other]).labels == ("step_1000", "step_2000", "y")
    deeper = made_run(tmp_path / "again" / "step_1000", episodes("s", policy="x"))
    assert read_paired_runs([folders[0], deeper]).labels == (str(folders[0]), str(deeper))


def test_fewer_than_two_runs_are_told(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "a", episodes("s"))
    with pytest.raises(VlaBenchError, match=r"1 run was given\. Comparing needs two or more different folders"):
        read_paired_runs([folder, folder])


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"seed": 7}, r"seed: 0, then 7\. Run one again with the `--seed`"),
        ({"task": "stack"}, r"task: lift, then stack\. Run one again with the `--task`"),
        ({"suite": "tabletop"}, r"suite: robosuite, then tabletop\. Run one again with the `--suite`"),
        ({"variant": "dark"}, r"variant: clean, then dark\. Run one again with the `--perturb`"),
    ],
)
def test_runs_without_a_common_episode_are_refused_with_the_field(
    other: dict[str, str | int], text: str, tmp_path: Path
) -> None:
    first = made_run(tmp_path / "a", episodes("sf", policy="x"))
    second = made_run(tmp_path / "b", episodes("sfs", policy="y", **other))
    with pytest.raises(IncomparableRunsError, match=r"a and .*b have 0 episodes in common \(2 and 3 are rec.*" + text):
        read_paired_runs([first, second])


def test_episodes_that_no_part_alone_tells_apart_are_refused(tmp_path: Path) -> None:
    first = made_run(tmp_path / "a", [*episodes("s", task="lift"), *episodes("s", task="stack", seed=1)])
    second = made_run(tmp_path / "b", [*episodes("s", task="stack"), *episodes("s", task="lift", seed=1)])
    with pytest.raises(
        IncomparableRunsError, match="each part of the identity occurs in both runs, but not in combination"
    ):
        read_paired_runs([first, second])


def test_three_runs_must_share_episodes(tmp_path: Path) -> None:
    parts = {"a": (0, 1), "b": (0, 2), "c": (1, 2)}
    folders = [made_run(tmp_path / name, [episode(i, policy=name) for i in part]) for name, part in parts.items()]
    with pytest.raises(VlaBenchError, match="No episode is common to all 3 runs, although any two share some"):
        read_paired_runs(folders)


def test_other_protocols_are_refused_and_the_field_named(tmp_path: Path) -> None:
    first = made_run(tmp_path / "a", episodes("s", policy="x"), protocol={"rendering": "fast", "wait_steps": 10})
    second = made_run(tmp_path / "b", episodes("s", policy="y"), protocol={"rendering": "fast", "wait_steps": 0})
    text = r"a and .*b have different protocols: protocol\.wait_steps: 10, then 0\. Run one of them again"
    with pytest.raises(IncomparableRunsError, match=text):
        read_paired_runs([first, second])


def test_other_scenes_are_refused_and_other_versions_named(tmp_path: Path) -> None:
    moved = [episode(0, policy="y"), replace(episode(1, policy="y"), scene_hash="elsewhere")]
    first = made_run(tmp_path / "a", episodes("ss", policy="x"))
    second = made_run(tmp_path / "b", moved)
    info = RunInfo.read(second)
    info.model_copy(update={"versions": {**info.versions, "mujoco": "2.0"}}).write(second)
    text = r"have different scenes in 1 of 2 common episodes, first robosuite\.lift clean 1 seed 0: scene_hash: "
    with pytest.raises(
        IncomparableRunsError, match=text + r'lift-1-0, then elsewhere; versions\.mujoco: .*, then "2\.0"\. Run'
    ):
        read_paired_runs([first, second])


def test_scene_hashes_of_two_kinds_are_not_called_other_scenes(tmp_path: Path) -> None:
    old = [replace(episode(0, policy="y"), scene_hash="0123456789abcdef")]
    new = [replace(episode(0, policy="x"), scene_hash="r5:0123456789abcdef")]
    folders = [made_run(tmp_path / "a", new), made_run(tmp_path / "b", old)]
    text = r"have two kinds of scene hashes: .* was recorded before scene hashes were rounded\. Run that one again"
    with pytest.raises(IncomparableRunsError, match=text):
        read_paired_runs(folders)


def test_an_error_before_the_scene_was_made_has_no_scene_to_compare(tmp_path: Path) -> None:
    broken = [episode(0, policy="y"), replace(episode(1, "error", policy="y"), scene_hash="")]
    first = made_run(tmp_path / "a", episodes("ss", policy="x"))
    paired = read_paired_runs([first, made_run(tmp_path / "b", broken)])
    assert paired.outcomes["y"].tolist() == ["success", "error"]
