"""Collection with synthetic recorders: order, resumption, failures and worker deaths."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.demos import synthetic_recorders as recorders
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import DemonstrationFileError, OutputInUseError, OutputMismatchError, UnknownNameError
from vla_bench.core.files import claimed
from vla_bench.demos import (
    CollectError,
    CollectOptions,
    CollectProgress,
    Demonstration,
    DemonstrationFile,
    FileHeader,
    NoiseOptions,
    collect,
    write_demonstrations,
)
from vla_bench.demos.options import CollectOptionsError
from vla_bench.demos.schedule import ExpertUnsuccessfulError
from vla_bench.tasks import tasks_of

TASKS = ("lift", "stack")


@pytest.fixture
def options(tmp_path: Path) -> CollectOptions:
    return CollectOptions(("robosuite",), tmp_path / "demos.hdf5", TASKS, episodes=4, image_size=24)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished output that tests share, since starting worker processes is slow."""
    output = tmp_path_factory.mktemp("made_once") / "demos.hdf5"
    collect(CollectOptions(("robosuite",), output, TASKS, episodes=4, image_size=24), recorder=recorders.Recorder)
    return output


@pytest.fixture
def finished(options: CollectOptions, made_once: Path) -> CollectOptions:
    """Return options whose output exists already."""
    shutil.copy2(made_once, options.output)
    return options


def contents(path: Path) -> list[tuple[str, int, bool, bytes]]:
    with DemonstrationFile(path) as file:
        return [(one.identity.task, one.identity.index, one.success, one.actions.tobytes()) for one in file]


def indices(path: Path) -> list[tuple[str, int]]:
    return [(task, index) for task, index, *_ in contents(path)]


def left_beside(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir()} - {path.name}


def test_first_successes_of_each_task_in_order(options: CollectOptions) -> None:
    report = collect(options, recorder=recorders.Recorder)
    assert indices(options.output) == [(task, index) for task in TASKS for index in (0, 2, 3, 5)]
    assert [(task.successes, task.attempts) for task in report.tasks] == [(4, 6), (4, 6)]
    assert left_beside(options.output) == set()


def test_any_number_of_workers_makes_the_same_file(options: CollectOptions, made_once: Path) -> None:
    collect(replace(options, workers=3), recorder=recorders.SlowRecorder)
    assert contents(options.output) == contents(made_once)


def test_failures_are_stored_in_order_on_request(options: CollectOptions) -> None:
    collect(replace(options, keep_failures=True), recorder=recorders.Recorder)
    assert [row[1:3] for row in contents(options.output)[:6]] == [(i, i not in recorders.FAILING) for i in range(6)]
    with DemonstrationFile(options.output) as file:
        assert len(file.mask("failure")) == 4
        assert not set(file.mask("failure")) & set(file.mask("train") + file.mask("valid"))


def test_progress_is_reported(options: CollectOptions) -> None:
    seen: list[CollectProgress] = []
    collect(options, seen.append, recorder=recorders.Recorder)
    assert [progress.finished for progress in seen] == [0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8]
    assert (seen[-1].wanted, seen[-1].attempts, seen[-1].remaining_s) == (8, 12, 0.0)
    assert seen[-1].success_rate == pytest.approx(8 / 12)
    assert seen[-2].per_minute > 0


def test_a_finished_output_is_not_changed(finished: CollectOptions) -> None:
    written = finished.output.stat().st_mtime_ns
    report = collect(finished, recorder=recorders.BrokenRecorder)  # it would fail if it were called
    assert report.resumed == 8
    assert finished.output.stat().st_mtime_ns == written


def test_more_episodes_extend_a_finished_output(options: CollectOptions, made_once: Path) -> None:
    collect(replace(options, episodes=2), recorder=recorders.Recorder)
    report = collect(options, recorder=recorders.Recorder)
    assert report.resumed == 4
    assert contents(options.output) == contents(made_once)


def test_fewer_episodes_than_stored_are_refused(finished: CollectOptions) -> None:
    with pytest.raises(CollectOptionsError, match="already holds 4 episodes of each task, more than the 2 asked for"):
        collect(replace(finished, episodes=2), recorder=recorders.Recorder)


def in_another_process(options: CollectOptions) -> subprocess.Popen[str]:
    """Start a slow collection in another process."""
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from tests.demos.synthetic_recorders import SlowRecorder\n"
        "from vla_bench.demos import CollectOptions, collect\n"
        "if __name__ == '__main__':\n"
        f"    collect(CollectOptions(('robosuite',), Path(sys.argv[1]), {TASKS!r}, episodes={options.episodes},"
        " image_size=24, workers=2), lambda progress: print(progress.finished, flush=True), recorder=SlowRecorder)\n"
    )
    script = options.output.with_name("script.py")
    script.write_text(program)
    arguments = [sys.executable, str(script), str(options.output), str(Path(__file__).parents[2])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background processes ignore it
    )


