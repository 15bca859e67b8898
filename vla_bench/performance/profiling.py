"""Time profile of a control step, for one task of each engine."""

import statistics
from collections.abc import Mapping, Sequence

from vla_bench.core.machine import usable_cores
from vla_bench.core.process_environment import process_variables
from vla_bench.performance.record import ProfilePart, StepProfile
from vla_bench.performance.registry import MeasureSettings
from vla_bench.performance.timed_runs import timed_run
from vla_bench.performance.workload_processes import TurnResult, Workload, WorkloadTurns
from vla_bench.performance.workloads import ENGINES, own_workload
from vla_bench.tasks import get_task

_IMAGE_SIZE = 224  # pixels
_CAMERAS = ("agentview", "wrist")
_SLOTS = 2  # environments of the run that shows what a scheduler adds
_BATCH = 4  # rows that the policy computes together, as in a run
_ROUNDS = 2  # episodes of a row that are timed, after one that is not
_POLICY = "openvla-nano"

Times = Mapping[str, Sequence[float]]  # of a step, by subject and turn [ms]


def profile_engines(setting: MeasureSettings) -> tuple[StepProfile, ...]:
    """Return a profile of each engine's task. Its parts run in processes of their own, which take turns."""
    return tuple(_profile(setting, engine, task_id) for engine, task_id in ENGINES.items())


def _profile(setting: MeasureSettings, engine: str, task_id: str) -> StepProfile:
    variables = process_variables(usable_cores())  # as workers on every core have it
    with WorkloadTurns(_workloads(task_id, variables)) as turns:
        taken = turns.take(max(3, setting.turns), seconds=setting.seconds / 2)
        in_run = _run_overhead_ms(setting, task_id, turns)
    times = {name: [1000.0 * turn.step_s for turn in of_one] for name, of_one in taken.items()}
    return StepProfile(engine=engine, task_id=task_id, image_size=_IMAGE_SIZE, parts=_parts(times, in_run))


def _workloads(task_id: str, variables: Mapping[str, str]) -> dict[str, Workload]:
    def part(name: str, **options: object) -> Workload:
        chosen = {"task_id": task_id, "image_size": _IMAGE_SIZE, "part": name, **options}
        return own_workload("task", f"{name} of `{task_id}`", variables=variables, **chosen)

    return {
        "physics": own_workload("physics", f"`mj_step` of `{task_id}`", variables=variables, task_id=task_id),
        "simulate": part("simulate", cameras=()),
        "advance": part("advance", cameras=()),
        **{camera: part("draw", cameras=(camera,)) for camera in _CAMERAS},
        "draw": part("draw"),
        "observe": part("observe"),
        "policy": own_workload("policy", _POLICY, policy=_POLICY, batch=_BATCH, threads=1),
        "bare": own_workload(
            "episodes", "bare loop", variables=variables, task_id=task_id, image_size=_IMAGE_SIZE, rows=_SLOTS
        ),
    }


def _run_overhead_ms(setting: MeasureSettings, task_id: str, turns: WorkloadTurns) -> list[float]:
    """Return what a step takes more in a real run with one worker than in the bare loop, in each turn [ms]."""
    suite, task = task_id.split(".")
    steps = get_task(task_id).horizon * _SLOTS * setting.scaled(_ROUNDS)
    more = []
    for turn in range(1 if setting.scale < 1.0 else 2):
        bare: TurnResult = turns.one("bare", steps=steps)
        run = timed_run(
            setting.workspace / f"{suite}-{turn}",
            suite,
            (task,),
            episodes=_SLOTS * (1 + setting.scaled(_ROUNDS)),
            workers=1,
            rows=_SLOTS,
            image_size=_IMAGE_SIZE,
            variables=process_variables(usable_cores()),
        )
        more.append(1000.0 * (1.0 / run.pace(first=_SLOTS) - bare.step_s))
    return more


def _parts(times: Times, in_run: Sequence[float]) -> tuple[ProfilePart, ...]:
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
        ProfilePart(name=name, milliseconds=statistics.median(values), low=min(values), high=max(values))
        for name, values in measured.items()
    )
