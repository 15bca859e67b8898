"""Small pretraining from a recipe: data, phases and resumption."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vla_bench.core.errors import CheckpointError, ConfigurationError, DemonstrationFileError, OutputMismatchError
from vla_bench.core.files import data_folder
from vla_bench.demos import DemonstrationFile
from vla_bench.models.openvla.checkpoint import Checkpoint, load_checkpoint
from vla_bench.models.openvla.tokenization import question_prompt
from vla_bench.tasks import get_task
from vla_bench.training.pretraining.grounding import AlignmentLoss
from vla_bench.training.pretraining.questions import Vocabulary, all_questions
from vla_bench.training.pretraining.run import DataRecipe, PretrainingData, make_data, pretrain_from_recipe, read_data
from vla_bench.training.pretraining.trainer import PretrainingProgress, PretrainingRecipe, new_checkpoint, pretrain

_SHIPPED = data_folder("baselines") / "openvla-nano" / "recipe.toml"
_RECIPE = """
[data]
seed = 2
image_size = 32
scenes = 12
scene_task = "tabletop_object.red_cube_in_basket"

[data.noise]
translation = 0.1

[[data.demonstrations]]
suite = "tabletop_object"
tasks = ["red_cube_in_basket"]
episodes = 2

[[data.demonstrations]]
suite = "tabletop_pick"
tasks = ["pick_blue_can"]
episodes = 2

[training]
seed = 0
proprioception = ["end_effector_position", "gripper_position"]
chunk_size = 2
warmup_steps = 2
keep_every = 2

[[training.phase]]
name = "alignment"
steps = 1
alignment_rows = 4
learning_rate = 2.0e-3
final_learning_rate = 1.0e-3

[[training.phase]]
name = "grounding"
steps = 2
grounding_rows = 4
alignment_rows = 2
referring_weight = 10.0
learning_rate = 1.5e-3
final_learning_rate = 1.0e-3