@pytest.mark.parametrize("sent", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGINT])
def test_the_same_command_resumes_after_a_kill(options: CollectOptions, made_once: Path, sent: signal.Signals) -> None:
    process = in_another_process(options)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "3":
            break
    with pytest.raises(OutputInUseError, match=f"in use by another run \\(process {process.pid}\\)"):
        collect(options, recorder=recorders.Recorder)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=120)
    if sent == signal.SIGINT:
        assert "finished demonstrations are stored" in errors
        assert "run the same command again to resume" in errors
    assert not options.output.exists()
    resumed: list[CollectProgress] = []
    collect(options, resumed.append, recorder=recorders.SlowRecorder)
    assert 3 <= resumed[0].finished < resumed[0].wanted
    assert contents(options.output) == contents(made_once)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"image_size": 32}, "image_size 24, not 32"),
        ({"noise": NoiseOptions()}, "noise None, not"),
        ({"tasks": ("lift",)}, "tasks"),
        ({"cameras": ("wrist",)}, "cameras"),
    ],
)
def test_another_configuration_is_refused(finished: CollectOptions, change: dict[str, object], difference: str) -> None:
    before = finished.output.read_bytes()
    with pytest.raises(OutputMismatchError, match=difference):
        collect(replace(finished, **change), recorder=recorders.Recorder)  # type: ignore[arg-type]
    assert finished.output.read_bytes() == before


def test_parts_of_another_configuration_are_refused(options: CollectOptions) -> None:
    with pytest.raises(CollectError):
        collect(options, recorder=recorders.BrokenRecorder)
    with pytest.raises(OutputMismatchError, match=r"demos.hdf5.parts was made .* seed 0, not 1"):
        collect(replace(options, seed=1), recorder=recorders.Recorder)


def test_another_file_at_the_output_is_not_overwritten(options: CollectOptions) -> None:
    options.output.write_text("my thesis")
    with pytest.raises(DemonstrationFileError, match="not an HDF5 file"):
        collect(options, recorder=recorders.Recorder)
    assert options.output.read_text() == "my thesis"


def test_output_of_another_origin_is_not_extended(options: CollectOptions) -> None:
    made = recorders.Recorder(options)
    write_demonstrations(options.output, made.header(), [recorders.demonstration(0)])
    with pytest.raises(OutputMismatchError, match="it was not collected from experts"):
        collect(options, recorder=recorders.Recorder)


def test_output_in_use_is_refused(options: CollectOptions) -> None:
    with claimed(options.output), pytest.raises(OutputInUseError):
        collect(options, recorder=recorders.Recorder)


def test_damaged_part_is_recorded_again(options: CollectOptions) -> None:
    with pytest.raises(CollectError):
        collect(options, recorder=recorders.BrokenRecorder)
    parts = Path(f"{options.output}.parts")
    os.truncate(parts / "robosuite.lift-000000.hdf5", 1000)
    (parts / ".robosuite.lift-000003.hdf5.77.tmp.hdf5").write_text("of a killed process")
    collect(options, recorder=recorders.Recorder)
    assert indices(options.output)[:4] == [("lift", index) for index in (0, 2, 3, 5)]


def test_dead_worker_is_reported_and_its_episode_recorded_again(options: CollectOptions) -> None:
    report = collect(options, recorder=recorders.DyingRecorder)
    assert indices(options.output)[:4] == [("lift", index) for index in (0, 2, 3, 5)]
    assert report.deaths == ("A worker died of signal 9 (often: out of memory) in episode 2 of robosuite.lift.",)


@pytest.mark.parametrize(
    ("recorder", "message"),
    [
        (recorders.BrokenRecorder, r"(?s)episode 2 of robosuite.lift failed: Traceback.*of the recorder.*1 finished"),
        (recorders.NoRenderingRecorder, "Cannot render off screen: no EGL device.*apt-get install libegl1"),
        (
            recorders.DeadlyRecorder,
            "(?s)died of signal 9.*died in this episode before.*2 finished demonstrations",
        ),
        (
            recorders.FullDiskRecorder,
            "(?s)Cannot write .*lift-000000.hdf5: File too large. The incomplete file was removed",
        ),
    ],
)
def test_the_cause_of_a_stopped_collection_is_reported(
    options: CollectOptions, recorder: Callable[[CollectOptions], recorders.Recorder], message: str
) -> None:
    with pytest.raises(CollectError, match=message):
        collect(options, recorder=recorder)
    parts = Path(f"{options.output}.parts")
    assert not list(parts.glob(".*tmp*")), "half-written parts were left"


