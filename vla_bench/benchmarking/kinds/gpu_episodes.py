"""Evaluations a policy of the published size could make in an hour, by operating point, through the real evaluation."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vla_bench.benchmarking.accelerated import accelerated
from vla_bench.benchmarking.figures import Figure, number
from vla_bench.benchmarking.measures import Setting, measure
from vla_bench.benchmarking.tasks_measured import TABLETOP
from vla_bench.envs import egl
from vla_bench.tasks import get_task

if TYPE_CHECKING:  # torch takes seconds to load, and measures are listed without it
    from vla_bench.benchmarking.operating_points import Pace, Point

_WINDOW = 5.0  # times the seconds of a turn


@measure(
    "gpu-episodes",
    "Real runs of OpenVLA 7B, random weights, on the GPU: episodes/hour by batch and workers",
    in_quick=False,
)
def gpu_episodes(setting: Setting) -> list[Figure]:
    """Return episodes/hour, actions/s and the policy's share of the time at each point, and the best point's."""
    on, steps = accelerated(setting), get_task(TABLETOP).horizon
    from vla_bench.benchmarking.operating_points import Point, free_gpu, measure_point, random_policy

    policy = random_policy(on)
    paces: dict[Point, Pace] = {}

    def best() -> Point:
        return max(paces, key=lambda point: paces[point].actions_per_s)

    def points() -> Iterator[Point]:
        yield from dict.fromkeys(Point.of(batch, setting.workers) for batch in on.batches)
        batch = best().batch
        yield from (Point.of(batch, workers) for workers in fewer(setting.workers))

    for point in points():
        output = setting.workspace / f"{point.workers}-{point.rows}-{point.batch}"
        if point not in paces:
            paces[point] = measure_point(policy, point, TABLETOP, _WINDOW * setting.seconds, output)
    del policy
    free_gpu()
    chosen = best()
    if not setting.rehearse and not egl.gpus():
        setting.note("gpu-episodes: EGL has no GPU here, so software drew.")
    setting.note(
        f"gpu-episodes: {on.title}, through the whole evaluation of `{TABLETOP}`; it solves nothing, so an episode has "
        f"its horizon of {steps} steps. {_WINDOW * setting.seconds:g} s of each run, after every row has acted. Its "
        f"prompts are those of openvla-nano's tokenizer. Best: {chosen}, "
        f"{number(paces[chosen].episodes_per_hour(steps))} episodes/hour; {paces[chosen].bound} bounds it, the policy "
        f"computes in {paces[chosen].policy_share:.0%} of the time."
    )
    best_pace = paces[chosen].episodes_per_hour(steps)
    return [
        Figure(name="best", title=f"best: {chosen}", unit="episodes/h", kind="time", turns=(best_pace,)),
        *(figure for point, pace in paces.items() for figure in _figures(point, pace, steps)),
    ]


def fewer(workers: int) -> list[int]:
    """Return 1, 2, 4, ... below `workers`."""
    return [1 << power for power in range(workers.bit_length()) if 1 << power < workers]


def _figures(point: "Point", pace: "Pace", steps: int) -> list[Figure]:
    name = f"{point.batch}-{point.workers}x{point.rows}"
    return [
        Figure(
            name=f"episodes-{name}",
            title=str(point),
            unit="episodes/h",
            kind="time",
            turns=(pace.episodes_per_hour(steps),),
        ),
        Figure(name=f"actions-{name}", title=str(point), unit="actions/s", kind="time", turns=(pace.actions_per_s,)),
        Figure(
            name=f"policy-{name}",
            title=f"{point}: share of the time in which the policy computes",
            unit="%",
            kind="share",
            turns=(100.0 * pace.policy_share,),
        ),
    ]
