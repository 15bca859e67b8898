"""Drops are paired by scene, stand on certificates of the same scenes, and are adjusted over perturbations."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.results.made_up import episodes, made_run
from vla_bench.core.errors import VlaBenchError
from vla_bench.results.certificates import CERTIFICATES_NAME, Certificate, add_certificates
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.leaderboard import ALL_TASKS
from vla_bench.results.robustness import read_robustness, robustness_table, save_robustness_figure


def _certified(run: Path, records: Sequence[EpisodeRecord]) -> None:
    """Write certificates into a run folder."""
    certificates = [
        Certificate(one.identity, one.scene_hash, "physics", one.outcome == "success", one.steps, one.variant)
        for one in records
    ]
    add_certificates(run / CERTIFICATES_NAME, certificates, [one.identity for one in records])


def _run(tmp_path: Path) -> Path:
    own = [
        *episodes("ssssssssff", policy="mine"),
        *episodes("ffffsssffe", policy="mine", variant="camera=2"),
        *episodes("ssssssssfs", policy="mine", variant="lighting=1"),
    ]
    expert = [
        *episodes("ssssssssssss"),
        *episodes("ssssssssssff", variant="camera=2"),
        *episodes("ssssssssss", variant="lighting=1"),
    ]
    run = made_run(tmp_path / "mine", own)
    _certified(run, expert)
    return run


def test_drops_are_paired_and_certified(tmp_path: Path) -> None:
    table = read_robustness(_run(tmp_path)).set_index(["variant", "task"])
    camera = table.loc["camera=2", ALL_TASKS]
    assert camera["pairs"] == 9  # the error is left out with its twin
    assert camera["clean_rate"] == pytest.approx(8 / 9)
    assert camera["perturbed_rate"] == pytest.approx(3 / 9)
    assert camera["drop"] == pytest.approx(5 / 9)
    assert camera["certified"] == pytest.approx(10 / 12)
    assert camera["replaced"] == 2
    assert camera["p"] == pytest.approx(2 * 0.5**5)  # five discordant pairs, all one way
    assert camera["p_holm"] == pytest.approx(2 * camera["p"])
    assert table.loc["lighting=1", ALL_TASKS]["drop"] == pytest.approx(-0.1)


def test_p_values_of_tasks_are_adjusted_too(tmp_path: Path) -> None:
    table = read_robustness(_run(tmp_path))
    single = table[table["task"] != ALL_TASKS].set_index("variant")
    assert single.loc["camera=2", "p_holm"] == pytest.approx(2 * single.loc["camera=2", "p"])  # of two such tests


def test_the_costliest_perturbation_stands_first(tmp_path: Path) -> None:
    text = robustness_table(read_robustness(_run(tmp_path)))
    assert [row[0] for row in text.rows] == ["camera=2", "lighting=1"]
    assert text.title == "Robustness of mine"


def test_the_figure_is_drawn_of_what_has_a_severity(tmp_path: Path) -> None:
    table = read_robustness(_run(tmp_path))
    assert save_robustness_figure(table, tmp_path / "drops.png")
    assert (tmp_path / "drops.png").stat().st_size > 5000
    several = table.assign(variant="camera=2,lighting=2")
    assert not save_robustness_figure(several, tmp_path / "none.png")
    assert save_robustness_figure(several, tmp_path / "set.png", {"camera=2,lighting=2": "visual-2"})
    assert robustness_table(several, {"camera=2,lighting=2": "visual-2"}).rows[0][0] == "visual-2"


def test_a_run_without_clean_episodes_cannot_be_used(tmp_path: Path) -> None:
    own = made_run(tmp_path / "mine", episodes("sf", variant="camera=2"))
    _certified(own, episodes("ss", variant="camera=2"))
    with pytest.raises(VlaBenchError, match="has no clean episodes"):
        read_robustness(own)


def test_a_run_on_other_scenes_than_the_certified_ones_is_refused(tmp_path: Path) -> None:
    own = made_run(tmp_path / "mine", [*episodes("ss"), *episodes("sf", variant="camera=2")])
    _certified(own, [*episodes("ss"), *episodes("sf", variant="camera=2")])
    with pytest.raises(VlaBenchError, match=r"1 episodes of .*mine have other scenes .* lift/camera=2/1"):
        read_robustness(own)
