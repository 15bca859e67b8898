"""A recorded episode once more, in the real environments."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vla_bench.cli import app
from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.rerun import PolicyMismatchError, rerun_episode
from vla_bench.evaluation.run import run_evaluation
from vla_bench.results.ledger import LEDGER_NAME, Ledger
from vla_bench.results.run_info import RUN_INFO_NAME

SUITE, TASK = "tabletop_object", "red_cube_in_basket"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("rerun") / "run"
    run_evaluation(RunOptions("expert", SUITE, output, tasks=(TASK,), episodes=3, workers=1, slots_per_worker=3))
    return output


def test_the_rerun_of_an_episode_is_equal(run: Path) -> None:
    found = rerun_episode(run, f"{TASK}/2")
    assert found.same
    assert found.different == ()
    assert [line for line in found.circumstances if not line.startswith("git.")] == []  # commits during tests are fine
    assert found.episode.name == f"{SUITE}.{TASK}/clean/0/2"
    assert found.recorded.scene_hash


def test_the_command_exits_with_1_if_the_ledger_differs(run: Path, tmp_path: Path) -> None:
    same = CliRunner().invoke(app, ["rerun", str(run), f"{TASK}/0"])
    assert same.exit_code == 0, same.output
    assert "The same scene, actions and outcome." in same.output
    shutil.copy(run / RUN_INFO_NAME, tmp_path)
    with Ledger(run / LEDGER_NAME) as ledger, Ledger(tmp_path / LEDGER_NAME) as forged:
        forged.append(replace(ledger.records()[0], action_hash="0123456789abcdef"))
    other = CliRunner().invoke(app, ["rerun", str(tmp_path), f"{TASK}/0"])
    assert other.exit_code == 1
    assert "0123456789abcdef" in other.output
    assert "Different." in other.output


def test_different_actions_on_another_cpu_are_attributed_to_rounding(run: Path) -> None:
    found = rerun_episode(run, f"{TASK}/1")
    moved = replace(found, again=replace(found.again, action_hash="other"))
    assert not moved.same
    assert not moved.differs_by_rounding_only
    here = found.cpus[1]
    elsewhere = replace(moved, cpus=(f"not {here}", here))
    assert elsewhere.differs_by_rounding_only
    assert not elsewhere.same
    assert not replace(elsewhere, again=replace(moved.again, steps=moved.again.steps + 1)).differs_by_rounding_only
    assert not replace(elsewhere, again=replace(moved.again, scene_hash="r5:other")).differs_by_rounding_only


def test_another_policy_is_refused_and_the_field_is_named(run: Path) -> None:
    with pytest.raises(PolicyMismatchError, match=r"policy differs from .*kind: \"expert\", then \"random\""):
        rerun_episode(run, f"{TASK}/0", policy="random")


def test_an_episode_that_is_not_recorded_is_an_error(run: Path) -> None:
    with pytest.raises(VlaBenchError, match="The indices of red_cube_in_basket are 0 to 2"):
        rerun_episode(run, f"{TASK}/7")
