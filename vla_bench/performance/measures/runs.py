"""Measures of whole runs: evaluation, demonstration collection, scheduling overhead and worker memory."""

import time
from collections.abc import Mapping, Sequence

from vla_bench.core.machine import usable_cores
from vla_bench.core.process_environment import process_variables
from vla_bench.demos import CollectOptions, CollectProgress, collect
from vla_bench.performance.hardware import process_memory_mb
from vla_bench.performance.record import Metric, Target
from vla_bench.performance.registry import MeasureSettings, NotRunError, measure
from vla_bench.performance.timed_runs import TimedRun, timed_run
from vla_bench.performance.workload_processes import WorkloadTurns, ratios
from vla_bench.performance.workloads import own_workload
from vla_bench.tasks import get_task, tasks_of

# ~ An evaluation of the tabletop suite with images: how long 500 episodes of the expert take.

_EVALUATION_SUITE, _EVALUATION_IMAGE_SIZE, _EVALUATION_EPISODES = "tabletop_object", 224, 500
_EVALUATION_SAMPLE = 4  # episodes of each task, where the rest is projected
_EVALUATION_SLOTS = 4  # environments a worker
_EVALUATION_TARGET = Target(bound=10.0, better="lower")


@measure("evaluation", f"Evaluation: expert on {_EVALUATION_EPISODES} tabletop episodes with images", in_quick=False)
def evaluation(setting: MeasureSettings) -> list[Metric]:
    """Return the minutes; with `full`, the whole run is made, otherwise it is projected from the pace of a sample."""
    tasks = len(tasks_of(_EVALUATION_SUITE))
    each = _EVALUATION_EPISODES // tasks if setting.full else setting.scaled(_EVALUATION_SAMPLE)
    first = setting.workers * _EVALUATION_SLOTS
    minutes, paces = [], []
    for turn in range(1 if setting.full or setting.scale < 1.0 else 2):
        run = timed_run(
            setting.workspace / str(turn),
            _EVALUATION_SUITE,
            (),
            episodes=each,
            workers=setting.workers,
            rows=_EVALUATION_SLOTS,
            policy="expert",
            image_size=_EVALUATION_IMAGE_SIZE,
            seed=turn,
        )
        paces.append(run.pace(0 if setting.full else first))
        minutes.append(run.whole_s / 60.0 if setting.full else _EVALUATION_EPISODES / run.episodes_per_minute(first))
    how = "whole, with start-up" if setting.full else f"projected from {tasks * each} episodes without start-up"
    setting.note(
        f"evaluation: all {tasks} tasks of `{_EVALUATION_SUITE}`, two images of {_EVALUATION_IMAGE_SIZE} px; {how}."
    )
    return [
        Metric(
            name="minutes",
            title=f"{_EVALUATION_EPISODES} expert episodes with images ({how})",
            unit="min",
            kind="time",
            better="lower",
            turns=tuple(minutes),
            aim=_EVALUATION_TARGET,
        ),
        Metric(name="pace", title="expert episodes with images", unit="steps/s", kind="time", turns=tuple(paces)),
    ]


# ~ Demonstrations a minute, as `vla-bench generate-demos` makes them.

_DEMONSTRATION_SUITE, _DEMONSTRATION_IMAGE_SIZE = "tabletop_object", 224
_DEMONSTRATION_SAMPLE = 4  # successes of each task
_DEMONSTRATION_TARGET = Target(bound=60.0)


