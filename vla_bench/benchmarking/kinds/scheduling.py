"""Two workers against one through the real scheduler, and what scheduler, ledger and copies take of a step."""

from vla_bench.benchmarking.figures import Aim, Figure
from vla_bench.benchmarking.machine import cores
from vla_bench.benchmarking.measures import NotRunError, Setting, measure
from vla_bench.benchmarking.processes import Turns, ratios
from vla_bench.benchmarking.runs import watch
from vla_bench.benchmarking.subjects import ours
from vla_bench.envs.vector.processes import process_variables
from vla_bench.tasks import get_task

_TASK = "tabletop_object.red_cube_in_basket"
_IMAGE_SIZE = 224  # pixels
_ROWS = 4  # environments a worker
_ROUNDS = 3  # episodes of each row that are timed, after one that is not


@measure("scheduling", "Real runs with images: 2 workers against 1; scheduler, ledger and copies")
def scheduling(setting: Setting) -> list[Figure]:
    """Return both shares, from runs of a policy that stands still, so that all episodes are of one length."""
    if cores() < 2:
        raise NotRunError("it takes two cores.")
    turns, horizon = max(1, setting.turns // 2), get_task(_TASK).horizon
    bare: list[float] = []
    paces: dict[int, list[float]] = {1: [], 2: []}
    standing = ours(
        "episodes", "bare loop", variables=process_variables(2), task_id=_TASK, image_size=_IMAGE_SIZE, rows=_ROWS
    )
    with Turns({"bare": standing}) as subjects:
        for turn in range(turns):
            for workers, taken in paces.items():
                taken.append(_pace(setting, workers, turn))
            bare.append(subjects.one("bare", steps=_rounds(setting) * horizon * _ROWS).steps_per_s)
    overhead = [100.0 * (1.0 - share) for share in ratios(paces[1], bare)]
    setting.note(
        f"scheduling: a policy that stands still and is sent two images of {_IMAGE_SIZE} px; {_ROWS} environments a "
        f"worker, whole episodes of {horizon} steps with their resets, from the end of the first round on. The bare "
        "loop does the same in one process without scheduler, ledger and copies, with a worker's environment variables."
    )
    return [
        Figure(name="two-against-one", title="two workers against one", unit="x", kind="ratio",
               turns=tuple(ratios(paces[2], paces[1])), aim=Aim(bound=1.8)),
        Figure(name="overhead-share", title="scheduler, ledger and copies, of a step", unit="%", kind="share",
               better="lower", turns=tuple(overhead), aim=Aim(bound=5.0, better="lower")),
        *(
            Figure(name=f"workers-{count}", title=f"evaluation with {count} worker{'s' * (count > 1)}", unit="steps/s",
                   kind="time", turns=tuple(taken))
            for count, taken in paces.items()
        ),
        Figure(name="bare", title="bare loop of one process", unit="steps/s", kind="time", turns=tuple(bare)),
    ]  # fmt: skip


def _rounds(setting: Setting) -> int:
    return setting.scaled(_ROUNDS)


def _pace(setting: Setting, workers: int, turn: int) -> float:
    rows = workers * _ROWS
    suite, task = _TASK.split(".")
    watched = watch(
        setting.workspace / f"{workers}-{turn}",
        suite,
        (task,),
        episodes=rows * (1 + _rounds(setting)),
        workers=workers,
        rows=_ROWS,
        image_size=_IMAGE_SIZE,
    )
    return watched.pace(first=rows)
