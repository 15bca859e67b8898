"""Drops are paired by scene, certified by the expert's ledger, and adjusted over perturbations."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.results.made_up import episodes, made_run
from vla_bench.core.errors import VlaBenchError
from vla_bench.results.errors import IncomparableRunsError
from vla_bench.results.leaderboard import ALL_TASKS
from vla_bench.results.robustness import robustness, robustness_table
from vla_bench.results.robustness_figure import save_robustness


def _runs(tmp_path: Path) -> tuple[Path, Path]:
    own = [
        *episodes("ssssssssff", policy="mine"),
        *episodes("ffffsssffe", policy="mine", variant="camera=2"),
        *episodes("ssssssssfs", policy="mine", variant="lighting=1"),
    ]
    expert = [
        *episodes("ssssssssss"),
        *episodes("sssssssffs", variant="camera=2"),
        *episodes("ssssssssss", variant="lighting=1"),
    ]
    return made_run(tmp_path / "mine", own), made_run(tmp_path / "certificates", expert)


def test_drops_are_paired_and_certified(tmp_path: Path) -> None:
    table = robustness(*_runs(tmp_path)).set_index(["variant", "task"])
    camera = table.loc["camera=2", ALL_TASKS]
    assert camera["pairs"] == 7  # the error is left out with its twin, and what the expert did not solve
    assert camera["clean_rate"] == pytest.approx(7 / 7)
    assert camera["perturbed_rate"] == pytest.approx(3 / 7)
    assert camera["drop"] == pytest.approx(4 / 7)
    assert camera["certified"] == pytest.approx(0.8)
    assert camera["p"] == pytest.approx(2 * 0.5**4)  # four discordant pairs, all one way
    assert camera["p_holm"] == pytest.approx(2 * camera["p"])
    assert table.loc["lighting=1", ALL_TASKS]["drop"] == pytest.approx(-0.1)


def test_the_costliest_perturbation_stands_first(tmp_path: Path) -> None:
    text = robustness_table(robustness(*_runs(tmp_path)))
    assert [row[0] for row in text.rows] == ["camera=2", "lighting=1"]
    assert text.title == "Robustness of mine"


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    save_robustness(robustness(*_runs(tmp_path)), tmp_path / "drops.png")
    assert (tmp_path / "drops.png").stat().st_size > 5000


def test_a_run_without_clean_episodes_cannot_be_used(tmp_path: Path) -> None:
    own = made_run(tmp_path / "mine", episodes("sf", variant="camera=2"))
    with pytest.raises(VlaBenchError, match="holds no clean episodes"):
        robustness(own, own)


def test_certificates_of_other_scenes_are_refused(tmp_path: Path) -> None:
    own, _ = _runs(tmp_path)
    others = [replace(one, scene_hash="other") for one in episodes("ssssssssss")]
    with pytest.raises(IncomparableRunsError, match="did not begin 10 of 10 common episodes in the same scene"):
        robustness(own, made_run(tmp_path / "others", others))