@measure("demonstrations", "Demonstrations with images, two cameras of 224 px")
def demonstrations(setting: MeasureSettings) -> list[Metric]:
    """Return successes a minute from the first of each worker on, with the writing of the file; and their size."""
    paces, sizes = [], []
    for turn in range(1 if setting.scale < 1.0 else 2):
        options = CollectOptions(
            suites=(_DEMONSTRATION_SUITE,),
            output=setting.workspace / f"{turn}.hdf5",
            episodes=setting.scaled(_DEMONSTRATION_SAMPLE),
            seed=turn,
            workers=setting.workers,
            image_size=_DEMONSTRATION_IMAGE_SIZE,
        )
        moments: list[tuple[float, int]] = []

        def note(progress: CollectProgress, moments: list[tuple[float, int]] = moments) -> None:
            moments.append((time.perf_counter(), progress.finished))

        report = collect(options, note)
        ended = time.perf_counter()
        began, before = next(moment for moment in moments if moment[1] >= setting.workers)
        paces.append(60.0 * (report.demonstrations - before) / max(ended - began, 1e-9))
        sizes.append(report.size_bytes / 1e6 / report.demonstrations)
    setting.note(
        f"demonstrations: {setting.scaled(_DEMONSTRATION_SAMPLE)} successes of each of the {len(tasks_of(_DEMONSTRATION_SUITE))} tasks of "
        f"`{_DEMONSTRATION_SUITE}` with {setting.workers} workers; their start is not in the time, the file's writing is."
    )
    return [
        Metric(
            name="per-minute",
            title="demonstrations a minute",
            unit="/min",
            kind="time",
            turns=tuple(paces),
            aim=_DEMONSTRATION_TARGET,
        ),
        Metric(
            name="size", title="a demonstration's size", unit="MB", kind="memory", better="lower", turns=tuple(sizes)
        ),
    ]


# ~ Two workers against one through the real scheduler, and what scheduler, ledger and copies take of a step.

_SCHEDULING_TASK = "tabletop_pick.pick_red_cube"
_SCHEDULING_IMAGE_SIZE = 224  # pixels
_SCHEDULING_SLOTS = 3  # environments a worker
_SCHEDULING_ROUNDS = 2  # episodes of each row that are timed, after one that is not
_SCHEDULING_WORKERS = {"one": 1, "two": 2, "one-unbound": 1}  # workers


@measure("scheduling", "Real runs with images: 2 workers against 1; scheduler, ledger and copies")
def scheduling(setting: MeasureSettings) -> list[Metric]:
    """Return ratios and shares, from runs of a policy that stands still, so that all episodes are of one length."""
    if usable_cores() < 2:
        raise NotRunError("it takes two cores.")
    bound = process_variables(usable_cores())  # every worker keeps to one core, however many there are
    paces: dict[str, list[float]] = {name: [] for name in (*_SCHEDULING_WORKERS, "bare")}
    kept: list[float] = []  # share of a run's processor time that the bare loop takes, too
    loop = own_workload(
        "episodes",
        "bare loop",
        variables=bound,
        task_id=_SCHEDULING_TASK,
        image_size=_SCHEDULING_IMAGE_SIZE,
        rows=_SCHEDULING_SLOTS,
    )
    steps = setting.scaled(_SCHEDULING_ROUNDS) * get_task(_SCHEDULING_TASK).horizon * _SCHEDULING_SLOTS
    with WorkloadTurns({"bare": loop}) as subjects:
        for turn in range(setting.turns):
            alone = subjects.one("bare", steps=steps)
            paces["bare"].append(alone.steps_per_s)
            for name in _SCHEDULING_WORKERS:
                run = _scheduling_run(setting, name, turn, {} if name == "one-unbound" else bound)
                paces[name].append(run.pace(first=_warm_up_episodes(name)))
                if name == "one":
                    kept.append(alone.process_s / alone.steps / run.cpu_time_per_step(first=_warm_up_episodes(name)))
    setting.note(
        f"scheduling: a policy that stands still and is sent two images of {_SCHEDULING_IMAGE_SIZE} px; {_SCHEDULING_SLOTS} environments a "
        f"worker, whole episodes of {get_task(_SCHEDULING_TASK).horizon} steps with their resets, from the end of the first round "
        "on. Every worker keeps to one core; one that is alone may draw on all of them of its own accord, which is the "
        "pace of one worker as it comes. The bare loop does the same without scheduler, ledger and copies; "
        "processor time is that of all processes of the run, which load on the machine changes little."
    )
    return _scheduling_metrics(paces, kept)


