"""Benchmark records with invented values, for tests."""

from vla_bench.performance.hardware import Machine
from vla_bench.performance.record import (
    BenchmarkRecord,
    MeasureResult,
    Metric,
    MetricKind,
    ProfilePart,
    ScalingCurve,
    ScalingExponent,
    ScalingPoint,
    StepProfile,
    Target,
)

XEON = Machine(cpu="Xeon", cores=2, architecture="x86_64", memory_gb=24.0)
EPYC = Machine(cpu="EPYC", cores=2, architecture="x86_64", memory_gb=24.0)


def metric(
    name: str, *turns: float, kind: MetricKind = "ratio", better: str = "higher", aim: Target | None = None
) -> Metric:
    """Return a metric with `name` as name and title."""
    return Metric.model_validate(
        {"name": name, "title": name, "unit": "x", "turns": turns, "kind": kind, "better": better, "aim": aim}
    )


def record(*metrics: Metric, machine: Machine = XEON, not_run: str = "", failed: bool = False) -> BenchmarkRecord:
    """Return a record of the single measure `speed`."""
    outcome = MeasureResult(
        measure="speed", title="Speed", figures=metrics, not_run=not_run, failed=failed, notes=("speed: a note.",)
    )
    return BenchmarkRecord(
        date="2026-11-25",
        command="vla-bench benchmark",
        machine=machine,
        software="Python 3.11",
        how="5 turns",
        outcomes=(outcome,),
    )


PROFILE = StepProfile(
    engine="tabletop",
    task_id="a.b",
    image_size=224,
    parts=(
        ProfilePart(name="physics", milliseconds=1.0, low=0.9, high=1.2),
        ProfilePart(name="render", milliseconds=3.0, low=2.9, high=3.2),
    ),
)
SCALING = ScalingCurve(
    name="episodes",
    title="Episodes in one run",
    size="episodes",
    cost="time [s]",
    points=tuple(ScalingPoint(size=size, cost=2.0 * size, memory_mb=300.0) for size in (10.0, 100.0, 1000.0)),
    exponent=ScalingExponent(value=1.0, low=0.98, high=1.02),
    memory_exponent=ScalingExponent(value=0.0, low=-0.01, high=0.01),
)
