"""The quickstart, whole and very small: every stage runs, what is finished is not done again, mistakes are named."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vla_bench.core.errors import ConfigurationError
from vla_bench.core.files import data_folder
from vla_bench.quickstart import Recipe, read_recipe, run_quickstart
from vla_bench.tasks import tasks_of

TASK = "red_cube_on_plate"
PROPRIOCEPTION = (
    "end_effector_position",
    "end_effector_axis_angle",
    "gripper_position",
    "joint_positions",
    "joint_velocities",
)
CARD = """
kind = "openvla"
description = "made by a test"
checkpoint = "base"
cameras = ["agentview", "wrist"]
image_size = 96
proprioception = ["end_effector_position", "end_effector_axis_angle", "gripper_position", "joint_positions", "joint_velocities"]
chunk = { execution = "open_loop", steps = 4 }
"""  # noqa: E501


class Recorded:
    """A display that records its output."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.last: dict[str, tuple[int, int]] = {}

    def say(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[int, int, str], None]]:
        def update(done: int, total: int, text: str = "") -> None:
            self.last[title] = (done, total)

        yield update


def _write_base(folder: Path) -> None:
    """Write an untrained openvla-nano."""
    import torch

    from vla_bench.models.normalization import DatasetStatistics, VectorStatistics
    from vla_bench.models.openvla.checkpoint import Checkpoint, save_checkpoint
    from vla_bench.models.openvla.config import openvla_nano_config
    from vla_bench.models.openvla.network import OpenVLA
    from vla_bench.models.openvla.processor import Processor
    from vla_bench.models.openvla.tokenization import train_nano_tokenizer

    torch.manual_seed(0)
    config = openvla_nano_config(proprioception_fields=PROPRIOCEPTION)
    tokenizer = train_nano_tokenizer([task.instruction for task in tasks_of("tabletop_object")])
    generator = np.random.default_rng(0)
    action = VectorStatistics.of(generator.uniform(-1, 1, (50, 7)))
    statistics = DatasetStatistics(action, VectorStatistics.of(generator.normal(size=(50, 22))))
    save_checkpoint(folder, Checkpoint(OpenVLA(config), Processor(config, tokenizer), {"test": statistics}))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    _write_base(tmp_path / "base")
    (tmp_path / "tuned.toml").write_text(CARD)
    content = {
        "suite": "tabletop_object",
        "tasks": [TASK],
        "demonstrations": {"episodes": 3, "image_size": 96, "expected_s": 1},
        "finetuning": {
            "expected_s": 1,
            "config": {"base": str(tmp_path / "base"), "optimiser": {"steps": 4, "batch_size": 4, "warmup_steps": 1}},
        },
        "evaluation": {
            "policies": [str(tmp_path / "tuned.toml"), "expert"],
            "tuned": str(tmp_path / "tuned.toml"),
            "episodes": 1,
            "videos": 1,
            "expected_s": 1,
        },
    }
    return Recipe.model_validate(content)


def test_every_stage_runs_and_is_not_run_again(recipe: Recipe, tmp_path: Path) -> None:
    display, output = Recorded(), tmp_path / "quickstart"
    report = run_quickstart(recipe, output, 1, display)
    table = pd.read_csv(report.leaderboard.csv)
    assert set(table["policy"]) == {"tuned", "expert"}
    assert table.set_index(["policy", "task"])["success_rate"]["expert", TASK] == 1.0
    assert all(path.is_file() for path in (*report.leaderboard.paths, report.contact_sheet, *report.videos))
    assert len(report.videos) == 2
    assert display.last == {
        "demonstrations": (3, 3),
        "lora": (4, 4),
        **dict.fromkeys(("tuned", "expert"), (1, 1)),
    }
    assert [line[1:4] for line in display.lines if "about" in line][1:] == ["1/4", "2/4", "3/4", "4/4"]
    assert sum("took" in line for line in display.lines) == 4

    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")} | {
        output / "demos.hdf5": (output / "demos.hdf5").stat().st_mtime_ns
    }
    again = Recorded()
    run_quickstart(recipe, output, 1, again)
    assert "lora" not in again.last  # no step was trained
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_shipped_recipe_names_tasks_and_policies_that_are_there() -> None:
    recipe = read_recipe()
    assert set(recipe.tasks) <= {task.name for task in tasks_of(recipe.suite)}
    assert {f"{name}.toml" for name in recipe.evaluation.policies} <= {
        path.name for path in data_folder("policies").iterdir()
    }
    assert recipe.evaluation.tuned in recipe.evaluation.policies


def test_the_shipped_recipe_fits_into_a_quarter_of_an_hour() -> None:
    recipe = read_recipe()
    stages = (recipe.demonstrations, recipe.finetuning, recipe.evaluation)
    assert sum(stage.expected_s for stage in stages) <= 15 * 60


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("episodes = 40", "episode = 40", "demonstrations.episode"),
        ("seed = 0", "seed = -1", "seed"),
        ('method = "lora"', 'method = "loar"', "finetuning.config.method"),
        ("[evaluation]", "[evaluation", "(whole file)"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(old: str, new: str, field: str, tmp_path: Path) -> None:
    text = (data_folder("baselines") / "openvla-nano" / "quickstart.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)
    assert f"`{field}`" in str(caught.value)
