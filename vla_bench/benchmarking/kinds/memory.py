"""Memory of a worker process, at the end of a real run with images."""

from vla_bench.benchmarking.figures import Aim, Figure
from vla_bench.benchmarking.measures import NotRunError, Setting, measure
from vla_bench.benchmarking.memory import process_memory_mb
from vla_bench.benchmarking.runs import watch
from vla_bench.tasks import tasks_of

_IMAGE_SIZE, _ROWS = 224, 8  # rows: the default of `vla-bench run`
_AIM = Aim(bound=400.0, better="lower")
_RUNS = {"tabletop": ("tabletop_object", ()), "robosuite": ("robosuite", ("lift",))}  # engine -> suite and tasks


@measure("memory", "Memory of a worker, 8 environments with images", in_quick=False)
def memory(setting: Setting) -> list[Figure]:
    """Return the proportional share of each worker's memory, and its resident set."""
    if not process_memory_mb():
        raise NotRunError("this system does not say what memory a process has (Linux: /proc/*/smaps_rollup).")
    figures = []
    rows = setting.scaled(_ROWS, 2)
    for engine, (suite, tasks) in _RUNS.items():
        count = len(tasks) or len(tasks_of(suite))
        each = -(-setting.workers * rows // count)  # so that every row begins an episode
        run = watch(
            setting.workspace / engine,
            suite,
            tasks,
            episodes=each,
            workers=setting.workers,
            rows=rows,
            policy="expert",
            image_size=_IMAGE_SIZE,
            memory_at=(each * count,),
        )
        end = run.moments[-1]
        figures.append(
            Figure(
                name=f"{engine}-worker",
                title=f"a worker of `{suite}`",
                unit="MB",
                kind="memory",
                better="lower",
                turns=end.memory_mb,
                aim=_AIM,
            )
        )
        figures.append(
            Figure(
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
