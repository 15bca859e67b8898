"""Physics and control without cameras, beside `mj_step` alone."""

from vla_bench.benchmarking.figures import Aim, Figure
from vla_bench.benchmarking.measures import Setting, measure
from vla_bench.benchmarking.processes import Turn, Turns, ratios
from vla_bench.benchmarking.subjects import ours
from vla_bench.benchmarking.tasks_measured import ENGINES

_AIM = Aim(bound=70.0)
_PARTS = {"simulate": "physics and control", "advance": "physics, control, success, progress and info"}


@measure("physics", "Physics and control without cameras, against `mj_step` alone")
def physics(setting: Setting) -> list[Figure]:
    """Return control steps/s as a share of those that `mj_step` alone would give."""
    figures: list[Figure] = []
    for engine, task_id in ENGINES.items():
        subjects = {part: ours("task", part, task_id=task_id, part=part, cameras=()) for part in _PARTS}
        with Turns({"alone": ours("physics", "alone", task_id=task_id), **subjects}) as turns:
            figures += _figures(engine, task_id, turns.take(setting.turns, seconds=setting.seconds / 2))
    setting.note(
        "`mj_step` alone goes through recorded states of an episode under the same random actions, one call a control "
        "step, with the torques that the controller ended that step with; warm start and contacts are the episode's."
    )
    return figures


def _figures(engine: str, task_id: str, taken: dict[str, list[Turn]]) -> list[Figure]:
    speeds = {part: [turn.steps_per_s for turn in turns] for part, turns in taken.items()}
    shares = [
        Figure(
            name=f"{engine}-{part}-share",
            title=f"`{task_id}`: {what}, of `mj_step` alone",
            unit="%",
            turns=tuple(100 * ratio for ratio in ratios(speeds[part], speeds["alone"])),
            kind="ratio",
            aim=_AIM if part == "simulate" else None,
        )
        for part, what in _PARTS.items()
    ]
    titles = {"alone": "`mj_step` alone", **_PARTS}
    plain = [
        Figure(
            name=f"{engine}-{part}-speed",
            title=f"`{task_id}`: {titles[part]}",
            unit="steps/s",
            turns=tuple(values),
            kind="time",
        )
        for part, values in speeds.items()
    ]
    return [*shares, *plain]
