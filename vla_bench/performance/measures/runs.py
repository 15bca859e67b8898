"""Measures of whole runs: evaluation, demonstration collection, scheduling overhead and worker memory."""

import time
from collections.abc import Mapping, Sequence

from vla_bench.core.machine import usable_cores
from vla_bench.core.process_environment import process_variables
from vla_bench.demos import CollectOptions, CollectProgress, collect
from vla_bench.performance.hardware import process_memory_mb
from vla_bench.performance.record import Metric, Target, speed_metric
from vla_bench.performance.registry import MeasureSettings, NotRunError, measure
from vla_bench.performance.timed_runs import TimedRun, timed_run
from vla_bench.performance.workload_processes import WorkloadTurns, ratios
from vla_bench.performance.workloads import IMAGE_SIZE, own_workload
from vla_bench.tasks import get_task, tasks_of

_EVALUATION_SUITE, _EVALUATION_EPISODES = "tabletop_object", 500
_EVALUATION_SAMPLE = 4  # episodes of each task from which the total is projected
_EVALUATION_SLOTS = 4  # environments per worker
_EVALUATION_TARGET = Target(bound=10.0, better="lower")


@measure("evaluation", f"Evaluation: expert on {_EVALUATION_EPISODES} tabletop episodes with images", in_quick=False)
def evaluation(setting: MeasureSettings) -> list[Metric]:
    """Return the minutes of the run and steps/s; without `full`, the minutes are projected from a sample."""
    tasks = len(tasks_of(_EVALUATION_SUITE))
    each = _EVALUATION_EPISODES // tasks if setting.full else setting.scaled(_EVALUATION_SAMPLE)
    first = setting.workers * _EVALUATION_SLOTS
    minutes, speeds = [], []
    for turn in range(1 if setting.full or setting.scale < 1.0 else 2):
        run = timed_run(
            setting.workspace / str(turn),
            _EVALUATION_SUITE,
            (),
            episodes=each,
            workers=setting.workers,
            rows=_EVALUATION_SLOTS,
            policy="expert",
            image_size=IMAGE_SIZE,
            seed=turn,
        )
        speeds.append(run.steps_per_s(0 if setting.full else first))
        minutes.append(run.total_s / 60.0 if setting.full else _EVALUATION_EPISODES / run.episodes_per_minute(first))
    how = "complete, with start-up" if setting.full else f"projected from {tasks * each} episodes without start-up"
    setting.note(f"evaluation: all {tasks} tasks of `{_EVALUATION_SUITE}`, two images of {IMAGE_SIZE} px; {how}.")
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
        speed_metric("pace", "expert episodes with images", speeds),
    ]


_DEMONSTRATION_SUITE = "tabletop_object"
_DEMONSTRATION_SAMPLE = 4  # successes of each task
_DEMONSTRATION_TARGET = Target(bound=60.0)


@measure("demonstrations", f"Demonstrations with images, two cameras of {IMAGE_SIZE} px")
def demonstrations(setting: MeasureSettings) -> list[Metric]:
    """Return demonstrations per minute, the writing of the file included, and the size of a demonstration.

    The time begins when as many demonstrations are finished as there are workers.
    """
    speeds, sizes = [], []
    for turn in range(1 if setting.scale < 1.0 else 2):
        options = CollectOptions(
            suites=(_DEMONSTRATION_SUITE,),
            output=setting.workspace / f"{turn}.hdf5",
            episodes=setting.scaled(_DEMONSTRATION_SAMPLE),
            seed=turn,
            workers=setting.workers,
            image_size=IMAGE_SIZE,
        )
        moments: list[tuple[float, int]] = []

        def note(progress: CollectProgress, moments: list[tuple[float, int]] = moments) -> None:
            moments.append((time.perf_counter(), progress.finished))

        report = collect(options, note)
        ended = time.perf_counter()
        began, before = next(moment for moment in moments if moment[1] >= setting.workers)
        speeds.append(60.0 * (report.demonstrations - before) / max(ended - began, 1e-9))
        sizes.append(report.size_bytes / 1e6 / report.demonstrations)
    setting.note(
        f"demonstrations: {setting.scaled(_DEMONSTRATION_SAMPLE)} successes of each of the "
        f"{len(tasks_of(_DEMONSTRATION_SUITE))} tasks of "
        f"`{_DEMONSTRATION_SUITE}` with {setting.workers} workers; the time excludes their start and includes "
        "writing the file."
    )
    return [
        Metric(
            name="per-minute",
            title="demonstrations per minute",
            unit="/min",
            kind="time",
            turns=tuple(speeds),
            aim=_DEMONSTRATION_TARGET,
        ),
        _memory_metric("size", "size of a demonstration", sizes),
    ]


_SCHEDULING_TASK = "tabletop_pick.pick_red_cube"
_SCHEDULING_SLOTS = 3  # environments per worker
_SCHEDULING_ROUNDS = 2  # timed episodes per environment, after a warm-up episode
_SCHEDULING_WORKERS = {"one": 1, "two": 2, "one-unbound": 1}  # run -> workers


