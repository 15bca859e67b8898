"""Environments of ours beside a stock one: steps a second, and the ratios within the turns."""

from collections.abc import Mapping

from vla_bench.benchmarking.figures import Aim, Figure
from vla_bench.benchmarking.measures import Setting
from vla_bench.benchmarking.processes import Subject, Turns, ratios


def against(setting: Setting, stock: Subject, subjects: Mapping[str, Subject], aims: Mapping[str, Aim]) -> list[Figure]:
    """Return the speed of `stock` and of each of `subjects`, and how many times the stock's speed each has."""
    with Turns({"stock": stock, **subjects}) as turns:
        setting.note_versions(turns.versions)
        taken = turns.take(setting.turns, seconds=setting.seconds)
    speeds = {name: [turn.steps_per_s for turn in of_one] for name, of_one in taken.items()}
    titles = {"stock": stock.title, **{name: subject.title for name, subject in subjects.items()}}
    absolute = [
        Figure(name=f"{name}-speed", title=titles[name], unit="steps/s", turns=tuple(values), kind="time")
        for name, values in speeds.items()
    ]
    relative = [
        Figure(
            name=f"{name}-ratio",
            title=f"{subject.title} against {stock.title}",
            unit="x",
            turns=tuple(ratios(speeds[name], speeds["stock"])),
            kind="ratio",
            aim=aims.get(name),
        )
        for name, subject in subjects.items()
    ]
    return [*relative, *absolute]
