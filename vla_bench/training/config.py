"""Configuration of fine-tuning runs: data, augmentation, optimizer and schedule.

One table, read from TOML and from a command line that has an option for each field.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vla_bench.core.configuration import to_toml
from vla_bench.core.conventions import GripperConvention, Orientation
from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import CONTROL_HZ
from vla_bench.demos.header import ACTION_CONVENTION
from vla_bench.demos.sources import SourceOptions
from vla_bench.training.methods.method import MethodOptions

# ~ What a user may say about demonstrations, where they do not say it themselves, and which of them to take.


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


# ~ Which changes are made to training samples, and how large they may be.


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
    def needs_scene_geometry(self) -> bool:
        """Whether some change needs to know where cameras stand."""
        return bool(self.flip or self.rotation_deg or self.half_turn)


# ~ What a fine-tuning run is told: one table, from TOML and from a command line that has an option for each field.

__all__ = ["AugmentationConfig", "FinetuneConfig", "OptimizerConfig", "Precision"]

Precision = Literal["float32", "bf16", "bf16-weights"]

_DEFAULT_STEPS = 600
_DEFAULT_WARMUP = 20
# What changes neither the weights nor which of them are kept: a run may be continued with others.
_FREE_TO_CHANGE = {"output", "tracker", "project", "log_every", "keep_checkpoints", "image_cache_gb"}


class OptimizerConfig(BaseModel):
    """AdamW and its schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: Annotated[int | None, Field(ge=1, description="Optimiser steps. [default: 600, without --epochs]")] = None
    epochs: Annotated[float | None, Field(gt=0, description="Passes over the data, instead of --steps.")] = None
    batch_size: Annotated[int, Field(ge=1, description="Samples in a batch of each process.")] = 64
    accumulate: Annotated[int, Field(ge=1, description="Batches summed into one step.")] = 1
    learning_rate: Annotated[float, Field(gt=0, description="AdamW's highest.")] = 5e-4
    schedule: Annotated[
        Literal["cosine", "linear", "constant"], Field(description="Of the learning rate after the warm-up.")
    ] = "cosine"
    final_share: Annotated[
        float, Field(ge=0, le=1, description="Of the learning rate, where cosine and linear schedules end.")
    ] = 0.0
    warmup_steps: Annotated[
        int | None, Field(ge=0, description="Steps of linear warm-up. [default: 20, at most a tenth of all steps]")
    ] = None
    warmup_share: Annotated[
        float | None, Field(ge=0, lt=1, description="Share of all steps, instead of --warmup-steps.")
    ] = None
    weight_decay: Annotated[float, Field(ge=0, description="Of matrices; biases and norms have none.")] = 0.01
    betas: Annotated[tuple[float, float], Field(description="AdamW's two averages.")] = (0.9, 0.999)
    epsilon: Annotated[float, Field(gt=0, description="AdamW's.")] = 1e-8
    gradient_clip: Annotated[float, Field(ge=0, description="Largest norm of the gradient; 0: any.")] = 1.0
    sigma_bins: Annotated[
        float, Field(ge=0, description="Width of smoothed action-token targets; 0: one-hot, as OpenVLA.")
    ] = 4.0

    @model_validator(mode="after")
    def _check(self) -> "OptimizerConfig":
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs are both given; expected one of them")
        if self.warmup_steps is not None and self.warmup_share is not None:
            raise ValueError("warmup_steps and warmup_share are both given; expected one of them")
        if self.warmup_steps is not None and self.epochs is None and self.warmup_steps >= self.total_steps(1):
            raise ValueError(f"warmup_steps must be below steps ({self.total_steps(1)})")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}; expected two numbers from 0 to below 1")
        return self

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return how many optimiser steps there are when one pass over the data takes `steps_per_epoch`."""
        if self.epochs is not None:
            return max(1, round(self.epochs * steps_per_epoch))
        return _DEFAULT_STEPS if self.steps is None else self.steps

    def total_warmup(self, total_steps: int) -> int:
        """Return how many of `total_steps` warm up."""
        if self.warmup_share is not None:
            return round(self.warmup_share * total_steps)
        return min(_DEFAULT_WARMUP, total_steps // 10) if self.warmup_steps is None else self.warmup_steps


class FinetuneConfig(MethodOptions, DataOptions):
    """Everything that decides a fine-tuned policy, and where it goes."""

    demos: Annotated[
        tuple[Path, ...],
        Field(min_length=1, description="HDF5 file of ours, robomimic or LIBERO, or LeRobot v3 folder; repeat."),
    ]
    output: Annotated[Path, Field(description="Where to write; one that was begun is continued.")]
    base: Annotated[str, Field(description="Name under baselines/, or a checkpoint folder.")] = "openvla-nano"
    action_head: Annotated[
        Literal["l1"] | None, Field(description="l1: a new OpenVLA-OFT head on an OpenVLA base. [default: the base's]")
    ] = None
    chunk_size: Annotated[
        int | None, Field(ge=1, description="Actions that OpenVLA-OFT predicts at once. [default: as recorded, else 8]")
    ] = None
    tasks: Annotated[
        tuple[str, ...], Field(description="suite.task to learn; repeat. [default: all in the files]")
    ] = ()

    cameras: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description="Camera to learn from, or camera=key of the demonstrations; repeat, in the base's order.",
        ),
    ] = ("agentview", "wrist")
    proprioception: Annotated[
        tuple[str, ...],
        Field(description="Field to learn from; repeat, in the base's order. [default: as the base's]"),
    ] = ()
    control_hz: Annotated[int, Field(ge=1, description="Rate that the demonstrations must have.")] = CONTROL_HZ
    action_convention: Annotated[str, Field(description="Convention that the demonstrations must have.")] = (
        ACTION_CONVENTION
    )
    statistics: Annotated[
        Literal["dataset", "base"], Field(description="Normalise by these demonstrations, or as the base was trained.")
    ] = "dataset"
    unnorm_key: Annotated[
        str | None, Field(description="Name of the statistics. [default: the demonstrations' suite]")
    ] = None

    optimiser: OptimizerConfig = OptimizerConfig()
    augmentation: AugmentationConfig = AugmentationConfig()

    precision: Annotated[
        Precision, Field(description="bf16 computes in bfloat16 (autocast); bf16-weights also holds the weights so.")
    ] = "float32"
    gradient_checkpointing: Annotated[
        bool, Field(description="Compute activations again on the way back: less memory, more time.")
    ] = False
    max_prompt_tokens: Annotated[
        int | None, Field(ge=1, description="Refuse longer prompts. [default: as long as they are]")
    ] = None
    evaluate_every: Annotated[int, Field(ge=1, description="Steps between validations.")] = 100
    save_every: Annotated[
        int | None, Field(ge=1, description="Steps between checkpoints. [default: as --evaluate-every]")
    ] = None
    keep_checkpoints: Annotated[
        int, Field(ge=0, description="Numbered checkpoints kept beside the last and the best.")
    ] = 0
    patience: Annotated[
        int | None, Field(ge=1, description="Stop after so many validations without improvement. [default: never]")
    ] = None
    validation_frames: Annotated[
        int, Field(ge=1, description="At most so many, spread over the validation episodes.")
    ] = 512
    log_every: Annotated[int, Field(ge=1, description="Steps between lines of the log.")] = 10
    tracker: Annotated[str, Field(description="Who else is told: none, tensorboard or wandb.")] = "none"
    project: Annotated[str, Field(description="Name of the project at the tracker.")] = "vla-bench"
    seed: Annotated[int, Field(ge=0, description="Of batches, augmentation and new weights.")] = 0

    @field_validator("demos")
    @classmethod
    def _each_once(cls, demos: tuple[Path, ...]) -> tuple[Path, ...]:
        places = [path.resolve() for path in demos]
        twice = [path for place, path in enumerate(demos) if path.resolve() in places[:place]]
        if twice:
            raise ValueError(f"{twice[0]} is named twice: each of its demonstrations would count double")
        return demos

    @field_validator("tracker")
    @classmethod
    def _known_tracker(cls, name: str) -> str:
        from vla_bench.training.trackers import trackers

        if name not in trackers:
            raise ValueError(str(UnknownNameError("tracker", name, trackers)))
        return name

    @property
    def checkpoint_interval(self) -> int:
        """Steps between checkpoints."""
        return self.save_every or self.evaluate_every

    def decisive(self) -> dict[str, Any]:
        """Return, as plain data, everything that decides the weights: all but where they go and who is told."""
        return self.model_dump(mode="json", exclude=_FREE_TO_CHANGE)

    def to_toml(self) -> str:
        """Return the whole as the TOML file that `vla-bench finetune --config` reads."""
        return to_toml(self.model_dump(mode="json"))
