"""Which changes are made to training samples, and how large they may be."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class AugmentationConfig(BaseModel):
    """Changes to training samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shift_pixels: Annotated[int, Field(ge=0, description="Largest shift, each way, of each image.")] = 2
    crop_area: Annotated[float, Field(gt=0, le=1, description="Least share of the image that a crop leaves.")] = 1.0
    crop_aspect: Annotated[float, Field(ge=1, description="Largest width of a crop by its height.")] = 1.0
    brightness: Annotated[float, Field(ge=0, lt=1, description="Largest relative change.")] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1, description="Largest relative change.")] = 0.0
    saturation: Annotated[float, Field(ge=0, lt=1, description="Largest relative change.")] = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5, description="Largest turn, in circles.")] = 0.0
    noise: Annotated[float, Field(ge=0, description="Standard deviation, in grey levels of 255.")] = 0.0