[[training.phase]]
name = "imitation"
steps = 3
imitation_rows = 4
grounding_rows = 2
learning_rate = 1.2e-3
final_learning_rate = 2.0e-5
"""


class InterruptionError(Exception):
    """Somebody pulls the plug."""


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(_RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def recipe(recipe_file: Path) -> PretrainingRecipe:
    return PretrainingRecipe.read(recipe_file)


@pytest.fixture(scope="module")
def folder(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_data(DataRecipe.read(recipe_file), folder, 1, lambda stage: None)
    return folder


@pytest.fixture(scope="module")
def data(recipe_file: Path, recipe: PretrainingRecipe, folder: Path) -> PretrainingData:
    return read_data(DataRecipe.read(recipe_file), recipe, folder)


def _untrained(recipe: PretrainingRecipe, data: PretrainingData) -> Checkpoint:
    words = Vocabulary(data.grounding.nouns, data.grounding.colours, {})
    return new_checkpoint(recipe, ("put the red cube in the basket", "pick up the blue can"), words, 5, 32)


def test_the_shipped_recipe_is_whole_and_holds_tasks_out() -> None:
    recipe, data = PretrainingRecipe.read(_SHIPPED), DataRecipe.read(_SHIPPED)
    assert [phase.name for phase in recipe.phase] == ["alignment", "grounding", "imitation"]
    shown = [get_task(f"{table.suite}.{name}") for table in data.demonstrations for name in table.tasks]
    assert get_task(data.scene_task).objects
    assert {goal.name for task in shown for goal in task.goal} == {"in", "released", "lifted"}  # none is `on`


@pytest.mark.parametrize(
    ("right", "wrong", "field", "message"),
    [
        ("keep_every = 2", "keep_evry = 2", "training.keep_evry", "Expected 'keep_every'."),
        ("steps = 1\n", "steps = 0\n", "training.phase.0.steps", "greater than or equal to 1"),
        ("alignment_rows = 4\n", "", "training.phase.0", "no samples; expected imitation_rows, grounding_rows or"),
        (
            '["end_effector_position", "gripper',
            '["gripper',
            "training.proprioception",
            "expected end_effector_position, because",
        ),
        ("warmup_steps = 2", "warmup_steps = 0", "training.warmup_steps", "greater than or equal to 1"),
    ],
)
def test_a_mistake_in_the_training_names_file_and_field(
    tmp_path: Path, right: str, wrong: str, field: str, message: str
) -> None:
    _check_mistake(PretrainingRecipe, tmp_path, right, wrong, field, message)


@pytest.mark.parametrize(
    ("right", "wrong", "field", "message"),
    [
        ("image_size = 32", "image_size = 40", "data.image_size", "multiple of 16"),
        ("scenes = 12", "scene = 12", "data.scene", "Expected 'scenes'."),
        ("episodes = 2\n\n[t", "\n[t", "data.demonstrations.1.episodes", "is missing."),
        ("translation = 0.1", "translaton = 0.1", "data.noise.translaton", ""),
        ("[data]", "[dat]", "data.seed", "is missing."),
    ],
)
def test_a_mistake_in_the_data_names_file_and_field(
    tmp_path: Path, right: str, wrong: str, field: str, message: str
) -> None:
    _check_mistake(DataRecipe, tmp_path, right, wrong, field, message)


def _check_mistake(
    kind: type[PretrainingRecipe] | type[DataRecipe], folder: Path, right: str, wrong: str, field: str, message: str
) -> None:
    path = folder / "recipe.toml"
    assert right in _RECIPE
    path.write_text(_RECIPE.replace(right, wrong, 1), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        kind.read(path)
    assert str(caught.value).startswith(f"{path}: field `{field}`: ")
    assert message in str(caught.value)


def test_places_belong_to_their_frames(data: PretrainingData, folder: Path) -> None:
    """In the phases in which the expert carries the object, the object position is that of the gripper."""
    _, frames = data.grounding.sources
    dataset = data.demonstrations
    assert len(frames.images) == len(frames.positions_world) == len(dataset)
    assert dataset.instructions == ("put the red cube in the basket", "pick up the blue can")
    phases: list[str] = []
    for suite in ("tabletop_object", "tabletop_pick"):
        with DemonstrationFile(folder / f"{suite}.hdf5") as file:
            phases += [phase for name in file.mask("train") for phase in file.read(name, cameras=()).phases]
    items = [data.grounding.items.index(name) for name in ("red_cube", "blue_can")]
    carried = frames.positions_world[np.arange(len(dataset)), np.array(items)[dataset.instruction_index]]
    distance_m = np.linalg.norm(carried - frames.gripper_world, axis=1)
    held = np.isin(phases, ("place", "lift"))
    assert held.sum() > 20
    assert distance_m[held].max() < 0.035
    assert distance_m[np.array(phases) == "reach"].mean() > 0.05


def test_stills_come_first_and_know_their_pixels(data: PretrainingData) -> None:
    stills, frames = data.grounding.sources
    assert stills.images.shape == (12, 2, 32, 32, 3)
    assert stills.segments is not None
    assert frames.segments is None
    assert data.grounding.alignment().nouns == tuple(data.grounding.nouns[item] for item in data.grounding.items)
    assert np.array_equal(stills.gripper_world, stills.proprioception[:, :3])


def test_data_of_another_recipe_is_not_used(recipe_file: Path, folder: Path) -> None:
    recipe = DataRecipe.read(recipe_file).model_copy(update={"seed": 3})
    with pytest.raises(OutputMismatchError, match="seed"):
        make_data(recipe, folder, 1, lambda stage: None)


def test_a_field_that_was_not_recorded_is_told(recipe_file: Path, recipe: PretrainingRecipe, folder: Path) -> None:
    other = recipe.model_copy(update={"proprioception": ("end_effector_position", "toes")})
    with pytest.raises(DemonstrationFileError, match="no proprioception field toes; it has end_effector_position, "):
        read_data(DataRecipe.read(recipe_file), other, folder)


def test_every_question_fits_the_prompt_of_the_network(recipe: PretrainingRecipe, data: PretrainingData) -> None:
    checkpoint = _untrained(recipe, data)
    texts = all_questions(Vocabulary(data.grounding.nouns, data.grounding.colours, {}))
    ids, _ = checkpoint.processor.prompts([question_prompt(text) for text in texts])
    assert ids.shape[1] == checkpoint.model.config.prompt_length


def test_alignment_learns_what_patches_show(recipe: PretrainingRecipe, data: PretrainingData) -> None:
    checkpoint = _untrained(recipe, data)
    alignment = AlignmentLoss(data.grounding.alignment(), checkpoint.processor)
    optimiser = torch.optim.Adam(checkpoint.model.parameters(), lr=2e-3)
    losses = []
    for step in range(25):
        loss = alignment.loss(checkpoint.model, 12, np.random.default_rng(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])


def _run(
    recipe: PretrainingRecipe, data: PretrainingData, output: Path, stop_after: int = 99
) -> tuple[Checkpoint, list[int]]:
    steps: list[int] = []

    def watch(progress: PretrainingProgress) -> None:
        steps.append(progress.step)
        if progress.step >= stop_after:
            raise InterruptionError

    return pretrain(recipe, _untrained(recipe, data), data.demonstrations, data.grounding, output, watch), steps


def _weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Return the weights, the class token with its place added: published files hold only that sum."""
    weights = dict(checkpoint.model.state_dict())
    embeddings = "vision_backbone.featurizer.embeddings."
    places = weights.pop(f"{embeddings}position_embeddings")
    weights[f"{embeddings}cls_token"] = weights[f"{embeddings}cls_token"] + places[:, :1]
    return {**weights, "places of patches": places[:, 1:]}


