"""What a user may say about demonstrations, and which part of them is learnt from."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vla_bench.core.types import CONTROL_HZ
from vla_bench.demos.conversions import GripperConvention, Orientation
from vla_bench.demos.header import ACTION_CONVENTION
from vla_bench.demos.sources import SourceOptions


class DataOptions(BaseModel):
    """Which demonstrations, how they were recorded, and what of them is used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: Annotated[
        tuple[str, ...], Field(description="suite.task to learn; repeat. [default: all in the files]")
    ] = ()
    cameras: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description="Camera to learn from, or camera=key in the demonstrations; repeat, in the base's order.",
        ),
    ] = ("agentview", "wrist")
    camera_sources: dict[str, str] = {}  # a camera's name -> the demonstrations' key, where that is not the usual one
    proprioception: Annotated[
        tuple[str, ...],
        Field(description="Field to learn from; repeat, in the base's order. [default: as the base's]"),
    ] = ()
    state_fields: Annotated[
        tuple[str, ...],
        Field(description="name:size of a part of a LeRobot state that does not name its parts; repeat, in order."),
    ] = ()
    instruction: Annotated[
        str | None, Field(description="What the robot was told. [default: what the demonstrations say]")
    ] = None
    gripper: Annotated[
        GripperConvention | None, Field(description="The demonstrations' commands. [default: as their format has them]")
    ] = None
    orientation: Annotated[
        Orientation | None, Field(description="The demonstrations' images. [default: as their format has them]")
    ] = None
    recorded_hz: Annotated[
        int | None, Field(ge=1, description="Take them as recorded at this rate. [default: what they say]")
    ] = None
    control_hz: Annotated[int, Field(ge=1, description="Rate that the demonstrations must have.")] = CONTROL_HZ
    action_convention: Annotated[str, Field(description="Convention that the demonstrations must have.")] = (
        ACTION_CONVENTION
    )
    success_only: Annotated[bool, Field(description="Leave out demonstrations known to fail.")] = True
    drop_noops: Annotated[
        bool, Field(description="Leave out steps at which nothing is done, as OpenVLA does with LIBERO.")
    ] = False
    validation_share: Annotated[
        float, Field(ge=0, lt=1, description="Of episodes, where the demonstrations have no split of their own.")
    ] = 0.1
    image_cache_gb: Annotated[
        float, Field(ge=0, description="Images are kept in memory up to this size, then read on demand.")
    ] = 4.0

    @model_validator(mode="before")
    @classmethod
    def _keys_apart(cls, content: Any) -> Any:
        """Take `camera=key` apart into the camera and where the demonstrations keep it."""
        if not isinstance(content, dict) or not isinstance(content.get("cameras"), list | tuple):
            return content
        pairs = [str(one).partition("=") for one in content["cameras"]]
        keys = {name: key for name, _, key in pairs if key}
        if not keys:
            return content
        sources = {**content.get("camera_sources", {}), **keys}
        return {**content, "cameras": tuple(name for name, _, _ in pairs), "camera_sources": sources}

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