def test_an_unsuccessful_expert_stops_the_collection(options: CollectOptions) -> None:
    with pytest.raises(ExpertUnsuccessfulError, match=r"0 of 25 attempts at robosuite\.lift"):
        collect(options, recorder=recorders.UnsuccessfulRecorder)


def test_unknown_names_are_refused_before_anything_is_written(options: CollectOptions) -> None:
    with pytest.raises(UnknownNameError, match=r"No task of the suite robosuite named 'lft'\. Did you mean 'lift'"):
        collect(replace(options, tasks=("lft",)), recorder=recorders.Recorder)
    with pytest.raises(UnknownNameError, match=r"No suite named 'robosiute'\. Did you mean 'robosuite'"):
        collect(replace(options, suites=("robosiute",)), recorder=recorders.Recorder)
    assert left_beside(options.output) == set()
    assert not options.output.exists()


def test_scenes_differ_from_those_of_an_evaluation_with_the_same_seed(made_once: Path) -> None:
    with DemonstrationFile(made_once) as file:
        identity = file.summary("demo_0").identity
    assert identity.scene_seed() != replace(identity, variant="clean").scene_seed()


def test_all_fields_of_a_demonstration_are_stored(options: CollectOptions, made_once: Path) -> None:
    with DemonstrationFile(made_once) as file:
        read = file.read("demo_1")
        assert file.header.env_args["env_name"] == "vla_bench/robosuite"
        assert file.header.collection["episodes"] == 4
    made = recorders.Recorder(options)(read.identity)
    np.testing.assert_array_equal(read.images["wrist"], made.images["wrist"])
    np.testing.assert_array_equal(read.states, made.states)
    assert (read.phases, read.instruction, read.model_xml) == (made.phases, made.instruction, made.model_xml)


class SmallerRecorder(recorders.Recorder):
    """Recorder with another image size in the second task."""

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        self.task = identity.task
        return super().__call__(identity)

    def header(self) -> FileHeader:
        return replace(super().header(), image_size=24 if self.task == "lift" else 12)


def test_tasks_that_cannot_share_a_file_are_reported_at_once(options: CollectOptions) -> None:
    with pytest.raises(CollectError, match=r"stack cannot be stored in one file .*: image_size 24, not 12\. Give it"):
        collect(options, recorder=SmallerRecorder)


def test_one_file_for_each_suite(tmp_path: Path) -> None:
    options = CollectOptions(("robosuite", "tabletop_pick"), tmp_path, ("lift", "pick_red_cube", "robosuite.door"))
    assert [(one.output.name, one.tasks) for one in options.by_suite()] == [
        ("robosuite.hdf5", ("robosuite.lift", "robosuite.door")),
        ("tabletop_pick.hdf5", ("tabletop_pick.pick_red_cube",)),
    ]


def test_tasks_of_several_suites_are_found_by_name_or_by_id(tmp_path: Path) -> None:
    def chosen(suites: tuple[str, ...], tasks: tuple[str, ...]) -> list[str]:
        return [task.id for task in CollectOptions(suites, tmp_path / "x.hdf5", tasks).chosen_tasks()]

    assert chosen(("robosuite",), ("tabletop_pick.pick_red_cube", "lift")) == [
        "robosuite.lift",
        "tabletop_pick.pick_red_cube",
    ]
    assert len(chosen(("robosuite", "tabletop_pick"), ())) == len(tasks_of("robosuite")) + len(
        tasks_of("tabletop_pick")
    )
    with pytest.raises(CollectOptionsError, match=r"lift needs the name of its suite, such as robosuite\.lift\."):
        chosen((), ("lift",))
    with pytest.raises(UnknownNameError, match=r"No task of the suites robosuite, tabletop_pick named 'lft'"):
        chosen(("robosuite", "tabletop_pick"), ("lft",))


def test_every_episode_counts_on_request(options: CollectOptions) -> None:
    report = collect(replace(options, counted="episodes"), recorder=recorders.Recorder)
    assert indices(options.output) == [(task, index) for task in TASKS for index in range(4)]
    assert [(one.demonstrations, one.successes, one.attempts) for one in report.tasks] == [(4, 3, 4), (4, 3, 4)]


def test_only_the_given_episode_indices_are_recorded(options: CollectOptions) -> None:
    some = {"robosuite.lift": (3, 4, 7), "robosuite.stack": (0,)}
    collect(replace(options, episodes=10, indices=some), recorder=recorders.Recorder)
    assert indices(options.output) == [("lift", 3), ("lift", 7), ("stack", 0)]
