"""Environment options: images, cameras, rendering, robot, perturbation and wait steps."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from vla_bench.core.errors import ConventionError

Rendering = Literal["fast", "faithful"]

RenderingOption = Annotated[Rendering, Field(description="Rendering quality.")]
RobotOption = Annotated[str, Field(description="Robot, as printed by `vla-bench list robots`.")]

CAMERAS = ("agentview", "wrist")


@dataclass(frozen=True, kw_only=True)
class EnvOptions:
    """Options of an environment, as `vla_bench.make` takes them.

    Options of collections, runs and vector environments derive from this class, so that a field is declared here only.
    """

    image_size: Annotated[int, Field(ge=16, description="Height and width of the images in pixels.")] = 224
    cameras: Annotated[tuple[str, ...], Field(description="Camera to render; repeat for several.")] = CAMERAS
    depth: Annotated[bool, Field(description="Render depth images in meters, too.")] = False
    segmentation: Annotated[bool, Field(description="Render segmentation images, too.")] = False
    rendering: RenderingOption = "fast"
    robot: RobotOption = "panda"
    perturb: Annotated[
        str | None,
        Field(description="Perturbation of every scene, such as `camera=2,lighting=1`; see `vla-bench list axes`."),
    ] = None  # None: clean
    wait_steps: int | None = None  # steps without motion after a reset; None: as the task states

    def __post_init__(self) -> None:
        if self.rendering not in get_args(Rendering):
            raise ConventionError(f"rendering={self.rendering!r} is unknown. Known: {', '.join(get_args(Rendering))}.")
        if not 16 <= self.image_size <= 2048:
            raise ConventionError(f"image_size={self.image_size} is out of range. Expected 16 to 2048 pixels.")
        if self.wait_steps is not None and self.wait_steps < 0:
            raise ConventionError(f"wait_steps={self.wait_steps} is out of range. Expected 0 or more.")

    def env_kwargs(self) -> dict[str, Any]:
        """Return the arguments of `vla_bench.make` besides the task."""
        return {name: getattr(self, name) for name in env_option_names()}


def env_option_names() -> tuple[str, ...]:
    """Return the names of all environment options, in the order of `EnvOptions`."""
    return tuple(field.name for field in fields(EnvOptions))
