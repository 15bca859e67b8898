"""Run folders: continuing a run, refusing another configuration, and reading each file once."""

from pathlib import Path

import pytest

from tests.results.made_up import described, episode, made_run
from vla_bench.core.errors import OutputMismatchError
from vla_bench.evaluation.run_folder import RunFolder
from vla_bench.results.errors import LedgerError
from vla_bench.results.ledger import LEDGER_NAME, read_ledger
from vla_bench.results.run_info import RUN_INFO_NAME, PlannedTask, RunInfo


def test_nothing_is_written_before_the_session_starts(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        assert folder.info is None
        assert folder.records() == {}
        with pytest.raises(ValueError, match="Call `start` first"):
            folder.append(episode(0, "success"))
    assert not (tmp_path / "run").exists()


def test_the_same_configuration_continues_a_run_and_extends_its_plan(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.start(described(planned=[PlannedTask(suite="s", task="a", episodes=5)]))
    more = [PlannedTask(suite="s", task="a", episodes=9), PlannedTask(suite="s", task="b", episodes=2)]
    with RunFolder(tmp_path) as folder:
        folder.start(described(planned=more))
        assert folder.started == RunInfo.read(tmp_path)
        assert folder.started.planned == tuple(more)
        assert len(folder.started.sessions) == 2


def test_another_configuration_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        folder.start(described(protocol={"wait_steps": 10}))
    before = (tmp_path / RUN_INFO_NAME).read_bytes()
    with RunFolder(tmp_path) as folder, pytest.raises(OutputMismatchError, match=r"protocol\.wait_steps: 10, then 0"):
        folder.start(described(protocol={"wait_steps": 0}))
    assert (tmp_path / RUN_INFO_NAME).read_bytes() == before


def test_episodes_with_an_error_are_missing_until_the_session_has_tried_them_again(tmp_path: Path) -> None:
    recorded = [episode(0, "success"), episode(1, "error")]
    made_run(tmp_path, recorded)
    planned = [record.identity for record in (*recorded, episode(2, "failure"))]
    with RunFolder(tmp_path) as folder:
        assert folder.missing(planned) == planned[1:]
        folder.start(described())
        folder.append(episode(2, "failure"))
        folder.append(episode(1, "error"))
        assert folder.missing(planned) == []
        assert list(folder.records()) == planned, "in the order of the ledger, not of completion"
    assert read_ledger(tmp_path / LEDGER_NAME)["outcome"].tolist() == ["success", "error", "failure"]


def test_episodes_without_the_description_of_their_run_are_refused(tmp_path: Path) -> None:
    made_run(tmp_path, [episode(0, "success")])
    (tmp_path / RUN_INFO_NAME).unlink()
    with pytest.raises(LedgerError, match=r"the folder has no run\.json with their conditions"):
        RunFolder(tmp_path)
    assert not (tmp_path / RUN_INFO_NAME).exists()


def test_recorded_episodes_of_another_seed_are_refused(tmp_path: Path) -> None:
    made_run(tmp_path, [episode(0, "success", seed=3)])
    with RunFolder(tmp_path) as folder, pytest.raises(OutputMismatchError, match="seed: 3, then 4"):
        folder.require_seed(4)


def test_resuming_reads_the_description_and_the_ledger_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_run(tmp_path, [episode(0, "success")])
    reads, read_bytes = list[str](), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (reads.append(path.name), read_bytes(path))[1])
    with RunFolder(tmp_path) as folder:
        folder.require_seed(0)
        folder.require_same_configuration(described())
        folder.start(described())
        folder.append(episode(1, "failure"))
        folder.finish()
    assert reads == [RUN_INFO_NAME]
