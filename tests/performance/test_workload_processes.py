"""Workloads in separate processes: alternating turns, results and error messages."""

import sys
from pathlib import Path

import pytest

from vla_bench.performance.workload_processes import Workload, WorkloadError, WorkloadTurns, ratios

COUNTING = """
import sys
class Counting:
    def __init__(self, limit):
        self.limit, self.steps, self.resets = limit, 0, 0
    def step(self):
        self.steps += 1
        print("output of a library")
        if self.steps == self.limit:
            raise RuntimeError(f"after {self.steps} steps and {self.resets} resets")
        return self.steps % 4 == 0
    def reset(self):
        self.resets += 1
def make(options):
    return Counting(options["limit"])
"""


def _workload(tmp_path: Path, program: str = COUNTING, **options: object) -> Workload:
    path = tmp_path / "workload_under_test.py"
    path.write_text(program, encoding="utf-8")
    return Workload("A counter", path, options, distributions=("numpy", "no-such-package"))


def test_workloads_alternate_and_report_steps_resets_and_memory(tmp_path: Path) -> None:
    workload = _workload(tmp_path, limit=0)
    with WorkloadTurns({"one": workload, "other": workload}) as turns:
        taken = turns.take(2, seconds=0.0, steps=10, resets=3)
        assert turns.versions["no-such-package"] == "not installed"
        assert turns.versions["numpy"][0].isdigit()
    assert [turn.steps for turn in taken["one"] + taken["other"]] == [10, 10, 10, 10]
    assert all(len(turn.resets_s) == 3 for turn in taken["one"])
    assert all(turn.memory_mb > 1.0 for turn in taken["one"])


def test_ended_episode_is_reset(tmp_path: Path) -> None:
    # 1 reset at creation, then one after each 4th of the 10 + 3 steps before the error.
    with WorkloadTurns({"one": _workload(tmp_path, limit=14)}) as turns:
        turns.one("one", steps=10)
        with pytest.raises(WorkloadError, match="RuntimeError: after 14 steps and 4 resets"):
            turns.one("one", steps=10)


def test_workloads_can_run_at_the_same_time(tmp_path: Path) -> None:
    workload = _workload(tmp_path, limit=0)
    with WorkloadTurns({"one": workload, "other": workload}) as turns:
        assert set(turns.together(seconds=0.01)) == {"one", "other"}
        assert set(turns.together(seconds=0.01, first=1)) == {"one"}


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("import no_such_library", "No module named 'no_such_library'"),
        ("import os\ndef make(options):\n    os._exit(3)", "The process ended with exit code 3."),
    ],
)
def test_failed_creation_reports_the_reason(program: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadError) as raised, WorkloadTurns({"one": _workload(tmp_path, program)}):
        pass
    assert str(raised.value).startswith(f"A counter failed in {sys.executable}:\n")
    assert text in str(raised.value)


def test_missing_python_is_reported(tmp_path: Path) -> None:
    workload = Workload("A counter", tmp_path / "workload.py", python=str(tmp_path / "python"))
    with pytest.raises(WorkloadError, match="No such file or directory"), WorkloadTurns({"one": workload}):
        pass


def test_files_beside_the_script_are_not_imported_by_accident(tmp_path: Path) -> None:
    program = "def make(options):\n    import measures\n"  # a module of vla_bench.performance
    with (
        pytest.raises(WorkloadError, match="No module named 'measures'"),
        WorkloadTurns({"one": _workload(tmp_path, program)}),
    ):
        pass


def test_ratios_are_within_the_turn() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
