"""Where the time of a control step goes, for one task of each engine."""

import statistics
from collections.abc import Mapping, Sequence

from vla_bench.benchmarking.machine import cores
from vla_bench.benchmarking.measures import Setting
from vla_bench.benchmarking.processes import Subject, Turn, Turns
from vla_bench.benchmarking.profile_parts import Part, Profile
from vla_bench.benchmarking.runs import watch
from vla_bench.benchmarking.subjects import ours
from vla_bench.benchmarking.tasks_measured import ENGINES
from vla_bench.envs.vector.processes import process_variables
from vla_bench.tasks import get_task

_IMAGE_SIZE = 224  # pixels
_CAMERAS = ("agentview", "wrist")
_ROWS = 2  # environments of the run that shows what a scheduler adds
_BATCH = 4  # rows that the policy computes together, as in a run
_ROUNDS = 2  # episodes of a row that are timed, after one that is not
_POLICY = "openvla-nano"

Times = Mapping[str, Sequence[float]]  # of a step, by subject and turn [ms]


def profile_engines(setting: Setting) -> tuple[Profile, ...]:
    """Return a profile of each engine's task. Its parts run in processes of their own, which take turns."""
    return tuple(_profile(setting, engine, task_id) for engine, task_id in ENGINES.items())


def _profile(setting: Setting, engine: str, task_id: str) -> Profile:
    variables = process_variables(cores())  # as workers on every core have it
    with Turns(_subjects(task_id, variables)) as turns:
        taken = turns.take(max(3, setting.turns), seconds=setting.seconds / 2)
        in_run = _in_a_run(setting, task_id, turns)
    times = {name: [1000.0 * turn.step_s for turn in of_one] for name, of_one in taken.items()}
    return Profile(engine=engine, task_id=task_id, image_size=_IMAGE_SIZE, parts=_parts(times, in_run))


def _subjects(task_id: str, variables: Mapping[str, str]) -> dict[str, Subject]:
    def part(name: str, **options: object) -> Subject:
        chosen = {"task_id": task_id, "image_size": _IMAGE_SIZE, "part": name, **options}
        return ours("task", f"{name} of `{task_id}`", variables=variables, **chosen)

    return {
        "physics": ours("physics", f"`mj_step` of `{task_id}`", variables=variables, task_id=task_id),
        "simulate": part("simulate", cameras=()),
        "advance": part("advance", cameras=()),
        **{camera: part("draw", cameras=(camera,)) for camera in _CAMERAS},
        "draw": part("draw"),
        "observe": part("observe"),
        "policy": ours("policy", _POLICY, policy=_POLICY, batch=_BATCH, threads=1),
        "bare": ours("episodes", "bare loop", variables=variables, task_id=task_id, image_size=_IMAGE_SIZE, rows=_ROWS),
    }


def _in_a_run(setting: Setting, task_id: str, turns: Turns) -> list[float]:
    """Return what a step takes more in a real run with one worker than in the bare loop, in each turn [ms]."""
    suite, task = task_id.split(".")
    steps = get_task(task_id).horizon * _ROWS * setting.scaled(_ROUNDS)
    more = []
    for turn in range(1 if setting.scale < 1.0 else 2):
        bare: Turn = turns.one("bare", steps=steps)
        run = watch(
            setting.workspace / f"{suite}-{turn}",
            suite,
            (task,),
            episodes=_ROWS * (1 + setting.scaled(_ROUNDS)),
            workers=1,
            rows=_ROWS,
            image_size=_IMAGE_SIZE,
            variables=process_variables(cores()),
        )
        more.append(1000.0 * (1.0 / run.pace(first=_ROWS) - bare.step_s))
    return more


def _parts(times: Times, in_run: Sequence[float]) -> tuple[Part, ...]:
    def less(name: str, *others: str) -> list[float]:
        return [one - sum(rest) for one, *rest in zip(times[name], *(times[other] for other in others), strict=True)]

    measured = {
        "physics (`mj_step` alone)": times["physics"],
        "control": less("simulate", "physics"),
        "success, progress, info": less("advance", "simulate"),
        **{f"render `{camera}`": times[camera] for camera in _CAMERAS},
        "both cameras in one process, more or less than one by one": less("draw", *_CAMERAS),
        "rest of the observation": less("observe", "draw"),
        "scheduler, ledger and copies": list(in_run),
        f"policy ({_POLICY}, a row of a batch of {_BATCH})": [time / _BATCH for time in times["policy"]],
    }
    return tuple(
        Part(name=name, milliseconds=statistics.median(values), low=min(values), high=max(values))
        for name, values in measured.items()
    )
