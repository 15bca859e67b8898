"""A tabletop task with images, beside stock robosuite."""

from vla_bench.benchmarking.beside import against
from vla_bench.benchmarking.figures import Aim, Figure
from vla_bench.benchmarking.measures import Setting, measure
from vla_bench.benchmarking.stock import peers
from vla_bench.benchmarking.subjects import ours
from vla_bench.benchmarking.tasks_measured import TABLETOP

_IMAGE_SIZE = 224  # pixels


@measure("tabletop-images", "Tabletop suites: 2 cameras of 224 px, one process, against stock robosuite `Lift`")
def tabletop_images(setting: Setting) -> list[Figure]:
    """Return steps/s and their ratio."""
    return against(
        setting,
        peers["robosuite"].subject(image_size=_IMAGE_SIZE, cameras=2),
        {"tabletop": ours("task", f"`{TABLETOP}`", task_id=TABLETOP, image_size=_IMAGE_SIZE)},
        {"tabletop": Aim(bound=15.0)},
    )
