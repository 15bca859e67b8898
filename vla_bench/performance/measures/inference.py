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

_POLICY = "openvla-nano"
_BATCHES = (1, 4, 8, 16)
_REFERENCE_BATCH = 4  # default batch of a run


@measure("inference", f"Predictions per second of {_POLICY} by batch size, one thread", in_quick=False)
def inference(setting: MeasureSettings) -> list[Metric]:
    """Return predictions/s for each batch size, preprocessing included, and the ratio of a batch of 4 to one of 1."""
    workloads = {
        str(batch): own_workload("policy", f"batch {batch}", policy=_POLICY, batch=batch, threads=1)
        for batch in _BATCHES
    }
    with WorkloadTurns(workloads) as turns:
        taken = turns.take(setting.turns, seconds=setting.seconds / 2)
    speeds = {batch: [int(batch) * turn.steps_per_s for turn in of_one] for batch, of_one in taken.items()}
    setting.note(
        f"inference: {_POLICY} as described by its card, on real observations, preprocessing included, on one thread "
        "as in a run on two cores; a prediction is one observation's action chunk, of any length."
    )
    return [
        Metric(
            name="batching-ratio",
            title=f"a batch of {_REFERENCE_BATCH} against a batch of 1",
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


@measure("gpu-inference", "Predictions per second of OpenVLA 7B by batch size, random weights in bf16, on the GPU")
def gpu_inference(setting: MeasureSettings) -> list[Metric]:
    """Return predictions/s for each batch size, each in its own process because the weights fill the GPU."""
    on = device_setup(setting)
    metrics = []
    for batch in on.batches:
        workload = own_workload(
            "network",
            on.title,
            network=on.network,
            device=on.device,
            dtype=on.dtype,
            batch=batch,
            variables={"OMP_NUM_THREADS": "1"},
        )
        with WorkloadTurns({"network": workload}) as turns:
            taken = turns.take(setting.turns, seconds=setting.seconds)["network"]
        metrics.append(
            Metric(
                name=f"batch-{batch}",
                title=f"{on.title}, batch of {batch}",
                unit="predictions/s",
                kind="time",
                turns=tuple(batch * turn.steps_per_s for turn in taken),
            )
        )
    setting.note(
        "gpu-inference: prepared tensors; a prediction is one action for the 7B network and a chunk of 4 for nano."
    )
    return metrics


_TURNS_PER_POINT = 5.0  # duration of a point, in turns


@measure(
    "gpu-episodes",
    "Evaluations of OpenVLA 7B, random weights, on the GPU: episodes/hour by batch size and workers",
    in_quick=False,
)
def gpu_episodes(setting: MeasureSettings) -> list[Metric]:
    """Return episodes/hour, actions/s and the policy's share of the time at each operating point, and the best one."""
    on, steps = device_setup(setting), get_task(TABLETOP).horizon
    from vla_bench.performance.operating_points import (
        OperatingPoint,
        measure_operating_point,
        random_weights_policy,
        release_gpu_memory,
    )

    policy = random_weights_policy(on)
    throughputs: dict[OperatingPoint, Throughput] = {}

    def best() -> OperatingPoint:
        return max(throughputs, key=lambda point: throughputs[point].actions_per_s)

    def points() -> Iterator[OperatingPoint]:
        yield from dict.fromkeys(OperatingPoint.of(batch, setting.workers) for batch in on.batches)
        batch = best().batch
        yield from (OperatingPoint.of(batch, workers) for workers in smaller_powers_of_two(setting.workers))

    for point in points():
        output = setting.workspace / f"{point.workers}-{point.rows}-{point.batch}"
        if point not in throughputs:
            throughputs[point] = measure_operating_point(
                policy, point, TABLETOP, _TURNS_PER_POINT * setting.seconds, output
            )
    del policy
    release_gpu_memory()
    chosen = best()
    if not setting.rehearse and not egl_devices.egl_gpus():
        setting.note("gpu-episodes: EGL found no GPU, so images were rendered in software.")
    setting.note(
        f"gpu-episodes: {on.title}, in a complete evaluation of `{TABLETOP}`; it never succeeds, so an episode has the "
        f"full horizon of {steps} steps. {_TURNS_PER_POINT * setting.seconds:g} s of each run, after a warm-up of "
        f"every environment. Prompts use the tokenizer of openvla-nano. Best: {chosen}, "
        f"{format_number(throughputs[chosen].episodes_per_hour(steps))} episodes/hour; the bottleneck is "
        f"{throughputs[chosen].bound}: the policy computes in {throughputs[chosen].policy_share:.0%} of the time."
    )
    best_rate = throughputs[chosen].episodes_per_hour(steps)
    return [
        Metric(name="best", title=f"best: {chosen}", unit="episodes/h", kind="time", turns=(best_rate,)),
        *(
            metric
            for point, throughput in throughputs.items()
            for metric in _operating_point_metrics(point, throughput, steps)
        ),
    ]


def smaller_powers_of_two(workers: int) -> list[int]:
    """Return the powers of two below `workers`."""
    return [1 << power for power in range(workers.bit_length()) if 1 << power < workers]


def _operating_point_metrics(point: "OperatingPoint", throughput: "Throughput", steps: int) -> list[Metric]:
    name = f"{point.batch}-{point.workers}x{point.rows}"
    return [
        Metric(
            name=f"episodes-{name}",
            title=str(point),
            unit="episodes/h",
            kind="time",
            turns=(throughput.episodes_per_hour(steps),),
        ),
        Metric(
            name=f"actions-{name}", title=str(point), unit="actions/s", kind="time", turns=(throughput.actions_per_s,)
        ),
        Metric(
            name=f"policy-{name}",
            title=f"{point}: fraction of the time in which the policy computes",
            unit="%",
            kind="share",
            turns=(100.0 * throughput.policy_share,),
        ),
    ]
