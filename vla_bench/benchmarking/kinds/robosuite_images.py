"""The robosuite suite with images through us, beside stock robosuite."""

from vla_bench.benchmarking.beside import against
from vla_bench.benchmarking.figures import Aim, Figure
from vla_bench.benchmarking.measures import Setting, measure
from vla_bench.benchmarking.stock import peers
from vla_bench.benchmarking.subjects import ours
from vla_bench.benchmarking.tasks_measured import ROBOSUITE

_IMAGE_SIZE = 256  # pixels
_AIMS = {"fast": Aim(bound=10.0), "faithful": Aim(bound=4.0)}


@measure("robosuite-images", "robosuite suite through us: 2 cameras of 256 px, against stock robosuite `Lift`")
def robosuite_images(setting: Setting) -> list[Figure]:
    """Return steps/s and their ratios, for both qualities of rendering."""
    subjects = {
        quality: ours("task", f"`{ROBOSUITE}`, {quality}", task_id=ROBOSUITE, image_size=_IMAGE_SIZE, rendering=quality)
        for quality in _AIMS
    }
    return against(setting, peers["robosuite"].subject(image_size=_IMAGE_SIZE, cameras=2), subjects, _AIMS)
