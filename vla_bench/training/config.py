"""What a fine-tuning run is told."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vla_bench.core.types import CONTROL_HZ
from vla_bench.demos.conversions import GripperConvention, Orientation
from vla_bench.demos.header import ACTION_CONVENTION
from vla_bench.demos.sources import SourceOptions

ALL_LINEAR: Literal["all-linear"] = "all-linear"


class AugmentationConfig(BaseModel):
    """Changes to training images that leave the right action as it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shift_pixels: Annotated[int, Field(ge=0)] = 2  # largest shift, each way, of each image
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.1  # largest relative change


class OptimiserConfig(BaseModel):
    """AdamW and its schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: Annotated[int, Field(ge=1)] = 600
    batch_size: Annotated[int, Field(ge=1)] = 64
    accumulate: Annotated[int, Field(ge=1)] = 1  # batches summed into one step
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0  # largest norm
    sigma_bins: Annotated[float, Field(ge=0)] = 4.0  # width of the smoothed action targets; 0: one-hot, as OpenVLA

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        import math

        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


class FinetuneConfig(BaseModel):
    """Everything that decides a fine-tuned policy, and where it goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    demos: Annotated[tuple[Path, ...], Field(min_length=1)]
    output: Path
    base: str = "openvla-nano"  # a name under baselines/, or a checkpoint folder
    tasks: tuple[str, ...] = ()  # `suite.task`; none: all that the files hold

    instruction: str | None = None  # of all demonstrations; none: what they say themselves
    camera_sources: dict[str, str] = {}  # a camera's name -> the demonstrations' key, where that is not the usual one
    state_fields: tuple[str, ...] = ()  # `name:size`, in order, of a LeRobot state vector that does not name its parts
    gripper: GripperConvention | None = None  # of the demonstrations; none: what they say or their format implies
    orientation: Orientation | None = None  # of the demonstrations' images; none: what their format implies
    recorded_hz: Annotated[int, Field(ge=1)] | None = None  # none: what the demonstrations say
    success_only: bool = True
    drop_noops: bool = False  # leave out steps at which nothing is done, as OpenVLA does with LIBERO
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.1  # where demonstrations come without a split
    image_cache_gb: Annotated[float, Field(ge=0)] = 4.0  # images are kept in memory up to this, then read on demand

    method: Literal["lora", "full"] = "lora"
    rank: Annotated[int, Field(ge=1)] = 32
    alpha: Annotated[int, Field(ge=1)] = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = ALL_LINEAR  # every linear layer but the output, or names

    cameras: Annotated[tuple[str, ...], Field(min_length=1)] = ("agentview", "wrist")
    proprioception: tuple[str, ...] = ()  # names of the fields; none: those that the base was trained on
    control_hz: int = CONTROL_HZ
    action_convention: str = ACTION_CONVENTION
    statistics: Literal["dataset", "base"] = "dataset"  # normalise by these demonstrations, or as the base was trained
    unnorm_key: str | None = None  # name of the statistics; none: the demonstrations' suite

    optimiser: OptimiserConfig = OptimiserConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    evaluate_every: Annotated[int, Field(ge=1)] = 100  # steps; the checkpoint is kept at the same time
    validation_frames: Annotated[int, Field(ge=1)] = 512  # at most so many, spread over the validation episodes
    seed: int = 0

    @field_validator("state_fields")
    @classmethod
    def _names_and_sizes(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for one in fields:
            name, _, size = one.partition(":")
            if not name or not size.isdigit() or int(size) < 1:
                raise ValueError(f"{one!r} is not `name:size`, such as end_effector_position:3")
        return fields

    @model_validator(mode="after")
    def _check(self) -> "FinetuneConfig":
        if self.optimiser.warmup_steps >= self.optimiser.steps and self.optimiser.schedule == "cosine":
            raise ValueError(f"warmup_steps must be below steps ({self.optimiser.steps})")
        return self

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

    def decisive(self) -> dict[str, object]:
        """Return, as plain data, everything that decides the weights: all but where they go."""
        return self.model_dump(mode="json", exclude={"output", "image_cache_gb"})
