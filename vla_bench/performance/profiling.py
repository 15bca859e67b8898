"""Time profile of a control step, for one task of each engine."""

import statistics
from collections.abc import Mapping, Sequence

from vla_bench.core.machine import usable_cores
from vla_bench.core.process_environment import process_variables
from vla_bench.performance.record import ProfilePart, StepProfile
from vla_bench.performance.registry import MeasureSettings
from vla_bench.performance.timed_runs import timed_run
from vla_bench.performance.workload_processes import TurnResult, Workload, WorkloadTurns
from vla_bench.performance.workloads import ENGINES, IMAGE_SIZE, own_workload
from vla_bench.tasks import get_task

_CAMERAS = ("agentview", "wrist")
_SLOTS = 2  # environments of the run that measures the overhead of the scheduler
_BATCH = 4  # observations that the policy computes together, as in a run
_ROUNDS = 2  # timed episodes per environment, after a warm-up episode
_POLICY = "openvla-nano"

Times = Mapping[str, Sequence[float]]  # time of a step [ms] by workload, one value per turn


def profile_engines(setting: MeasureSettings) -> tuple[StepProfile, ...]:
    """Return a profile of one task per engine. The parts run in separate processes, which alternate."""
    return tuple(_profile(setting, engine, task_id) for engine, task_id in ENGINES.items())


def _profile(setting: MeasureSettings, engine: str, task_id: str) -> StepProfile:
    variables = process_variables(usable_cores())  # as in workers on every core
    with WorkloadTurns(_workloads(task_id, variables)) as turns:
        taken = turns.take(max(3, setting.turns), seconds=setting.seconds / 2)
        in_run = _run_overhead_ms(setting, task_id, turns)
    times = {name: [1000.0 * turn.step_s for turn in of_one] for name, of_one in taken.items()}
    return StepProfile(engine=engine, task_id=task_id, image_size=IMAGE_SIZE, parts=_parts(times, in_run))


def _workloads(task_id: str, variables: Mapping[str, str]) -> dict[str, Workload]:
    def part(name: str, **options: object) -> Workload:
        chosen = {"task_id": task_id, "image_size": IMAGE_SIZE, "part": name, **options}
        return own_workload("task", f"{name} of `{task_id}`", variables=variables, **chosen)

    return {
        "physics": own_workload("physics", f"`mj_step` of `{task_id}`", variables=variables, task_id=task_id),
        "simulate": part("simulate", cameras=()),
        "advance": part("advance", cameras=()),
        **{camera: part("render", cameras=(camera,)) for camera in _CAMERAS},
        "render": part("render"),
        "observe": part("observe"),
        "policy": own_workload("policy", _POLICY, policy=_POLICY, batch=_BATCH, threads=1),
        "bare": own_workload(
            "episodes", "bare loop", variables=variables, task_id=task_id, image_size=IMAGE_SIZE, rows=_SLOTS
        ),
    }


def _run_overhead_ms(setting: MeasureSettings, task_id: str, turns: WorkloadTurns) -> list[float]:
    """Return the additional time of a step in a run with one worker over the bare loop, per turn [ms]."""
    suite, task = task_id.split(".")
    steps = get_task(task_id).horizon * _SLOTS * setting.scaled(_ROUNDS)
    overheads = []
    for turn in range(1 if setting.scale < 1.0 else 2):
        bare: TurnResult = turns.one("bare", steps=steps)
        run = timed_run(
            setting.workspace / f"{suite}-{turn}",
            suite,
            (task,),
            episodes=_SLOTS * (1 + setting.scaled(_ROUNDS)),
            workers=1,
            rows=_SLOTS,
            image_size=IMAGE_SIZE,
            variables=process_variables(usable_cores()),
        )
        overheads.append(1000.0 * (1.0 / run.steps_per_s(first=_SLOTS) - bare.step_s))
    return overheads


def _parts(times: Times, in_run: Sequence[float]) -> tuple[ProfilePart, ...]:
    def difference(name: str, *others: str) -> list[float]:
        return [one - sum(rest) for one, *rest in zip(times[name], *(times[other] for other in others), strict=True)]

    measured = {
        "physics (`mj_step` alone)": times["physics"],
        "control": difference("simulate", "physics"),
        "success, progress, info": difference("advance", "simulate"),
        **{f"render `{camera}`": times[camera] for camera in _CAMERAS},
        "both cameras in one process, minus the sum of single ones": difference("render", *_CAMERAS),
        "rest of the observation": difference("observe", "render"),
        "scheduler, ledger and copies": list(in_run),
        f"policy ({_POLICY}, one observation of a batch of {_BATCH})": [time / _BATCH for time in times["policy"]],
    }
    return tuple(
        ProfilePart(name=name, milliseconds=statistics.median(values), low=min(values), high=max(values))
        for name, values in measured.items()
    )
