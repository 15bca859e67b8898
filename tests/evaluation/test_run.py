"""Whole runs in the real environments."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import pandas as pd
import pytest
import torch

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import (
    ConventionError,
    OutputInUseError,
    OutputMismatchError,
    UnknownNameError,
    VlaBenchError,
)
from vla_bench.core.files import claimed
from vla_bench.evaluation.latency import Latency
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.plan import plan_episodes
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.run import RunReport, limit_policy_threads, run_evaluation
from vla_bench.evaluation.session import PolicyKeepsFailingError, RunProgress
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.errors import LedgerError
from vla_bench.results.ledger import read_ledger
from vla_bench.results.notes import conditions_of
from vla_bench.results.run_info import RunInfo
from vla_bench.results.runs import read_run

SUITE = "tabletop_object"
USERS = "tests.evaluation.user_policies"
TASKS = ("red_cube_in_basket", "milk_box_on_plate")
REPRODUCIBLE = [
    *("task", "episode_index", "scene_hash", "action_hash", "outcome", "reward", "steps"),
    *("progress", "phase", "final_progress", "final_phase"),
]


def options(output: Path, policy: str = "expert", **changes: object) -> RunOptions:
    made = RunOptions(policy, SUITE, output, tasks=TASKS, episodes=2, workers=2, slots_per_worker=2)
    return replace(made, **changes)  # type: ignore[arg-type]


def reproducible(folder: Path) -> pd.DataFrame:
    return read_ledger(folder / "ledger.sqlite")[REPRODUCIBLE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def expert(folder: Path) -> tuple[RunReport, list[RunProgress]]:
    heard: list[RunProgress] = []
    return run_evaluation(options(folder / "expert"), heard.append), heard


def test_a_run_reports_progress_and_results(expert: tuple[RunReport, list[RunProgress]]) -> None:
    report, heard = expert
    assert [progress.done for progress in heard] == [0, 1, 2, 3, 4]
    assert heard[0].eta_s is None
    assert heard[-1].eta_s == 0
    assert heard[1].latest is not None
    assert heard[1].latest.policy == "expert"
    assert report.progress.successes == 4
    assert report.progress.success_rate == 1.0
    assert report.resumed == report.workers_replaced == 0
    frame = read_ledger(report.output / "ledger.sqlite")
    assert report.progress.steps == frame["steps"].sum()
    assert (frame["wall_s"] > frame["policy_s"]).all()
    assert frame["instruction"].nunique() == 2
    assert frame["scene_hash"].nunique() == 4


def test_a_run_describes_itself(expert: tuple[RunReport, list[RunProgress]]) -> None:
    info = RunInfo.read(expert[0].output)
    assert info.policy == "expert"
    assert info.card["kind"] == "expert"
    assert info.finished is not None
    assert [(item.task, item.episodes) for item in info.planned] == [(task, 2) for task in TASKS]
    assert info.protocol["rendering"] == "fast"


@pytest.mark.parametrize("policy", ["random", pytest.param(f"{USERS}:Looking", marks=pytest.mark.slow)])
def test_results_do_not_depend_on_the_number_of_workers(folder: Path, policy: str) -> None:
    frames = []
    for workers, slots in ((1, 1), (2, 2)):
        output = folder / f"{policy.replace(':', '_')}_{workers}"
        run_evaluation(options(output, policy, workers=workers, slots_per_worker=slots, episodes=1))
        frames.append(reproducible(output))
    pd.testing.assert_frame_equal(*frames)
    assert (frames[0]["outcome"] != "error").all()
    assert (frames[0]["steps"] > 1).all()


def test_an_interrupted_run_is_resumed(folder: Path, expert: tuple[RunReport, list[RunProgress]]) -> None:
    def interrupt(progress: RunProgress) -> None:
        if progress.done == 1:
            raise KeyboardInterrupt

    output = folder / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        run_evaluation(options(output, workers=1), interrupt)
    assert len(read_ledger(output / "ledger.sqlite")) == 1
    assert RunInfo.read(output).finished is None
    report = run_evaluation(options(output, workers=1))
    assert (report.resumed, report.progress.done) == (1, 4)
    pd.testing.assert_frame_equal(reproducible(output), reproducible(expert[0].output))
    assert len(RunInfo.read(output).sessions) == 2
    assert run_evaluation(options(output)).resumed == 4


def test_the_next_session_tries_episodes_with_errors_again(folder: Path) -> None:
    run_options = options(folder / "fragile", f"{USERS}:Fragile", tasks=TASKS[:1], workers=1, slots_per_worker=1)
    first = run_evaluation(run_options).progress
    assert (first.failures, first.errors) == (1, 1)
    assert "RuntimeError: broke down" in read_ledger(run_options.output / "ledger.sqlite")["error"][1]
    second = run_evaluation(run_options)
    assert (second.resumed, second.progress.failures, second.progress.done) == (1, 1, 2)
    assert (read_ledger(run_options.output / "ledger.sqlite")["outcome"] == "failure").all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"policy": "random"}, 'policy: "expert", then "random"'), ({"seed": 1}, "seed: 0, then 1")],
)
def test_another_configuration_in_the_same_folder_is_an_error(
    expert: tuple[RunReport, list[RunProgress]], changes: dict[str, object], message: str
) -> None:
    output = expert[0].output
    before = (output / "run.json").read_bytes()
    with pytest.raises(OutputMismatchError, match=message):
        run_evaluation(options(output, **changes))  # type: ignore[arg-type]
    assert (output / "run.json").read_bytes() == before


def test_a_folder_in_use_is_an_error(expert: tuple[RunReport, list[RunProgress]]) -> None:
    with claimed(expert[0].output), pytest.raises(OutputInUseError, match="in use by another run"):
        run_evaluation(options(expert[0].output))


def test_recording_a_video_does_not_change_the_episode(
    folder: Path, expert: tuple[RunReport, list[RunProgress]]
) -> None:
    output = folder / "recorded"
    run_evaluation(options(output, videos=1, tasks=TASKS[:1], workers=1))
    frame = reproducible(expert[0].output).query(f"task == '{TASKS[0]}'").reset_index(drop=True)
    pd.testing.assert_frame_equal(reproducible(output), frame)
    videos = list((output / "videos").iterdir())
    assert [video.name for video in videos] == [f"{SUITE}.{TASKS[0]}_clean_seed0_0000.mp4"]
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(videos[0]))
    assert frames == frame["steps"][0] + 1


def test_incompatible_conventions_are_an_error_before_the_first_step(folder: Path) -> None:
    with pytest.raises(ConventionError, match="it needs images of 32 pixels, but they have 64"):
        run_evaluation(options(folder / "misfit", f"{USERS}:Looking", image_size=64, workers=1))
    assert not (folder / "misfit").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"suite": "tabletop_objects"},
            UnknownNameError,
            "No suite named 'tabletop_objects'. Did you mean 'tabletop_obj",
        ),
        ({"policy": "expart"}, UnknownNameError, "Did you mean 'expert'"),
        ({"episodes": 0}, VlaBenchError, "Cannot evaluate 0 episodes"),
    ],
)
def test_a_wrong_option_creates_no_folder(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_evaluation(options(tmp_path / "run", **changes))  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["workers", "slots_per_worker"])
def test_workers_and_slots_must_be_positive(tmp_path: Path, name: str) -> None:
    with pytest.raises(VlaBenchError, match=f"{name} is 0. Expected 1 or more"):
        options(tmp_path, **{name: 0})  # type: ignore[arg-type]


def test_torch_is_limited_to_the_cores_that_workers_leave_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(4)), raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        with limit_policy_threads(1):
            assert torch.get_num_threads() == 3
        with limit_policy_threads(4):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_the_ledger_of_a_network_does_not_depend_on_workers_and_slots(folder: Path) -> None:
    frames = []
    for workers, slots in ((1, 1), (2, 3)):
        output = folder / f"network_{workers}_{slots}"
        run_options = options(
            output, f"{USERS}:Network", workers=workers, slots_per_worker=slots, episodes=5, tasks=TASKS[:1]
        )
        run_evaluation(run_options)
        frames.append(reproducible(output))
    pd.testing.assert_frame_equal(*frames)
    assert frames[0]["action_hash"].nunique() == 5
    numerics = RunInfo.read(output).numerics
    assert (numerics.device, numerics.batch_shape, numerics.bit_equal) == ("cpu", 4, True)


def test_a_killed_run_is_resumed_and_ends_with_the_same_ledger(
    folder: Path, expert: tuple[RunReport, list[RunProgress]]
) -> None:
    output = folder / "killed"
    words = [
        "--policy",
        "expert",
        "--suite",
        SUITE,
        "--output",
        str(output),
        "--episodes",
        "2",
        "--workers",
        "1",
        "--rows",
        "1",
    ]
    command = [sys.executable, "-m", "vla_bench", "run", *words, *(word for task in TASKS for word in ("--task", task))]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not _has_episodes(output):
            time.sleep(0.05)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "killed before the end"
    report = run_evaluation(options(output))
    assert report.resumed >= 1
    pd.testing.assert_frame_equal(reproducible(output), reproducible(expert[0].output))


def _has_episodes(output: Path) -> bool:
    try:
        return not read_ledger(output / "ledger.sqlite").empty
    except LedgerError:  # missing, or not completely created yet
        return False


def test_a_plan_selects_rounds_and_its_verdict_is_recorded(folder: Path) -> None:
    class UntilTwoSucceed:
        """Asks for two episodes of the first task, then one at a time until two of the other succeeded."""

        verdict = ""

        def __init__(self) -> None:
            planned = plan_episodes(SUITE, TASKS, episodes=6, seed=0)
            self.episodes = [*planned[:2], *planned[6:]]
            self.seen: list[int] = []

        def require_comparable(self, info: RunInfo) -> None:
            assert info.policy == "expert"

        def next_round(self, records: Mapping[EpisodeIdentity, EpisodeRecord]) -> Sequence[EpisodeIdentity]:
            self.seen.append(len(records))
            if not records:
                return self.episodes[:2]
            others = [record for identity, record in records.items() if identity in self.episodes[2:]]
            if sum(record.outcome == "success" for record in others) == 2:
                self.verdict = "two successes"
                return ()
            return [self.episodes[2 + len(others)]]

    output = folder / "rounds"
    plan = UntilTwoSucceed()
    report = run_evaluation(options(output), plan=plan)
    assert plan.seen == [0, 2, 3, 4]
    assert (report.progress.done, report.progress.total) == (4, 8)
    assert RunInfo.read(output).verdict == "two successes"
    assert read_run(output).missing() == []


def test_a_policy_that_always_raises_stops_the_run(folder: Path) -> None:
    run_options = options(folder / "hopeless", f"{USERS}:Hopeless", episodes=5, workers=1, max_errors=3)
    with pytest.raises(PolicyKeepsFailingError, match=r"failed in 3 consecutive episodes.*ValueError: no eyes"):
        run_evaluation(run_options)
    frame = read_ledger(run_options.output / "ledger.sqlite")
    assert (frame["error_source"] == "policy").all()
    assert frame["error"].str.contains("in act").all()


def test_a_policy_that_calls_exit_is_an_error_of_its_episodes(folder: Path) -> None:
    run_options = options(folder / "quitter", f"{USERS}:Quitter", episodes=1, workers=1)
    assert run_evaluation(run_options).progress.errors == 2
    frame = read_ledger(run_options.output / "ledger.sqlite")
    assert (frame["error_source"] == "policy").all()
    assert frame["error"].str.contains(r"Quitter called sys\.exit\(0\) in act\. Raise an exception instead").all()


CODE = """
from vla_bench.policies import PolicyRequirements

