"""The whole of `vla-bench pretrain`: make the data that a recipe names, train on it, write a base checkpoint."""

from collections.abc import Callable
from pathlib import Path

from vla_bench.core.errors import OutputMismatchError
from vla_bench.demos.instructions import instructions_of
from vla_bench.models.openvla.checkpoint import Checkpoint
from vla_bench.training.pretraining import PretrainingProgress, Recipe, new_checkpoint, pretrain
from vla_bench.training.pretraining_data import DataRecipe, make_data, read_data
from vla_bench.training.questions import Vocabulary


def pretrain_from_recipe(
    path: Path,
    data_folder: Path,
    output: Path,
    workers: int,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_progress: Callable[[PretrainingProgress], None] = lambda progress: None,
) -> Checkpoint:
    """Run the recipe at `path`. Data that `data_folder` holds already is used; an interrupted training goes on."""
    data_recipe, recipe = DataRecipe.read(path), Recipe.read(path)
    state = output.with_name(f".{output.name}.state.pt")
    if output.exists() and not state.is_file():
        raise OutputMismatchError(output, ["it was not begun by `vla-bench pretrain` here"])
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
