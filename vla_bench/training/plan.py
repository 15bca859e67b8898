"""Plan of a fine-tuning run: trained parameters, memory and number of steps, without training and without weights."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from vla_bench.core.errors import CheckpointError, UnknownNameError
from vla_bench.demos.sources import DemonstrationSource, open_sources
from vla_bench.models.networks.network import NetworkShape
from vla_bench.models.openvla.checkpoint import CONFIG_FILE, find_base
from vla_bench.models.openvla.config import ARCHITECTURES, ModelConfigError, OpenVLAConfig
from vla_bench.models.openvla.config_file import config_from_json
from vla_bench.training.config import FinetuneConfig
from vla_bench.training.dataset import load_subset
from vla_bench.training.finetune import frame_selection, planned_shape
from vla_bench.training.memory import MemoryEstimate, StepShape, estimate_memory


class PlannedRun(FinetuneConfig):
    """Configuration of a planned run; demonstrations and output are optional."""

    demos: Annotated[tuple[Path, ...], Field()] = ()
    output: Path = Path()


@dataclass(frozen=True)
class Epochs:
    """Number of epochs of a run."""

    frames: int  # of the training set
    steps_per_epoch: int
    epochs: float  # in the whole run


@dataclass(frozen=True)
class FinetunePlan:
    """Trained parameters, memory and steps of a planned run."""

    trainable_parameters: int
    total_parameters: int  # including those that the method adds
    percentage: float
    step: StepShape
    memory: MemoryEstimate
    total_steps: int | None  # None: given in epochs, and the demonstrations are not known
    epochs: Epochs | None  # None without demonstrations


def plan(config: PlannedRun) -> FinetunePlan:
    """Return the plan of `config`, whose base is a checkpoint or a name in `ARCHITECTURES`.

    Raises `UnknownNameError` for a base that is neither, and `CheckpointError` if its configuration is unreadable.
    """
    with open_sources(config.demos, config.source_options()) as sources:
        network = planned_shape(config, _checkpoint_folder(config.base), network_config(config.base), sources)
        epochs = _plan_epochs(config, network, sources) if sources else None
    options = config.optimiser
    step = StepShape(options.batch_size, config.precision, config.gradient_checkpointing)
    trained, memory = estimate_memory(network, config, step)
    known = epochs is not None or options.epochs is None
    return FinetunePlan(
        trainable_parameters=trained.trainable_parameters,
        total_parameters=trained.total_parameters,
        percentage=trained.percentage,
        step=step,
        memory=memory,
        total_steps=options.total_steps(epochs.steps_per_epoch if epochs else 1) if known else None,
        epochs=epochs,
    )


def network_config(base: str) -> OpenVLAConfig:
    """Return the configuration of `base`: from the `config.json` of a checkpoint, or from `ARCHITECTURES`."""
    try:
        folder = find_base(base)
    except UnknownNameError as error:
        if base not in ARCHITECTURES:
            raise UnknownNameError("base checkpoint or architecture", base, ARCHITECTURES) from error
        return ARCHITECTURES[base]()
    try:
        return config_from_json(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CheckpointError(folder, f"{CONFIG_FILE} is missing") from None
    except (json.JSONDecodeError, ModelConfigError) as error:
        raise CheckpointError(folder, f"{CONFIG_FILE}: {error}") from error


def _checkpoint_folder(base: str) -> Path | None:
    """Return the folder of a checkpoint; None for an architecture."""
    try:
        return find_base(base)
    except UnknownNameError:
        return None


def _plan_epochs(config: FinetuneConfig, network: NetworkShape, sources: Sequence[DemonstrationSource]) -> Epochs:
    frames = len(load_subset(sources, frame_selection(config, network), "train"))
    options = config.optimiser
    steps_per_epoch = math.ceil(frames / (options.batch_size * options.accumulate))
    return Epochs(frames, steps_per_epoch, options.total_steps(steps_per_epoch) / max(1, steps_per_epoch))
