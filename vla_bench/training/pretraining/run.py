"""Pretrain from a recipe (`vla-bench pretrain`): generate missing data, load it, train, and write a base checkpoint."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from vla_bench.core.configuration import read_toml, validated
from vla_bench.core.errors import OutputMismatchError
from vla_bench.core.types import CONTROL_HZ
from vla_bench.demos.collection import collect
from vla_bench.demos.disturbances import NoiseOptions
from vla_bench.demos.grounding_scenes import (
    SceneOptions,
    instructions_of,
    make_scenes,
    positions_in_demonstrations,
    read_scenes,
)
from vla_bench.demos.header import ACTION_CONVENTION
from vla_bench.demos.options import CollectOptions
from vla_bench.demos.store import DemonstrationFile
from vla_bench.models.openvla.checkpoint import Checkpoint
from vla_bench.training.dataset import DemonstrationDataset, FrameSelection, load_demonstrations
from vla_bench.training.pretraining.grounding import GroundingData, GroundingFrames
from vla_bench.training.pretraining.questions import Vocabulary
from vla_bench.training.pretraining.trainer import PretrainingProgress, PretrainingRecipe, new_checkpoint, pretrain

_SCENE_FILE = "scenes.hdf5"


class DemonstrationTable(BaseModel):
    """Demonstrations to generate for one suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    suite: str
    tasks: tuple[str, ...]
    episodes: Annotated[int, Field(ge=1)]


class DataRecipe(BaseModel):
    """Data of a pretraining run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    seed: int
    image_size: Annotated[int, Field(ge=32, multiple_of=16)]  # pixels; a multiple of the patch size
    scenes: Annotated[int, Field(ge=1)]
    scene_task: str
    noise: NoiseOptions
    demonstrations: Annotated[tuple[DemonstrationTable, ...], Field(min_length=1)]

    @classmethod
    def read(cls, path: Path) -> "DataRecipe":
        """Read the `[data]` table of a recipe; raise `ConfigurationError` naming file and field."""
        return validated(cls, read_toml(path).get("data", {}), path, within="data")


@dataclass(frozen=True, eq=False)
class PretrainingData:
    """Training data in memory."""

    demonstrations: DemonstrationDataset
    grounding: GroundingData


def make_data(recipe: DataRecipe, folder: Path, workers: int, on_stage: Callable[[str], None]) -> None:
    """Generate the missing data files in `folder`."""
    for table in recipe.demonstrations:
        on_stage(f"demonstrations of {table.suite}")
        collect(
            CollectOptions(
                (table.suite,),
                folder / f"{table.suite}.hdf5",
                tasks=table.tasks,
                episodes=table.episodes,
                seed=recipe.seed,
                workers=workers,
                image_size=recipe.image_size,
                noise=recipe.noise,
            )
        )
    on_stage("still scenes")
    path = folder / _SCENE_FILE
    make_scenes(SceneOptions(recipe.scene_task, recipe.scenes, path, recipe.seed, recipe.image_size, workers))


def read_data(recipe: DataRecipe, training: PretrainingRecipe, folder: Path) -> PretrainingData:
    """Read the data files in `folder` into memory."""
    paths = [folder / f"{table.suite}.hdf5" for table in recipe.demonstrations]
    columns = _proprioception_columns(paths[0], training.proprioception)
    selection = FrameSelection(
        cameras=training.cameras,
        proprioception=training.proprioception,
        proprioception_dim=len(columns),
        image_size=recipe.image_size,
        control_hz=CONTROL_HZ,
        action_convention=ACTION_CONVENTION,
        cache_bytes=sys.maxsize,  # grounding samples random frames, so all images are in memory
    )
    dataset = load_demonstrations(paths, selection, "train")
    scenes = read_scenes(folder / _SCENE_FILE)
    positions = np.concatenate([position for path in paths for position in _train_positions(path, scenes.items)])
    gripper = dataset.proprioception[:, :3]  # the end-effector position is the first field of a recipe
    sources = (
        GroundingFrames(
            scenes.images,
            scenes.proprioception[:, columns],
            scenes.proprioception[:, :3],
            scenes.positions_world,
            scenes.segments,
        ),
        GroundingFrames(dataset.images, dataset.proprioception, gripper, positions),
    )
    nouns, colours = (
        dict(zip(scenes.items, scenes.nouns, strict=True)),
        dict(zip(scenes.items, scenes.colours, strict=True)),
    )
    return PretrainingData(dataset, GroundingData(scenes.items, nouns, colours, sources))


def _train_positions(path: Path, items: tuple[str, ...]) -> list[NDArray[np.float32]]:
    positions = positions_in_demonstrations(path, items)
    with DemonstrationFile(path) as file:
        return [positions[name] for name in file.mask("train")]


def _proprioception_columns(path: Path, names: tuple[str, ...]) -> NDArray[np.int64]:
    with DemonstrationFile(path) as file:
        file.require(proprioception=names)
        fields = file.header.proprioception_fields
    starts = np.cumsum([0, *(field.size for field in fields)])
    spans = {field.name: np.arange(start, start + field.size) for field, start in zip(fields, starts, strict=False)}
    return np.concatenate([spans[name] for name in names])


def pretrain_from_recipe(
    path: Path,
    data_folder: Path,
    output: Path,
    workers: int,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_progress: Callable[[PretrainingProgress], None] = lambda progress: None,
) -> Checkpoint:
    """Run the recipe at `path`, reusing data in `data_folder` and resuming an interrupted training."""
    data_recipe, recipe = DataRecipe.read(path), PretrainingRecipe.read(path)
    state = output.with_name(f".{output.name}.state.pt")
    if output.exists() and not state.is_file():
        raise OutputMismatchError(output, ["it is not an unfinished output of `vla-bench pretrain`"])
    make_data(data_recipe, data_folder, workers, on_stage)
    on_stage("reading")
    data = read_data(data_recipe, recipe, data_folder)
    words = Vocabulary(data.grounding.nouns, data.grounding.colours, {})
    untrained = new_checkpoint(
        recipe,
        instructions_of(table.suite for table in data_recipe.demonstrations),
        words,
        data.demonstrations.proprioception.shape[1],
        data_recipe.image_size,
    )
    on_stage("training")
    return pretrain(recipe, untrained, data.demonstrations, data.grounding, output, on_progress)