@measure("scheduling", "Evaluations with images: 2 workers against 1; scheduler, ledger and copies")
def scheduling(setting: MeasureSettings) -> list[Metric]:
    """Return ratios and overheads from runs of the policy `noop`, so that all episodes have the same length."""
    if usable_cores() < 2:
        raise NotRunError("this measure needs two cores.")
    bound = process_variables(usable_cores())  # every worker uses one core only
    speeds: dict[str, list[float]] = {name: [] for name in (*_SCHEDULING_WORKERS, "bare")}
    useful: list[float] = []  # fraction of the run's CPU time that the bare loop needs, too
    loop = own_workload(
        "episodes",
        "bare loop",
        variables=bound,
        task_id=_SCHEDULING_TASK,
        image_size=IMAGE_SIZE,
        rows=_SCHEDULING_SLOTS,
    )
    steps = setting.scaled(_SCHEDULING_ROUNDS) * get_task(_SCHEDULING_TASK).horizon * _SCHEDULING_SLOTS
    with WorkloadTurns({"bare": loop}) as workloads:
        for turn in range(setting.turns):
            alone = workloads.one("bare", steps=steps)
            speeds["bare"].append(alone.steps_per_s)
            for name in _SCHEDULING_WORKERS:
                run = _scheduling_run(setting, name, turn, {} if name == "one-unbound" else bound)
                speeds[name].append(run.steps_per_s(first=_warm_up_episodes(name)))
                if name == "one":
                    useful.append(alone.process_s / alone.steps / run.cpu_time_per_step(first=_warm_up_episodes(name)))
    setting.note(
        f"scheduling: the policy `noop` with two images of {IMAGE_SIZE} px; {_SCHEDULING_SLOTS} environments "
        f"per worker, complete episodes of {get_task(_SCHEDULING_TASK).horizon} steps with their resets, after a "
        "warm-up round. Every worker is limited to one core, except in `one worker with default threads`, which may "
        "render on all cores. The bare loop runs the same episodes without scheduler, ledger and copies. CPU time is "
        "that of all processes of the run and depends little on other load of the machine."
    )
    return _scheduling_metrics(speeds, useful)


def _scheduling_metrics(speeds: Mapping[str, Sequence[float]], useful: Sequence[float]) -> list[Metric]:
    doubled = [2.0 * speed for speed in speeds["bare"]]
    unbound = ratios(speeds["two"], speeds["one-unbound"])
    of_one, of_two = ratios(speeds["one"], speeds["bare"]), ratios(speeds["two"], doubled)
    titles = {
        "one": "evaluation with one worker",
        "two": "evaluation with two workers",
        "one-unbound": "evaluation with one worker with default threads",
        "bare": "bare loop in one process",
    }
    return [
        _ratio_metric(
            "two-against-one", "two workers against one, one core each", ratios(speeds["two"], speeds["one"]), 1.8
        ),
        _ratio_metric("two-against-unbound", "two workers against one with default threads", unbound),
        _overhead_metric(
            "overhead-share", "scheduler, ledger and copies, share of the CPU time of a step", useful, 5.0
        ),
        _overhead_metric(
            "overhead-wall", "scheduler, ledger and copies, share of the time of a step with one worker", of_one
        ),
        _overhead_metric("overhead-wall-two", "the same with two workers, including their mutual slowdown", of_two),
        *(speed_metric(name, titles[name], taken) for name, taken in speeds.items()),
    ]


def _ratio_metric(name: str, title: str, turns: Sequence[float], aim: float | None = None) -> Metric:
    bound = None if aim is None else Target(bound=aim)
    return Metric(name=name, title=title, unit="x", kind="ratio", turns=tuple(turns), aim=bound)


def _overhead_metric(name: str, title: str, useful: Sequence[float], aim: float | None = None) -> Metric:
    bound = None if aim is None else Target(bound=aim, better="lower")
    shares = tuple(100.0 * (1.0 - share) for share in useful)
    return Metric(name=name, title=title, unit="%", kind="share", better="lower", turns=shares, aim=bound)


def _warm_up_episodes(name: str) -> int:
    """Return the number of warm-up episodes: one per environment."""
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
        image_size=IMAGE_SIZE,
        variables=variables,
    )


_MEMORY_SLOTS = 8  # environments per worker: the default of `vla-bench run`
_MEMORY_TARGET = Target(bound=400.0, better="lower")
_MEMORY_TASKS = {
    "tabletop": ("tabletop_object", ()),
    "robosuite": ("robosuite", ("lift",)),
}  # engine -> suite and tasks


@measure("memory", "Memory of a worker, 8 environments with images", in_quick=False)
def memory(setting: MeasureSettings) -> list[Metric]:
    """Return the proportional and the resident set size of each worker."""
    if not process_memory_mb():
        raise NotRunError("this system does not report the memory of a process (on Linux: /proc/*/smaps_rollup).")
    metrics = []
    rows = setting.scaled(_MEMORY_SLOTS, 2)
    for engine, (suite, tasks) in _MEMORY_TASKS.items():
        count = len(tasks) or len(tasks_of(suite))
        each = -(-setting.workers * rows // count)  # so that every environment runs an episode
        run = timed_run(
            setting.workspace / engine,
            suite,
            tasks,
            episodes=each,
            workers=setting.workers,
            rows=rows,
            policy="expert",
            image_size=IMAGE_SIZE,
            memory_at=(each * count,),
        )
        end = run.snapshots[-1]
        metrics += [
            _memory_metric(f"{engine}-worker", f"a worker of `{suite}`", end.memory_mb, _MEMORY_TARGET),
            _memory_metric(f"{engine}-worker-rss", f"a worker of `{suite}`, resident set", end.resident_mb),
        ]
    setting.note(
        f"memory: proportional set size (PSS: shared pages are divided among the processes that share them) of each of "
        f"{setting.workers} workers with {rows} environments at the end of the last episode; one turn per worker."
    )
    return metrics


def _memory_metric(name: str, title: str, turns: Sequence[float], target: Target | None = None) -> Metric:
    return Metric(name=name, title=title, unit="MB", kind="memory", better="lower", turns=tuple(turns), aim=target)
