"""Scaling of time and memory with episodes, workers, tasks and image size, with fitted exponents."""

import math
from collections.abc import Sequence

from scipy import stats

from vla_bench.core.machine import usable_cores
from vla_bench.performance.record import ScalingCurve, ScalingExponent, ScalingPoint
from vla_bench.performance.registry import MeasureSettings
from vla_bench.performance.timed_runs import RunSnapshot, timed_run
from vla_bench.performance.workload_processes import WorkloadTurns
from vla_bench.performance.workloads import TABLETOP, own_workload

_CONFIDENCE = 0.95


def fit_exponent(sizes: Sequence[float], costs: Sequence[float]) -> ScalingExponent:
    """Return the slope of log cost over log size, with its 95 % interval (Student's t, n - 2 degrees of freedom).

    Raise ValueError for fewer than three points or values that are not positive.
    """
    if len(sizes) < 3 or len(sizes) != len(costs) or min(*sizes, *costs) <= 0:
        raise ValueError(
            "An exponent needs at least three points with positive values, not "
            f"{list(zip(sizes, costs, strict=False))}."
        )
    line = stats.linregress([math.log(size) for size in sizes], [math.log(cost) for cost in costs])
    error = 0.0 if math.isnan(line.stderr) else float(line.stderr)  # NaN where all costs are equal: a perfect fit
    half = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(sizes) - 2)) * error
    return ScalingExponent(value=float(line.slope), low=float(line.slope) - half, high=float(line.slope) + half)


_EPISODES = (10, 30, 100, 300, 1000)
_WORKERS_FOR_EPISODES, _SLOTS_PER_WORKER = 2, 4
_IMAGE_SIZES = (96, 128, 224, 320, 448)  # pixels
_TASKS = (1, 2, 5, 10, 20, 40)
_MIN_POINTS = 3  # for a fit


def measure_scaling(setting: MeasureSettings) -> tuple[ScalingCurve, ...]:
    """Return the scaling curves over episodes, workers, tasks and image size."""
    return (
        scaling_by_episodes(setting),
        scaling_by_workers(setting),
        scaling_by_tasks(setting),
        scaling_by_image_size(setting),
    )


def scaling_by_episodes(setting: MeasureSettings) -> ScalingCurve:
    """Return time and memory of one run of 10 to 1,000 episodes without images."""
    counts = [count for count in _EPISODES if count <= _EPISODES[-1] * setting.scale] or list(_EPISODES[:_MIN_POINTS])
    suite, task = TABLETOP.split(".")
    run = timed_run(
        setting.workspace / "episodes",
        suite,
        (task,),
        episodes=counts[-1],
        workers=_WORKERS_FOR_EPISODES,
        rows=_SLOTS_PER_WORKER,
        image_size=None,
        memory_at=counts,
    )
    snapshots = {snapshot.episodes: snapshot for snapshot in run.snapshots}
    return _scaling_curve(
        "episodes",
        "Episodes in one run, without images",
        "episodes",
        "time [s]",
        [
            ScalingPoint(size=count, cost=snapshots[count].seconds, memory_mb=_total_memory_mb(snapshots[count]))
            for count in counts
        ],
    )


def scaling_by_workers(setting: MeasureSettings) -> ScalingCurve:
    """Return time per step and memory of runs with images, for 1 worker up to twice as many as cores."""
    suite, task = TABLETOP.split(".")
    points = []
    for count in sorted({1, 2, *_powers_of_two(2 * usable_cores())}):
        rows = max(1, _SLOTS_PER_WORKER // 2)
        run = timed_run(
            setting.workspace / f"workers-{count}",
            suite,
            (task,),
            episodes=rows * count * 2,
            workers=count,
            rows=rows,
            memory_at=(rows * count * 2,),
        )
        speed = run.steps_per_s(first=rows * count)
        points.append(ScalingPoint(size=count, cost=1000.0 / speed, memory_mb=_total_memory_mb(run.snapshots[-1])))
    return _scaling_curve(
        "workers", f"Workers on {usable_cores()} cores, with images", "workers", "time per step [ms]", points
    )


def scaling_by_tasks(setting: MeasureSettings) -> ScalingCurve:
    """Return the time to create and step a number of tasks in one process, and its memory."""
    counts = [count for count in _TASKS if count <= _TASKS[-1] * setting.scale]
    counts = counts if len(counts) >= _MIN_POINTS else list(_TASKS[:_MIN_POINTS])
    points, seconds, done = [], 0.0, 0
    with WorkloadTurns({"tasks": own_workload("task_sequence", "sequence of tasks")}) as turns:
        for count in counts:
            turn = turns.one("tasks", steps=count - done)
            seconds, done = seconds + turn.seconds, count
            points.append(ScalingPoint(size=count, cost=seconds, memory_mb=turn.memory_mb))
    return _scaling_curve("tasks", "Tasks, created and stepped one after another", "tasks", "time [s]", points)


def scaling_by_image_size(setting: MeasureSettings) -> ScalingCurve:
    """Return the time of a control step with two cameras by the number of pixels."""
    workloads = {
        str(size): own_workload("task", f"{size} px", task_id=TABLETOP, image_size=size) for size in _IMAGE_SIZES
    }
    with WorkloadTurns(workloads) as turns:
        taken = turns.take(setting.turns, seconds=setting.seconds / 2)
    points = []
    for size in _IMAGE_SIZES:
        ordered = sorted(taken[str(size)], key=lambda turn: turn.step_s)
        middle = ordered[len(ordered) // 2]
        points.append(ScalingPoint(size=size * size, cost=1000.0 * middle.step_s, memory_mb=middle.memory_mb))
    return _scaling_curve("image_size", "Size of two images", "pixels per image", "time per step [ms]", points)


def _scaling_curve(name: str, title: str, size: str, cost: str, points: Sequence[ScalingPoint]) -> ScalingCurve:
    sizes = [point.size for point in points]
    memory = [point.memory_mb for point in points if point.memory_mb]
    return ScalingCurve(
        name=name,
        title=title,
        size=size,
        cost=cost,
        points=tuple(points),
        exponent=fit_exponent(sizes, [point.cost for point in points]),
        memory_exponent=fit_exponent(sizes, memory) if len(memory) == len(sizes) else None,
    )


def _total_memory_mb(snapshot: RunSnapshot) -> float:
    return snapshot.main_mb + sum(snapshot.memory_mb)


def _powers_of_two(most: int) -> list[int]:
    counts = [1]
    while counts[-1] * 2 <= most:
        counts.append(counts[-1] * 2)
    return counts
