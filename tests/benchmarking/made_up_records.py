"""Records as the benchmark leaves them, with made-up figures."""

from vla_bench.benchmarking.figures import Aim, Figure, Kind, Outcome
from vla_bench.benchmarking.growth_points import Exponent, Growth, Point
from vla_bench.benchmarking.machine import Machine
from vla_bench.benchmarking.profile_parts import Part, Profile
from vla_bench.benchmarking.record import Record

XEON = Machine(cpu="Xeon", cores=2, architecture="x86_64", memory_gb=24.0)
EPYC = Machine(cpu="EPYC", cores=2, architecture="x86_64", memory_gb=24.0)


def figure(name: str, *turns: float, kind: Kind = "ratio", better: str = "higher", aim: Aim | None = None) -> Figure:
    """Return a figure named and titled `name`."""
    return Figure.model_validate(
        {"name": name, "title": name, "unit": "x", "turns": turns, "kind": kind, "better": better, "aim": aim}
    )


def record(*figures: Figure, machine: Machine = XEON, not_run: str = "", failed: bool = False) -> Record:
    """Return a record of one measure, `speed`."""
    outcome = Outcome(
        measure="speed", title="Speed", figures=figures, not_run=not_run, failed=failed, notes=("speed: a note.",)
    )
    return Record(
        date="2026-11-25",
        command="vla-bench benchmark",
        machine=machine,
        software="Python 3.11",
        how="5 turns",
        outcomes=(outcome,),
    )


PROFILE = Profile(
    engine="tabletop",
    task_id="a.b",
    image_size=224,
    parts=(
        Part(name="physics", milliseconds=1.0, low=0.9, high=1.2),
        Part(name="render", milliseconds=3.0, low=2.9, high=3.2),
    ),
)
GROWTH = Growth(
    name="episodes",
    title="Episodes in one run",
    size="episodes",
    cost="time [s]",
    points=tuple(Point(size=size, cost=2.0 * size, memory_mb=300.0) for size in (10.0, 100.0, 1000.0)),
    exponent=Exponent(value=1.0, low=0.98, high=1.02),
    memory_exponent=Exponent(value=0.0, low=-0.01, high=0.01),
)
