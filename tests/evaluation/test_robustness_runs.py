"""Perturbed episodes are run, certified first, and skipped where the expert fails or the task has no such axis."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from vla_bench.core.episode import CLEAN, EpisodeIdentity
from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.envs.perturbations import PerturbationError
from vla_bench.evaluation.certificates import certifier
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.robustness import STORE_NAME, RobustnessOptions, measure_robustness
from vla_bench.evaluation.run import run_evaluation
from vla_bench.results.certificates import CERTIFICATES_NAME, read_certificates
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.ledger import LEDGER_NAME, Ledger
from vla_bench.results.robustness import read_robustness

SUITE, TASK = "tabletop_pick", "pick_red_cube"


def _names(certificates: pd.DataFrame) -> list[str]:
    rows = certificates.itertuples()
    return [f"{row.suite}.{row.task}/{row.variant}/{row.seed}/{row.episode_index}" for row in rows]


def _records(run: Path) -> list[EpisodeRecord]:
    with Ledger(run / LEDGER_NAME) as ledger:
        return ledger.records()


def test_a_perturbed_episode_has_the_seed_of_its_clean_episode() -> None:
    clean = EpisodeIdentity(SUITE, TASK, 3)
    assert replace(clean, variant="camera=2").scene_seed() == clean.scene_seed()
    assert replace(clean, variant="expert_success").scene_seed() != clean.scene_seed()
    assert replace(clean, variant="camera=2").generator("policy").random() != clean.generator("policy").random()


def _certificates(run: Path) -> pd.DataFrame:
    return read_certificates(run / CERTIFICATES_NAME)


def test_the_policy_runs_on_episodes_that_the_expert_solves(tmp_path: Path) -> None:
    run = RunOptions("noop", SUITE, tmp_path, tasks=(TASK,), episodes=2, workers=1, slots_per_worker=2)
    options = RobustnessOptions(run, axes=("layout", "camera"), severities=(1,))
    made = measure_robustness(options)
    own, certificates = _records(made.policy), _certificates(made.policy)
    assert {record.variant for record in own} == {CLEAN, "camera=1", "layout=1"}
    scenes = dict(zip(_names(certificates), certificates["scene_hash"], strict=True))
    assert all(scenes[record.identity.name] == record.scene_hash for record in own)
    assert len(set(scenes.values())) == 6  # every scene is another
    shown = certificates.groupby("variant")["shown_in"].unique().str[0].to_dict()
    assert shown == {CLEAN: CLEAN, "camera=1": CLEAN, "layout=1": "layout=1"}  # a camera needs no trial of its own
    table = read_robustness(made.policy)
    assert table["certified"].tolist() == [1.0] * len(table)
    assert [record.outcome for record in _records(measure_robustness(options).policy)] == ["failure"] * len(own)


def test_certificates_are_made_once_for_all_policies_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunOptions("noop", SUITE, tmp_path / "one", tasks=(TASK,), episodes=1, workers=1, slots_per_worker=1)
    options = RobustnessOptions(run, axes=("camera",), severities=(1,), certificates=tmp_path / "shared.sqlite")
    first = _certificates(measure_robustness(options).policy)
    monkeypatch.setattr(certifier, "run_trials", None)  # nothing may be tried again
    other = replace(options, run=replace(run, policy="random", output=tmp_path / "two"))
    second = _certificates(measure_robustness(other).policy)
    assert second.equals(first)


def test_an_episode_that_the_expert_fails_is_replaced_by_the_next(tmp_path: Path) -> None:
    run = RunOptions("noop", SUITE, tmp_path, tasks=(TASK,), episodes=2, workers=1, slots_per_worker=2)
    options = RobustnessOptions(run, axes=("robot",), severities=(1,))
    measure_robustness(options)
    with closing(sqlite3.connect(tmp_path / STORE_NAME, isolation_level=None)) as store:
        store.execute("UPDATE certificates SET solved = 0 WHERE variant = 'robot=1' AND episode_index = 0")
    made = measure_robustness(replace(options, run=replace(run, policy="random")))
    used = {(record.variant, record.episode_index) for record in _records(made.policy)}
    assert used == {(CLEAN, 0), (CLEAN, 1), (CLEAN, 2), ("robot=1", 1), ("robot=1", 2)}
    row = read_robustness(made.policy).iloc[0]
    assert (row["pairs"], row["replaced"]) == (2, 1)


def test_unknown_and_unsupported_axes_are_reported_before_any_episode(tmp_path: Path) -> None:
    run = RunOptions("noop", SUITE, tmp_path / "run", tasks=(TASK,), episodes=1, workers=1)
    with pytest.raises(UnknownNameError, match="colour"):
        measure_robustness(RobustnessOptions(run, axes=("color",)))
    with pytest.raises(VlaBenchError, match=r"supports any of these perturbations. Axis 'size' needs"):
        measure_robustness(RobustnessOptions(replace(run, suite="robosuite", tasks=("door",)), axes=("size",)))
    door = replace(run, suite="robosuite", tasks=("door",), variants=("size=1",))
    with pytest.raises(PerturbationError, match=r"robosuite.door cannot be run under size=1: Axis 'size' needs"):
        run_evaluation(door)
    assert not (tmp_path / "run" / LEDGER_NAME).exists()