def _scheduling_metrics(paces: Mapping[str, Sequence[float]], kept: Sequence[float]) -> list[Metric]:
    halves = [2.0 * pace for pace in paces["bare"]]
    unbound = ratios(paces["two"], paces["one-unbound"])
    of_one, of_two = ratios(paces["one"], paces["bare"]), ratios(paces["two"], halves)
    titles = {
        "one": "evaluation with one worker",
        "two": "evaluation with two workers",
        "one-unbound": "evaluation with one worker, as it comes",
        "bare": "bare loop of one process",
    }
    return [
        _ratio_metric(
            "two-against-one", "two workers against one, a core each", ratios(paces["two"], paces["one"]), 1.8
        ),
        _ratio_metric("two-against-unbound", "two workers against one as it comes", unbound),
        _overhead_metric("overhead-share", "scheduler, ledger and copies, of a step's processor time", kept, 5.0),
        _overhead_metric("overhead-wall", "scheduler, ledger and copies, of a step's time with one worker", of_one),
        _overhead_metric("overhead-wall-two", "the same with two workers, and what they cost each other", of_two),
        *(
            Metric(name=name, title=titles[name], unit="steps/s", kind="time", turns=tuple(taken))
            for name, taken in paces.items()
        ),
    ]


def _ratio_metric(name: str, title: str, turns: Sequence[float], aim: float | None = None) -> Metric:
    bound = None if aim is None else Target(bound=aim)
    return Metric(name=name, title=title, unit="x", kind="ratio", turns=tuple(turns), aim=bound)


def _overhead_metric(name: str, title: str, kept: Sequence[float], aim: float | None = None) -> Metric:
    bound = None if aim is None else Target(bound=aim, better="lower")
    shares = tuple(100.0 * (1.0 - share) for share in kept)
    return Metric(name=name, title=title, unit="%", kind="share", better="lower", turns=shares, aim=bound)


def _warm_up_episodes(name: str) -> int:
    """Return how many episodes end before the time begins: one of each row."""
    return _SCHEDULING_WORKERS[name] * _SCHEDULING_SLOTS


def _scheduling_run(setting: MeasureSettings, name: str, turn: int, variables: Mapping[str, str]) -> TimedRun:
    workers = _SCHEDULING_WORKERS[name]
    rows = workers * _SCHEDULING_SLOTS
    suite, task = _SCHEDULING_TASK.split(".")
    return timed_run(
        setting.workspace / f"{name}-{turn}",
        suite,
        (task,),
        episodes=rows * (1 + setting.scaled(_SCHEDULING_ROUNDS)),
        workers=workers,
        rows=_SCHEDULING_SLOTS,
        image_size=_SCHEDULING_IMAGE_SIZE,
        variables=variables,
    )


# ~ Memory of a worker process, at the end of a real run with images.

_MEMORY_IMAGE_SIZE, _MEMORY_SLOTS = 224, 8  # rows: the default of `vla-bench run`
_MEMORY_TARGET = Target(bound=400.0, better="lower")
_MEMORY_TASKS = {
    "tabletop": ("tabletop_object", ()),
    "robosuite": ("robosuite", ("lift",)),
}  # engine -> suite and tasks


@measure("memory", "Memory of a worker, 8 environments with images", in_quick=False)
def memory(setting: MeasureSettings) -> list[Metric]:
    """Return the proportional share of each worker's memory, and its resident set."""
    if not process_memory_mb():
        raise NotRunError("this system does not say what memory a process has (Linux: /proc/*/smaps_rollup).")
    figures = []
    rows = setting.scaled(_MEMORY_SLOTS, 2)
    for engine, (suite, tasks) in _MEMORY_TASKS.items():
        count = len(tasks) or len(tasks_of(suite))
        each = -(-setting.workers * rows // count)  # so that every row begins an episode
        run = timed_run(
            setting.workspace / engine,
            suite,
            tasks,
            episodes=each,
            workers=setting.workers,
            rows=rows,
            policy="expert",
            image_size=_MEMORY_IMAGE_SIZE,
            memory_at=(each * count,),
        )
        end = run.moments[-1]
        figures.append(
            Metric(
                name=f"{engine}-worker",
                title=f"a worker of `{suite}`",
                unit="MB",
                kind="memory",
                better="lower",
                turns=end.memory_mb,
                aim=_MEMORY_TARGET,
            )
        )
        figures.append(
            Metric(
                name=f"{engine}-worker-rss",
                title=f"a worker of `{suite}`, resident set",
                unit="MB",
                kind="memory",
                better="lower",
                turns=end.resident_mb,
            )
        )
    setting.note(
        f"memory: proportional share (PSS: shared pages divided among their users) of each of "
        f"{setting.workers} workers with {rows} environments, when the last episode ends. The turns are the workers."
    )
    return figures
