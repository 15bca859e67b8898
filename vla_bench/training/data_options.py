"""What a user may say about demonstrations, where they do not say it themselves, and which of them to take."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vla_bench.core.conventions import GripperConvention, Orientation
from vla_bench.demos.sources import SourceOptions


class DataOptions(BaseModel):
    """Which demonstrations are learnt from, and how they are to be read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instruction: Annotated[
        str | None, Field(description="What the robot was told. [default: what the demonstrations say]")
    ] = None
    camera_sources: dict[str, str] = {}  # a camera's name -> the demonstrations' key, where that is not the usual one
    state_fields: Annotated[
        tuple[str, ...], Field(description="name:size of a part of a LeRobot state without names; repeat, in order.")
    ] = ()
    gripper: Annotated[
        GripperConvention | None,
        Field(description="The demonstrations' gripper commands. [default: as their format has them]"),
    ] = None
    orientation: Annotated[
        Orientation | None, Field(description="The demonstrations' images. [default: as their format has them]")
    ] = None
    recorded_hz: Annotated[
        int | None, Field(ge=1, description="Take them as recorded at this rate. [default: what they say]")
    ] = None
    success_only: Annotated[bool, Field(description="Leave out demonstrations known to fail.")] = True
    drop_noops: Annotated[bool, Field(description="Leave out steps at which nothing is done, as OpenVLA does.")] = False
    validation_share: Annotated[
        float, Field(ge=0, lt=1, description="Of episodes, where the demonstrations have no split.")
    ] = 0.1
    image_cache_gb: Annotated[float, Field(ge=0, description="Images are kept in memory up to this size.")] = 4.0

    @field_validator("state_fields")
    @classmethod
    def _names_and_sizes(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for one in fields:
            name, _, size = one.partition(":")
            if not name or not size.isdigit() or int(size) < 1:
                raise ValueError(f"{one!r} is not `name:size`, such as end_effector_position:3")
        return fields

    def source_options(self) -> SourceOptions:
        """Return what the user says about the demonstrations."""
        return SourceOptions(
            instruction=self.instruction,
            gripper=self.gripper,
            orientation=self.orientation,
            control_hz=self.recorded_hz,
            cameras=self.camera_sources,
            state=tuple((name, int(size)) for name, size in (field.split(":") for field in self.state_fields)),
        )
