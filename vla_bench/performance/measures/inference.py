"""Measures of policy inference on CPU and GPU, and of evaluation throughput on a GPU."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vla_bench.core import egl_devices
from vla_bench.performance.record import Metric, format_number
from vla_bench.performance.registry import MeasureSettings, device_setup, measure
from vla_bench.performance.workload_processes import WorkloadTurns, ratios
from vla_bench.performance.workloads import TABLETOP, own_workload
from vla_bench.tasks import get_task

if TYPE_CHECKING:
    from vla_bench.performance.operating_points import OperatingPoint, Throughput


# ~ Actions a second of the committed policy, by batch.

_POLICY = "openvla-nano"
_BATCHES = (1, 4, 8, 16)
_REFERENCE_BATCH = 4  # what a run computes together, of its own


@measure("inference", f"Actions a second of {_POLICY} by batch, one thread", in_quick=False)
def inference(setting: MeasureSettings) -> list[Metric]:
    """Return actions/s for each batch, preprocessing included, and their ratios to a batch of one."""
    subjects = {
        str(batch): own_workload("policy", f"batch {batch}", policy=_POLICY, batch=batch, threads=1)
        for batch in _BATCHES
    }
    with WorkloadTurns(subjects) as turns:
        taken = turns.take(setting.turns, seconds=setting.seconds / 2)
    speeds = {batch: [int(batch) * turn.steps_per_s for turn in of_one] for batch, of_one in taken.items()}
    setting.note(
        f"inference: {_POLICY} as its card says, on real observations, preprocessing included, on one thread as in a "
        "run on two cores; an action is a row's prediction, whatever the length of its chunk."
    )
    return [
        Metric(
            name="batching-ratio",
            title=f"a batch of {_REFERENCE_BATCH} against one row",
            unit="x",
            kind="ratio",
            turns=tuple(ratios(speeds[str(_REFERENCE_BATCH)], speeds["1"])),
        ),
        *(
            Metric(
                name=f"batch-{batch}",
                title=f"{_POLICY}, batch of {batch}",
                unit="predictions/s",
                kind="time",
                turns=tuple(values),
            )
            for batch, values in speeds.items()
        ),
    ]


# ~ Actions a second of a policy of the published size on a GPU, by batch.


@measure("gpu-inference", "Predictions a second of OpenVLA 7B by batch, random weights in bf16, on the GPU")
def gpu_inference(setting: MeasureSettings) -> list[Metric]:
    """Return predictions/s for each batch, each in a process of its own: the weights fill the GPU."""
    on = device_setup(setting)
    figures = []
    for batch in on.batches:
        subject = own_workload(
            "network",
            on.title,
            network=on.network,
            device=on.device,
            dtype=on.dtype,
            batch=batch,
            variables={"OMP_NUM_THREADS": "1"},
        )
        with WorkloadTurns({"network": subject}) as turns:
            taken = turns.take(setting.turns, seconds=setting.seconds)["network"]
        figures.append(
            Metric(
                name=f"batch-{batch}",
                title=f"{on.title}, batch of {batch}",
                unit="predictions/s",
                kind="time",
                turns=tuple(batch * turn.steps_per_s for turn in taken),
            )
        )
    setting.note("gpu-inference: prepared tensors; one prediction is one action of the 7B, a chunk of 4 of the nano.")
    return figures


# ~ Evaluations a policy of the published size could make in an hour, by operating point, through the real
# ~ evaluation.

_TURNS_PER_POINT = 5.0  # times the seconds of a turn


@measure(
    "gpu-episodes",
    "Real runs of OpenVLA 7B, random weights, on the GPU: episodes/hour by batch and workers",
    in_quick=False,
)
def gpu_episodes(setting: MeasureSettings) -> list[Metric]:
    """Return episodes/hour, actions/s and the policy's share of the time at each point, and the best point's."""
    on, steps = device_setup(setting), get_task(TABLETOP).horizon
    from vla_bench.performance.operating_points import (
        OperatingPoint,
        measure_operating_point,
        random_weights_policy,
        release_gpu_memory,
    )

    policy = random_weights_policy(on)
    paces: dict[OperatingPoint, Throughput] = {}

    def best() -> OperatingPoint:
        return max(paces, key=lambda point: paces[point].actions_per_s)

    def points() -> Iterator[OperatingPoint]:
        yield from dict.fromkeys(OperatingPoint.of(batch, setting.workers) for batch in on.batches)
        batch = best().batch
        yield from (OperatingPoint.of(batch, workers) for workers in smaller_powers_of_two(setting.workers))

    for point in points():
        output = setting.workspace / f"{point.workers}-{point.rows}-{point.batch}"
        if point not in paces:
            paces[point] = measure_operating_point(policy, point, TABLETOP, _TURNS_PER_POINT * setting.seconds, output)
    del policy
    release_gpu_memory()
    chosen = best()
    if not setting.rehearse and not egl_devices.egl_gpus():
        setting.note("gpu-episodes: EGL has no GPU here, so software drew.")
    setting.note(
        f"gpu-episodes: {on.title}, through the whole evaluation of `{TABLETOP}`; it solves nothing, so an episode has "
        f"its horizon of {steps} steps. {_TURNS_PER_POINT * setting.seconds:g} s of each run, after every row has acted. Its "
        f"prompts are those of openvla-nano's tokenizer. Best: {chosen}, "
        f"{format_number(paces[chosen].episodes_per_hour(steps))} episodes/hour; {paces[chosen].bound} bounds it, the policy "
        f"computes in {paces[chosen].policy_share:.0%} of the time."
    )
    best_pace = paces[chosen].episodes_per_hour(steps)
    return [
        Metric(name="best", title=f"best: {chosen}", unit="episodes/h", kind="time", turns=(best_pace,)),
        *(figure for point, pace in paces.items() for figure in _operating_point_metrics(point, pace, steps)),
    ]


def smaller_powers_of_two(workers: int) -> list[int]:
    """Return 1, 2, 4, ... below `workers`."""
    return [1 << power for power in range(workers.bit_length()) if 1 << power < workers]


def _operating_point_metrics(point: "OperatingPoint", pace: "Throughput", steps: int) -> list[Metric]:
    name = f"{point.batch}-{point.workers}x{point.rows}"
    return [
        Metric(
            name=f"episodes-{name}",
            title=str(point),
            unit="episodes/h",
            kind="time",
            turns=(pace.episodes_per_hour(steps),),
        ),
        Metric(name=f"actions-{name}", title=str(point), unit="actions/s", kind="time", turns=(pace.actions_per_s,)),
        Metric(
            name=f"policy-{name}",
            title=f"{point}: share of the time in which the policy computes",
            unit="%",
            kind="share",
            turns=(100.0 * pace.policy_share,),
        ),
    ]
