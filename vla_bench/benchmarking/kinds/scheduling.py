"""Two workers against one through the real scheduler, and what scheduler, ledger and copies take of a step."""

from collections.abc import Mapping, Sequence

from vla_bench.benchmarking.figures import Aim, Figure
from vla_bench.benchmarking.measures import NotRunError, Setting, measure
from vla_bench.benchmarking.processes import Turns, ratios
from vla_bench.benchmarking.runs import Watched, watch
from vla_bench.benchmarking.subjects import ours
from vla_bench.core.machine import usable_cores
from vla_bench.envs.vector.processes import process_variables
from vla_bench.tasks import get_task

_TASK = "tabletop_pick.pick_red_cube"
_IMAGE_SIZE = 224  # pixels
_ROWS = 3  # environments a worker
_ROUNDS = 2  # episodes of each row that are timed, after one that is not
_RUNS = {"one": 1, "two": 2, "one-unbound": 1}  # workers


@measure("scheduling", "Real runs with images: 2 workers against 1; scheduler, ledger and copies")
def scheduling(setting: Setting) -> list[Figure]:
    """Return ratios and shares, from runs of a policy that stands still, so that all episodes are of one length."""
    if usable_cores() < 2:
        raise NotRunError("it takes two cores.")
    bound = process_variables(usable_cores())  # every worker keeps to one core, however many there are
    paces: dict[str, list[float]] = {name: [] for name in (*_RUNS, "bare")}
    kept: list[float] = []  # share of a run's processor time that the bare loop takes, too
    loop = ours("episodes", "bare loop", variables=bound, task_id=_TASK, image_size=_IMAGE_SIZE, rows=_ROWS)
    steps = setting.scaled(_ROUNDS) * get_task(_TASK).horizon * _ROWS
    with Turns({"bare": loop}) as subjects:
        for turn in range(setting.turns):
            alone = subjects.one("bare", steps=steps)
            paces["bare"].append(alone.steps_per_s)
            for name in _RUNS:
                run = _run(setting, name, turn, {} if name == "one-unbound" else bound)
                paces[name].append(run.pace(first=_first(name)))
                if name == "one":
                    kept.append(alone.process_s / alone.steps / run.processor_step_s(first=_first(name)))
    setting.note(
        f"scheduling: a policy that stands still and is sent two images of {_IMAGE_SIZE} px; {_ROWS} environments a "
        f"worker, whole episodes of {get_task(_TASK).horizon} steps with their resets, from the end of the first round "
        "on. Every worker keeps to one core; one that is alone may draw on all of them of its own accord, which is the "
        "pace of one worker as it comes. The bare loop does the same without scheduler, ledger and copies; "
        "processor time is that of all processes of the run, which load on the machine changes little."
    )
    return _figures(paces, kept)


def _figures(paces: Mapping[str, Sequence[float]], kept: Sequence[float]) -> list[Figure]:
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
        _ratio("two-against-one", "two workers against one, a core each", ratios(paces["two"], paces["one"]), 1.8),
        _ratio("two-against-unbound", "two workers against one as it comes", unbound),
        _lost("overhead-share", "scheduler, ledger and copies, of a step's processor time", kept, 5.0),
        _lost("overhead-wall", "scheduler, ledger and copies, of a step's time with one worker", of_one),
        _lost("overhead-wall-two", "the same with two workers, and what they cost each other", of_two),
        *(
            Figure(name=name, title=titles[name], unit="steps/s", kind="time", turns=tuple(taken))
            for name, taken in paces.items()
        ),
    ]


def _ratio(name: str, title: str, turns: Sequence[float], aim: float | None = None) -> Figure:
    bound = None if aim is None else Aim(bound=aim)
    return Figure(name=name, title=title, unit="x", kind="ratio", turns=tuple(turns), aim=bound)


def _lost(name: str, title: str, kept: Sequence[float], aim: float | None = None) -> Figure:
    bound = None if aim is None else Aim(bound=aim, better="lower")
    shares = tuple(100.0 * (1.0 - share) for share in kept)
    return Figure(name=name, title=title, unit="%", kind="share", better="lower", turns=shares, aim=bound)


def _first(name: str) -> int:
    """Return how many episodes end before the time begins: one of each row."""
    return _RUNS[name] * _ROWS


def _run(setting: Setting, name: str, turn: int, variables: Mapping[str, str]) -> Watched:
    workers = _RUNS[name]
    rows = workers * _ROWS
    suite, task = _TASK.split(".")
    return watch(
        setting.workspace / f"{name}-{turn}",
        suite,
        (task,),
        episodes=rows * (1 + setting.scaled(_ROUNDS)),
        workers=workers,
        rows=_ROWS,
        image_size=_IMAGE_SIZE,
        variables=variables,
    )
