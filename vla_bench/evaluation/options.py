"""Options of an evaluation run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from vla_bench.core.episode import CLEAN
from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.protocol import EvaluationProtocol


@dataclass(frozen=True)
class RunOptions:
    """The options of a run."""

    policy: Annotated[str, Field(description="Registered name, path of a card.toml, or package.module:factory.")]
    suite: Annotated[str, Field(description="Suite of tasks, as printed by `vla-bench list suites`.")]
    output: Annotated[Path, Field(description="Run folder to write; an existing run is resumed.")]
    checkpoint: Annotated[Path | None, Field(description="Checkpoint that replaces the one of the card.")] = None
    tasks: Annotated[
        tuple[str, ...], Field(description="Task of the suite; repeat for several. [default: all tasks]")
    ] = ()
    episodes: Annotated[int, Field(ge=1, description="Episodes of each task.")] = 20
    seed: Annotated[int, Field(ge=0, description="Base seed; it and the episode index determine the scene.")] = 0
    variants: Annotated[
        tuple[str, ...],
        Field(
            description="Perturbation of the episodes, such as `camera=2,lighting=1` or `visual-2`; repeat for several "
            "variants. [default: clean]"
        ),
    ] = (CLEAN,)
    workers: Annotated[int, Field(ge=1, description="Worker processes.")] = 2
    slots_per_worker: Annotated[
        int, Field(ge=1, description="Environments in each worker; all of them form one batch.")
    ] = 8
    control: str = ""  # control condition of `vla_bench.evaluation.controls`; "": none
    batch_shape: Annotated[
        int | None,
        Field(ge=1, description="Batch rows that the policy computes together. [default: as the policy requires]"),
    ] = None
    videos: Annotated[int, Field(ge=0, description="Number of first episodes of each task to record as videos.")] = 0
    image_size: Annotated[
        int | None,
        Field(ge=16, description="Height and width of the images in pixels. [default: as the policy requires]"),
    ] = None
    protocol: EvaluationProtocol = field(default_factory=EvaluationProtocol)
    timeout_s: Annotated[
        float, Field(description="Seconds for a worker to start an episode, or to execute one chunk.")
    ] = 300.0
    retries: Annotated[int, Field(ge=0, description="Retries of an episode whose worker died or hung.")] = 2
    max_errors: Annotated[int, Field(ge=1, description="Consecutive errors of the policy that stop the run.")] = 10

    def __post_init__(self) -> None:
        minimums = {"workers": 1, "slots_per_worker": 1, "videos": 0, "retries": 0, "max_errors": 1}
        for name, value in minimums.items():
            if getattr(self, name) < value:
                raise VlaBenchError(f"{name} is {getattr(self, name)}. Expected {value} or more.")
        if not self.timeout_s > 0:
            raise VlaBenchError(f"timeout_s is {self.timeout_s}. Expected more than 0.")
        if self.batch_shape is not None and self.batch_shape < 1:
            raise VlaBenchError(f"batch_shape is {self.batch_shape}. Expected 1 or more.")
