"""Environment options: image size, rendering quality, cameras, robot and perturbation."""

from dataclasses import dataclass
from typing import Literal, get_args

from vla_bench.core.errors import ConventionError
from vla_bench.envs.perturbations.perturbation import CLEAN, Perturbation

Rendering = Literal["fast", "faithful"]


@dataclass(frozen=True)
class EnvOptions:
    """Options of an environment."""

    image_size: int = 224  # pixels, square
    rendering: Rendering = "fast"
    cameras: tuple[str, ...] = ("agentview", "wrist")
    depth: bool = False
    robot: str = "panda"
    segmentation: bool = False
    perturbation: Perturbation = CLEAN

    def __post_init__(self) -> None:
        if self.rendering not in get_args(Rendering):
            raise ConventionError(f"rendering={self.rendering!r} is unknown. Known: {', '.join(get_args(Rendering))}.")
        if not 16 <= self.image_size <= 2048:
            raise ConventionError(f"image_size={self.image_size} is out of range. Expected 16 to 2048 pixels.")
