"""Which changes are made to training samples, and how large they may be."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class DeclaredCamera(BaseModel):
    """Where a camera stands, for demonstrations that do not hold the model of their scene."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    position_world: tuple[float, float, float]  # m
    quat_wxyz_world: tuple[float, float, float, float]  # MuJoCo's: it looks along -z, +y is up
    fovy_deg: Annotated[float, Field(gt=0, lt=180)] = 45.0
    moves_with: str | None = None  # the body that carries it


class AugmentationConfig(BaseModel):
    """Changes to training samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip: Annotated[
        float, Field(ge=0, le=1, description="Probability of a mirror image, with action and instruction mirrored.")
    ] = 0.0
    rotation_deg: Annotated[
        float, Field(ge=0, le=180, description="Largest turn about the vertical, with the action turned.")
    ] = 0.0
    half_turn: Annotated[
        float, Field(ge=0, le=1, description="Probability of half a turn, with action and instruction turned.")
    ] = 0.0
    shift_pixels: Annotated[int, Field(ge=0, description="Largest shift, each way, of each image.")] = 2
    crop_area: Annotated[float, Field(gt=0, le=1, description="Least share of the image that a crop leaves.")] = 1.0
    crop_aspect: Annotated[float, Field(ge=1, description="Largest width of a crop by its height.")] = 1.0
    brightness: Annotated[float, Field(ge=0, lt=1, description="Largest relative change.")] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1, description="Largest relative change.")] = 0.0
    saturation: Annotated[float, Field(ge=0, lt=1, description="Largest relative change.")] = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5, description="Largest turn, in circles.")] = 0.0
    noise: Annotated[float, Field(ge=0, description="Standard deviation, in grey levels of 255.")] = 0.0

    robot: Annotated[
        str, Field(description="Robot whose plane of symmetry is known; empty: none. Flips of proprioception need it.")
    ] = "panda"
    cameras: dict[str, DeclaredCamera] = {}  # by name; others are read from the demonstrations' own scene
    robot_base_position_world: tuple[float, float, float] | None = None  # m; None: as in the demonstrations' scene

    @property
    def moves_the_scene(self) -> bool:
        """Whether some change needs to know where cameras stand."""
        return bool(self.flip or self.rotation_deg or self.half_turn)
