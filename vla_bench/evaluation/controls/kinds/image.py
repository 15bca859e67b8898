"""Controls that take the images away: does the policy look?"""

import numpy as np

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import Observation
from vla_bench.evaluation.controls.control import controls


@controls.named("black-image")
def black(episode: EpisodeIdentity, observation: Observation) -> Observation:
    """Show nothing: every image is black. Proprioception stays."""
    return {**observation, "images": {name: np.zeros_like(image) for name, image in observation["images"].items()}}