class Still:
    requirements = PolicyRequirements(batch_shape=None)
    def act(self, observations):
        return [[[{speed}] * 7] * 40] * len(observations)
"""


def test_changed_code_of_a_user_policy_is_reported_on_resume_and_in_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code, heard = tmp_path / "changing_policy.py", list[str]()
    run_options = options(tmp_path / "run", "changing_policy:Still", tasks=TASKS[:1], workers=1, episodes=1)
    for episodes, speed in ((1, 0.0), (2, 0.0), (3, 0.1)):
        code.write_text(CODE.format(speed=speed))
        sys.modules.pop("changing_policy", None)
        run_evaluation(replace(run_options, episodes=episodes), on_note=heard.append)
    old, same, new = (session.policy_code for session in RunInfo.read(run_options.output).sessions)
    assert old == same != new
    (note,) = heard
    assert f"2 episodes of {run_options.policy} ran with code {old}, and the rest will run with code {new}" in note
    conditions = conditions_of([read_run(run_options.output)])[SUITE]
    first, then = (
        f"2 episodes of {run_options.policy} ran with code {old}",
        f"1 episode of {run_options.policy} ran with code {new}",
    )
    assert f"Different code: {first}, then {then}" in conditions


def test_another_batch_shape_is_another_configuration(folder: Path) -> None:
    run_options = options(folder / "shapes", f"{USERS}:Network", episodes=1, tasks=TASKS[:1])
    run_evaluation(run_options)
    with pytest.raises(OutputMismatchError, match=r"numerics\.batch_shape: 4, then 8"):
        run_evaluation(replace(run_options, batch_shape=8))


def test_a_measured_latency_is_recorded_and_reused_on_resume(folder: Path) -> None:
    output = folder / "late"
    run_options = options(output, tasks=TASKS[:1], episodes=1, protocol=EvaluationProtocol(latency="measured"))
    run_evaluation(run_options)
    latency = str(RunInfo.read(output).protocol["latency"])
    assert latency == str(Latency.parse(latency))
    assert run_evaluation(replace(run_options, episodes=2)).resumed == 1
    assert RunInfo.read(output).protocol["latency"] == latency
    with pytest.raises(OutputMismatchError, match=r'protocol\.latency: ".*", then "900ms±100"'):
        run_evaluation(replace(run_options, protocol=EvaluationProtocol(latency="900 ms +- 100 ms")))
