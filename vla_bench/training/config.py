"""Configuration of fine-tuning runs: data, augmentation, optimizer and schedule.

A configuration is read from TOML and from the command line, which has an option for each field.
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


class DataOptions(BaseModel):
    """Selection of demonstrations, and conventions that their files do not state."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instruction: Annotated[
        str | None, Field(description="Instruction of all demonstrations. [default: as recorded]")
    ] = None
    camera_sources: dict[str, str] = {}  # camera name -> key in the demonstrations, where it differs from the default
    state_fields: Annotated[
        tuple[str, ...],
        Field(description="name:size of a field of a LeRobot state without field names; repeat, in order."),
    ] = ()
    gripper: Annotated[
        GripperConvention | None,
        Field(description="Gripper convention of the demonstrations. [default: that of their format]"),
    ] = None
    orientation: Annotated[
        Orientation | None,
        Field(description="Image orientation of the demonstrations. [default: that of their format]"),
    ] = None
    recorded_hz: Annotated[
        int | None, Field(ge=1, description="Control rate of the demonstrations in Hz. [default: as recorded]")
    ] = None
    success_only: Annotated[bool, Field(description="Leave out demonstrations recorded as failures.")] = True
    drop_noops: Annotated[bool, Field(description="Leave out steps without any action, as OpenVLA does.")] = False
    validation_share: Annotated[
        float,
        Field(ge=0, lt=1, description="Fraction of episodes for validation, if the demonstrations have no split."),
    ] = 0.1
    image_cache_gb: Annotated[float, Field(ge=0, description="Keep images in memory up to this size in GB.")] = 4.0

    @field_validator("state_fields")
    @classmethod
    def _names_and_sizes(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for one in fields:
            name, _, size = one.partition(":")
            if not name or not size.isdigit() or int(size) < 1:
                raise ValueError(f"{one!r} is not of the form `name:size`, such as end_effector_position:3")
        return fields

    def source_options(self) -> SourceOptions:
        """Return the options for opening the demonstrations."""
        return SourceOptions(
            instruction=self.instruction,
            gripper=self.gripper,
            orientation=self.orientation,
            control_hz=self.recorded_hz,
            cameras=self.camera_sources,
            state=tuple((name, int(size)) for name, size in (field.split(":") for field in self.state_fields)),
        )


class DeclaredCamera(BaseModel):
    """Camera pose for demonstrations without the model of their scene."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    position_world: tuple[float, float, float]  # m
    quat_wxyz_world: tuple[float, float, float, float]  # MuJoCo convention: looks along -z, +y is up
    fovy_deg: Annotated[float, Field(gt=0, lt=180)] = 45.0
    moves_with: str | None = None  # name of the body that the camera is mounted on


class AugmentationConfig(BaseModel):
    """Augmentation of training samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip: Annotated[float, Field(ge=0, le=1, description="Probability of mirroring image, action and instruction.")] = (
        0.0
    )
    rotation_deg: Annotated[
        float, Field(ge=0, le=180, description="Maximum rotation of image and action about the vertical, in degrees.")
    ] = 0.0
    half_turn: Annotated[
        float, Field(ge=0, le=1, description="Probability of rotating image, action and instruction by 180 degrees.")
    ] = 0.0
    shift_pixels: Annotated[
        int, Field(ge=0, description="Maximum shift of each image in each direction, in pixels.")
    ] = 2
    crop_area: Annotated[
        float, Field(gt=0, le=1, description="Minimum area of a random crop, as a fraction of the image.")
    ] = 1.0
    crop_aspect: Annotated[float, Field(ge=1, description="Maximum aspect ratio of a random crop.")] = 1.0
    brightness: Annotated[float, Field(ge=0, lt=1, description="Maximum relative change.")] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1, description="Maximum relative change.")] = 0.0
    saturation: Annotated[float, Field(ge=0, lt=1, description="Maximum relative change.")] = 0.0
    hue: Annotated[
        float, Field(ge=0, le=0.5, description="Maximum hue rotation, as a fraction of the full circle.")
    ] = 0.0
    noise: Annotated[float, Field(ge=0, description="Standard deviation of Gaussian noise, in gray levels of 255.")] = (
        0.0
    )

    robot: Annotated[
        str, Field(description="Robot with a known plane of symmetry, required to flip proprioception; empty: none.")
    ] = "panda"
    cameras: dict[str, DeclaredCamera] = {}  # by name; others are read from the scene of the demonstrations
    robot_base_position_world: Annotated[
        tuple[float, float, float] | None,
        Field(
            description="Position of the robot base in the world, in meters. [default: as in the scene of the "
            "demonstrations]"
        ),
    ] = None

    @property
    def needs_scene_geometry(self) -> bool:
        """True if some augmentation needs the camera poses."""
        return bool(self.flip or self.rotation_deg or self.half_turn)


