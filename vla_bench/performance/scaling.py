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

# ~ The exponent of a power law through measured points.

_CONFIDENCE = 0.95


def fit_exponent(sizes: Sequence[float], costs: Sequence[float]) -> ScalingExponent:
    """Return the slope of log cost against log size, with its 95 % interval (Student's t, n - 2 degrees of freedom).

    Raise ValueError for fewer than three points or one that is not above 0.
    """
    if len(sizes) < 3 or len(sizes) != len(costs) or min(*sizes, *costs) <= 0:
        raise ValueError(
            f"An exponent needs three points above 0 or more, not {list(zip(sizes, costs, strict=False))}."
        )
    line = stats.linregress([math.log(size) for size in sizes], [math.log(cost) for cost in costs])
    error = 0.0 if math.isnan(line.stderr) else float(line.stderr)  # nan where all costs are equal: a perfect fit
    half = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(sizes) - 2)) * error
    return ScalingExponent(value=float(line.slope), low=float(line.slope) - half, high=float(line.slope) + half)


# ~ How cost grows: episodes, workers, tasks, pixels. Points, exponents, and memory where it could grow.

_EPISODES = (10, 30, 100, 300, 1000)
_WORKERS_FOR_EPISODES, _SLOTS_PER_WORKER = 2, 4
_IMAGE_SIZES = (96, 128, 224, 320, 448)  # pixels
_TASKS = (1, 2, 5, 10, 20, 40)
_MIN_POINTS = 3  # points of a power law


def measure_scaling(setting: MeasureSettings) -> tuple[ScalingCurve, ...]:
    """Return every growth, from small to large."""
    return (
        scaling_by_episodes(setting),
        scaling_by_workers(setting),
        scaling_by_tasks(setting),
        scaling_by_image_size(setting),
    )


def scaling_by_episodes(setting: MeasureSettings) -> ScalingCurve:
    """Return the time of 10 to 1,000 episodes without images in one run, and the memory of all its processes."""
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
    ended = {moment.episodes: moment for moment in run.moments}
    return _scaling_curve(
        "episodes",
        "Episodes in one run, without images",
        "episodes",
        "time [s]",
        [
            ScalingPoint(size=count, cost=ended[count].seconds, memory_mb=_total_memory_mb(ended[count]))
            for count in counts
        ],
    )


def scaling_by_workers(setting: MeasureSettings) -> ScalingCurve:
    """Return the time of a step over all workers, for 1 to twice as many workers as cores, with images."""
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
        pace = run.pace(first=rows * count)
        points.append(ScalingPoint(size=count, cost=1000.0 / pace, memory_mb=_total_memory_mb(run.moments[-1])))
    return _scaling_curve(
        "workers", f"Workers on {usable_cores()} cores, with images", "workers", "time of a step [ms]", points
    )


def scaling_by_tasks(setting: MeasureSettings) -> ScalingCurve:
    """Return the time until so many tasks have been made and stepped in one process, and its memory."""
    counts = [count for count in _TASKS if count <= _TASKS[-1] * setting.scale]
    counts = counts if len(counts) >= _MIN_POINTS else list(_TASKS[:_MIN_POINTS])
    points, seconds, done = [], 0.0, 0
    with WorkloadTurns({"tasks": own_workload("task_sequence", "task after task")}) as turns:
        for count in counts:
            turn = turns.one("tasks", steps=count - done)
            seconds, done = seconds + turn.seconds, count
            points.append(ScalingPoint(size=count, cost=seconds, memory_mb=turn.memory_mb))
    return _scaling_curve("tasks", "Tasks, made and stepped one after the other", "tasks", "time [s]", points)


def scaling_by_image_size(setting: MeasureSettings) -> ScalingCurve:
    """Return the time of a step with two cameras against the number of pixels."""
    subjects = {
        str(size): own_workload("task", f"{size} px", task_id=TABLETOP, image_size=size) for size in _IMAGE_SIZES
    }
    with WorkloadTurns(subjects) as turns:
        taken = turns.take(setting.turns, seconds=setting.seconds / 2)
    points = []
    for size in _IMAGE_SIZES:
        mine = sorted(taken[str(size)], key=lambda turn: turn.step_s)
        middle = mine[len(mine) // 2]
        points.append(ScalingPoint(size=size * size, cost=1000.0 * middle.step_s, memory_mb=middle.memory_mb))
    return _scaling_curve("image_size", "Size of two images", "pixels of an image", "time of a step [ms]", points)


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


def _total_memory_mb(moment: RunSnapshot) -> float:
    return moment.main_mb + sum(moment.memory_mb)


def _powers_of_two(most: int) -> list[int]:
    counts = [1]
    while counts[-1] * 2 <= most:
        counts.append(counts[-1] * 2)
    return counts
