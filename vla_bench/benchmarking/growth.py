"""How cost grows: episodes, workers, tasks, pixels. Points, exponents, and memory where it could grow."""

from collections.abc import Sequence

from vla_bench.benchmarking.exponents import exponent
from vla_bench.benchmarking.growth_points import Growth, Point
from vla_bench.benchmarking.machine import cores
from vla_bench.benchmarking.measures import Setting
from vla_bench.benchmarking.processes import Turns
from vla_bench.benchmarking.runs import Moment, watch
from vla_bench.benchmarking.subjects import ours
from vla_bench.benchmarking.tasks_measured import TABLETOP

_EPISODES = (10, 30, 100, 300, 1000)
_WORKERS_FOR_EPISODES, _ROWS = 2, 4
_IMAGE_SIZES = (96, 128, 224, 320, 448)  # pixels
_TASKS = (1, 2, 5, 10, 20, 40)
_LEAST = 3  # points of a power law


def measure_growth(setting: Setting) -> tuple[Growth, ...]:
    """Return every growth, from small to large."""
    return (by_episodes(setting), by_workers(setting), by_tasks(setting), by_image_size(setting))


def by_episodes(setting: Setting) -> Growth:
    """Return the time of 10 to 1,000 episodes without images in one run, and the memory of all its processes."""
    counts = [count for count in _EPISODES if count <= _EPISODES[-1] * setting.scale] or list(_EPISODES[:_LEAST])
    suite, task = TABLETOP.split(".")
    run = watch(
        setting.workspace / "episodes",
        suite,
        (task,),
        episodes=counts[-1],
        workers=_WORKERS_FOR_EPISODES,
        rows=_ROWS,
        image_size=None,
        memory_at=counts,
    )
    ended = {moment.episodes: moment for moment in run.moments}
    return _growth(
        "episodes",
        "Episodes in one run, without images",
        "episodes",
        "time [s]",
        [Point(size=count, cost=ended[count].seconds, memory_mb=_together(ended[count])) for count in counts],
    )


def by_workers(setting: Setting) -> Growth:
    """Return the time of a step over all workers, for 1 to twice as many workers as cores, with images."""
    suite, task = TABLETOP.split(".")
    points = []
    for count in sorted({1, 2, *_doubled(2 * cores())}):
        rows = max(1, _ROWS // 2)
        run = watch(
            setting.workspace / f"workers-{count}",
            suite,
            (task,),
            episodes=rows * count * 2,
            workers=count,
            rows=rows,
            memory_at=(rows * count * 2,),
        )
        pace = run.pace(first=rows * count)
        points.append(Point(size=count, cost=1000.0 / pace, memory_mb=_together(run.moments[-1])))
    return _growth("workers", f"Workers on {cores()} cores, with images", "workers", "time of a step [ms]", points)


def by_tasks(setting: Setting) -> Growth:
    """Return the time until so many tasks have been made and stepped in one process, and its memory."""
    counts = [count for count in _TASKS if count <= _TASKS[-1] * setting.scale]
    counts = counts if len(counts) >= _LEAST else list(_TASKS[:_LEAST])
    points, seconds, done = [], 0.0, 0
    with Turns({"tasks": ours("tasks", "task after task")}) as turns:
        for count in counts:
            turn = turns.one("tasks", steps=count - done)
            seconds, done = seconds + turn.seconds, count
            points.append(Point(size=count, cost=seconds, memory_mb=turn.memory_mb))
    return _growth("tasks", "Tasks, made and stepped one after the other", "tasks", "time [s]", points)


def by_image_size(setting: Setting) -> Growth:
    """Return the time of a step with two cameras against the number of pixels."""
    subjects = {str(size): ours("task", f"{size} px", task_id=TABLETOP, image_size=size) for size in _IMAGE_SIZES}
    with Turns(subjects) as turns:
        taken = turns.take(setting.turns, seconds=setting.seconds / 2)
    points = []
    for size in _IMAGE_SIZES:
        mine = sorted(taken[str(size)], key=lambda turn: turn.step_s)
        middle = mine[len(mine) // 2]
        points.append(Point(size=size * size, cost=1000.0 * middle.step_s, memory_mb=middle.memory_mb))
    return _growth("image_size", "Size of two images", "pixels of an image", "time of a step [ms]", points)


def _growth(name: str, title: str, size: str, cost: str, points: Sequence[Point]) -> Growth:
    sizes = [point.size for point in points]
    memory = [point.memory_mb for point in points if point.memory_mb]
    return Growth(
        name=name,
        title=title,
        size=size,
        cost=cost,
        points=tuple(points),
        exponent=exponent(sizes, [point.cost for point in points]),
        memory_exponent=exponent(sizes, memory) if len(memory) == len(sizes) else None,
    )


def _together(moment: Moment) -> float:
    return moment.main_mb + sum(moment.memory_mb)


def _doubled(most: int) -> list[int]:
    counts = [1]
    while counts[-1] * 2 <= most:
        counts.append(counts[-1] * 2)
    return counts