__all__ = ["AugmentationConfig", "FinetuneConfig", "OptimizerConfig", "Precision"]

Precision = Literal["float32", "bf16", "bf16-weights"]

_DEFAULT_STEPS = 600
_DEFAULT_WARMUP = 20
# Fields that affect neither the weights nor the choice of the best checkpoint: a resumed run may change them.
_FREE_TO_CHANGE = {"output", "tracker", "project", "log_every", "keep_checkpoints", "image_cache_gb"}


class OptimizerConfig(BaseModel):
    """Options of AdamW and of the learning rate schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: Annotated[int | None, Field(ge=1, description="Optimizer steps. [default: 600, without --epochs]")] = None
    epochs: Annotated[float | None, Field(gt=0, description="Passes over the data, instead of --steps.")] = None
    batch_size: Annotated[int, Field(ge=1, description="Samples in a batch of each process.")] = 64
    accumulate: Annotated[int, Field(ge=1, description="Batches accumulated into one optimizer step.")] = 1
    learning_rate: Annotated[float, Field(gt=0, description="Maximum learning rate.")] = 5e-4
    schedule: Annotated[
        Literal["cosine", "linear", "constant"], Field(description="Learning rate schedule after the warm-up.")
    ] = "cosine"
    final_share: Annotated[
        float,
        Field(
            ge=0, le=1, description="Final learning rate of cosine and linear schedules, as a fraction of the maximum."
        ),
    ] = 0.0
    warmup_steps: Annotated[
        int | None, Field(ge=0, description="Steps of linear warm-up. [default: 20, at most a tenth of all steps]")
    ] = None
    warmup_share: Annotated[
        float | None, Field(ge=0, lt=1, description="Warm-up as a fraction of all steps, instead of --warmup-steps.")
    ] = None
    weight_decay: Annotated[float, Field(ge=0, description="Weight decay of matrices; biases and norms have none.")] = (
        0.01
    )
    betas: Annotated[tuple[float, float], Field(description="AdamW's decay rates of the two moving averages.")] = (
        0.9,
        0.999,
    )
    epsilon: Annotated[float, Field(gt=0, description="AdamW's epsilon.")] = 1e-8
    gradient_clip: Annotated[float, Field(ge=0, description="Maximum gradient norm; 0: no clipping.")] = 1.0
    sigma_bins: Annotated[
        float,
        Field(ge=0, description="Standard deviation of smoothed action-token targets in bins; 0: one-hot, as OpenVLA."),
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
        """Return the number of optimizer steps, given the steps of one epoch."""
        if self.epochs is not None:
            return max(1, round(self.epochs * steps_per_epoch))
        return _DEFAULT_STEPS if self.steps is None else self.steps

    def total_warmup(self, total_steps: int) -> int:
        """Return the number of warm-up steps."""
        if self.warmup_share is not None:
            return round(self.warmup_share * total_steps)
        return min(_DEFAULT_WARMUP, total_steps // 10) if self.warmup_steps is None else self.warmup_steps


class FinetuneConfig(MethodOptions, DataOptions):
    """Complete configuration of a fine-tuning run."""

    demos: Annotated[
        tuple[Path, ...],
        Field(
            min_length=1,
            description="Demonstrations: HDF5 file (vla-bench, robomimic, LIBERO) or LeRobot v3 folder; repeat.",
        ),
    ]
    output: Annotated[Path, Field(description="Output folder; an unfinished run in it is resumed.")]
    base: Annotated[str, Field(description="Base checkpoint: name under baselines/, or folder.")] = "openvla-nano"
    action_head: Annotated[
        Literal["l1"] | None, Field(description="l1: a new OpenVLA-OFT head on an OpenVLA base. [default: the base's]")
    ] = None
    chunk_size: Annotated[
        int | None,
        Field(ge=1, description="Actions per chunk of OpenVLA-OFT. [default: that of the checkpoint, else 8]"),
    ] = None
    tasks: Annotated[
        tuple[str, ...], Field(description="Task to train on, as suite.task; repeat. [default: all in the files]")
    ] = ()

    cameras: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            description="Camera, or camera=key of the demonstrations; repeat, in the order of the base.",
        ),
    ] = ("agentview", "wrist")
    proprioception: Annotated[
        tuple[str, ...],
        Field(description="Proprioception field; repeat, in the order of the base. [default: those of the base]"),
    ] = ()
    control_hz: Annotated[int, Field(ge=1, description="Required control rate of the demonstrations in Hz.")] = (
        CONTROL_HZ
    )
    action_convention: Annotated[str, Field(description="Required action convention of the demonstrations.")] = (
        ACTION_CONVENTION
    )
    statistics: Annotated[
        Literal["dataset", "base"],
        Field(description="Normalization by statistics of these demonstrations, or of the base."),
    ] = "dataset"
    unnorm_key: Annotated[
        str | None, Field(description="Name of the statistics. [default: the suite of the demonstrations]")
    ] = None

    optimiser: OptimizerConfig = OptimizerConfig()
    augmentation: AugmentationConfig = AugmentationConfig()

    precision: Annotated[
        Precision, Field(description="bf16: bfloat16 autocast; bf16-weights: weights in bfloat16 as well.")
    ] = "float32"
    gradient_checkpointing: Annotated[
        bool, Field(description="Recompute activations in the backward pass: less memory, more time.")
    ] = False
    max_prompt_tokens: Annotated[
        int | None,
        Field(ge=1, description="Maximum prompt length in tokens; longer prompts are an error. [default: no limit]"),
    ] = None
    evaluate_every: Annotated[int, Field(ge=1, description="Steps between validations.")] = 100
    save_every: Annotated[
        int | None, Field(ge=1, description="Steps between checkpoints. [default: as --evaluate-every]")
    ] = None
    keep_checkpoints: Annotated[
        int, Field(ge=0, description="Numbered checkpoints to keep in addition to the last and the best.")
    ] = 0
    patience: Annotated[
        int | None, Field(ge=1, description="Stop after this many validations without improvement. [default: never]")
    ] = None
    validation_frames: Annotated[
        int, Field(ge=1, description="Maximum number of validation frames, spread over the validation episodes.")
    ] = 512
    log_every: Annotated[int, Field(ge=1, description="Steps between log lines.")] = 10
    tracker: Annotated[str, Field(description="Experiment tracker to log to: none, tensorboard or wandb.")] = "none"
    project: Annotated[str, Field(description="Project name in the tracker.")] = "vla-bench"
    seed: Annotated[int, Field(ge=0, description="Seed of batches, augmentation and new weights.")] = 0

    @field_validator("demos")
    @classmethod
    def _each_once(cls, demos: tuple[Path, ...]) -> tuple[Path, ...]:
        places = [path.resolve() for path in demos]
        twice = [path for place, path in enumerate(demos) if path.resolve() in places[:place]]
        if twice:
            raise ValueError(
                f"{twice[0]} is named twice; expected each file once, because its demonstrations would count double"
            )
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
        """Number of steps between checkpoints."""
        return self.save_every or self.evaluate_every

    def decisive(self) -> dict[str, Any]:
        """Return, as plain data, every field that affects the weights."""
        return self.model_dump(mode="json", exclude=_FREE_TO_CHANGE)

    def to_toml(self) -> str:
        """Return the configuration as TOML for `vla-bench finetune --config`."""
        return to_toml(self.model_dump(mode="json"))
