"""The peers that the user has installed elsewhere, beside a tabletop task of ours."""

from vla_bench.benchmarking.figures import Figure
from vla_bench.benchmarking.measures import NotRunError, Setting, measure
from vla_bench.benchmarking.processes import SubjectError, Turns, ratios
from vla_bench.benchmarking.stock import peers
from vla_bench.benchmarking.subjects import ours
from vla_bench.benchmarking.tasks_measured import TABLETOP

_IMAGE_SIZE = 224  # pixels, two cameras


@measure("peers", "Other peers, in their own Python: 2 cameras of 224 px")
def others(setting: Setting) -> list[Figure]:
    """Return steps/s and reset time of each peer, and how many times its speed ours has."""
    asked = {name: python for name, python in setting.peers.items() if peers[name].measure == "peers"}
    if not asked:
        known = ", ".join(sorted(name for name in peers if name != "robosuite" and peers[name].measure == "peers"))
        raise NotRunError(
            f"no --peer was given. With one installed in /path: --peer NAME=/path/bin/python, of {known}."
        )
    figures: list[Figure] = []
    failure: SubjectError | None = None
    for name, python in asked.items():
        try:
            figures += _beside(setting, name, python)
        except SubjectError as error:
            setting.note(f"peers: {name} was not measured: {' '.join(str(error).split())}")
            failure = error
    if failure is not None and not figures:
        raise failure
    return figures


def _beside(setting: Setting, name: str, python: str) -> list[Figure]:
    stock = peers[name].subject(image_size=_IMAGE_SIZE, cameras=2, python=python)
    own = ours("task", f"`{TABLETOP}`", task_id=TABLETOP, image_size=_IMAGE_SIZE)
    with Turns({"stock": stock, "ours": own}) as turns:
        setting.note_versions(turns.versions)
        taken = turns.take(setting.turns, seconds=setting.seconds, resets=1)
    speeds = {one: [turn.steps_per_s for turn in of_one] for one, of_one in taken.items()}
    times = {one: [1000.0 * turn.resets_s[0] for turn in of_one] for one, of_one in taken.items()}
    return [
        Figure(
            name=f"{name}-ratio",
            title=f"{own.title} against {stock.title}",
            unit="x",
            kind="ratio",
            turns=tuple(ratios(speeds["ours"], speeds["stock"])),
        ),
        Figure(
            name=f"{name}-reset-ratio",
            title=f"reset of {own.title} against {stock.title}",
            unit="x",
            kind="ratio",
            turns=tuple(ratios(times["stock"], times["ours"])),
        ),
        Figure(name=f"{name}-speed", title=stock.title, unit="steps/s", kind="time", turns=tuple(speeds["stock"])),
        Figure(
            name=f"{name}-reset",
            title=f"reset of {stock.title}",
            unit="ms",
            kind="time",
            better="lower",
            turns=tuple(times["stock"]),
        ),
    ]
