"""The beginning of an episode, beside stock robosuite's."""

import statistics

from vla_bench.benchmarking.figures import Aim, Figure
from vla_bench.benchmarking.measures import Setting, measure
from vla_bench.benchmarking.processes import Turns, ratios
from vla_bench.benchmarking.stock import peers
from vla_bench.benchmarking.subjects import ours
from vla_bench.benchmarking.tasks_measured import ENGINES

_IMAGE_SIZE = 224  # pixels
_RESETS = 20  # of ours in a turn; one of the stock's
_AIM = Aim(bound=100.0)


@measure("resets", "Reset with its images: 2 cameras of 224 px, against stock robosuite `Lift`")
def resets(setting: Setting) -> list[Figure]:
    """Return the time of a reset, and how many times sooner ours is done."""
    stock = peers["robosuite"].subject(image_size=_IMAGE_SIZE, cameras=2)
    subjects = {
        name: ours("task", f"`{task_id}`", task_id=task_id, image_size=_IMAGE_SIZE) for name, task_id in ENGINES.items()
    }
    with Turns({"stock": stock, **subjects}) as turns:
        setting.note_versions(turns.versions)
        setting.note("A reset in vla_bench always renders; stock compiles its model anew, which is its default.")
        times: dict[str, list[float]] = {"stock": [], **{name: [] for name in subjects}}
        for _ in range(setting.turns):
            for name, taken in times.items():
                count = 1 if name == "stock" else setting.scaled(_RESETS, 3)
                taken.append(1000.0 * statistics.median(turns.one(name, resets=count).resets_s))
    titles = {"stock": stock.title, **{name: subject.title for name, subject in subjects.items()}}
    sooner = [
        Figure(
            name=f"{name}-ratio",
            title=f"reset of {titles[name]} against {stock.title}",
            unit="x",
            turns=tuple(ratios(times["stock"], times[name])),
            kind="ratio",
            aim=_AIM,
        )
        for name in subjects
    ]
    plain = [
        Figure(
            name=f"{name}-reset",
            title=f"reset of {titles[name]}",
            unit="ms",
            turns=tuple(taken),
            kind="time",
            better="lower",
        )
        for name, taken in times.items()
    ]
    return [*sooner, *plain]