def _assert_same(first: Checkpoint, second: Checkpoint) -> None:
    ours, theirs = _weights(first), _weights(second)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.fixture(scope="module")
def finished(
    recipe: PretrainingRecipe, data: PretrainingData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Checkpoint]:
    output = tmp_path_factory.mktemp("finished") / "base"
    checkpoint, steps = _run(recipe, data, output)
    assert steps == [1, 2, 3, 4, 5, 6]
    return output, checkpoint


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(
    recipe: PretrainingRecipe, data: PretrainingData, finished: tuple[Path, Checkpoint], tmp_path: Path
) -> None:
    output = tmp_path / "base"
    with pytest.raises(InterruptionError):
        _run(recipe, data, output, stop_after=3)  # kept after step 2
    assert load_checkpoint(output).statistics  # what is there already serves
    resumed, steps = _run(recipe, data, output)
    assert steps == [3, 4, 5, 6]
    _assert_same(resumed, finished[1])
    _assert_same(load_checkpoint(output), finished[1])


def test_what_is_written_is_what_was_trained(
    recipe: PretrainingRecipe, data: PretrainingData, finished: tuple[Path, Checkpoint]
) -> None:
    output, trained = finished
    loaded = load_checkpoint(output)
    _assert_same(loaded, trained)
    assert loaded.model.config.proprioception_fields == recipe.proprioception
    assert loaded.model.config.image_size == 32
    assert loaded.statistics["pretraining"].num_transitions == len(data.demonstrations)
    before, after = _weights(_untrained(recipe, data)), _weights(loaded)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(changed) > 0.9 * len(before)


def test_a_finished_run_trains_no_further(
    recipe: PretrainingRecipe, data: PretrainingData, finished: tuple[Path, Checkpoint]
) -> None:
    again, steps = _run(recipe, data, finished[0])
    assert steps == []
    _assert_same(again, finished[1])


def test_another_recipe_does_not_go_on_with_it(
    recipe: PretrainingRecipe, data: PretrainingData, finished: tuple[Path, Checkpoint]
) -> None:
    longer = recipe.phase[-1].model_copy(update={"steps": recipe.phase[-1].steps + 1})
    for changed in ({"seed": 1}, {"phase": (*recipe.phase[:-1], longer)}):
        with pytest.raises(CheckpointError, match="was written for another recipe"):
            _run(recipe.model_copy(update=changed), data, finished[0])


def test_the_whole_from_a_recipe(recipe_file: Path, folder: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    phases: list[str] = []
    output = tmp_path / "base"
    made = pretrain_from_recipe(
        recipe_file, folder, output, 1, stages.append, lambda progress: phases.append(progress.phase)
    )
    assert stages[-2:] == ["reading", "training"]
    assert phases == ["alignment", *["grounding"] * 2, *["imitation"] * 3]
    _assert_same(load_checkpoint(output), made)


def test_a_folder_of_something_else_is_left_alone(recipe_file: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(OutputMismatchError, match="not an unfinished output of `vla-bench pretrain`"):
        pretrain_from_recipe(recipe_file, folder, tmp_path / "base", 1)
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["thesis.tex"]
