"""`vla-bench finetune`: an option for every field, laid over a file; one message for a mistake."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner, Result

from tests.training.demonstrations import finetune_config
from vla_bench.cli import app
from vla_bench.cli.training import FINETUNE_OPTIONS
from vla_bench.training.config import FinetuneConfig


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200", "TERM": "dumb"})


def fields(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield the table and name of every field that a line of text can hold."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from ((name, inner) for _, inner in fields(field.annotation))
        elif name not in ("robot_base_position_world",) and "dict" not in str(field.annotation):
            yield "", name


def merge_over(content: dict, **options: object) -> dict:
    given = {f"{table}__{name}" if table else name: None for table, name in fields(FinetuneConfig)}
    given["augmentation__robot_base_position_world"] = None
    return FINETUNE_OPTIONS.merge_over(content, {**given, **options})


def test_help_shows_an_option_for_every_field() -> None:
    text = invoke("finetune", "--help").output
    singular = {"tasks": "task", "targets": "target", "cameras": "camera"}
    for table, name in fields(FinetuneConfig):
        option = singular.get(name, name).replace("_", "-")
        assert f"--{'augment-' if table == 'augmentation' else ''}{option} " in text, name
    for option in ("--config", "--resume", "--plan"):
        assert option in text


def test_options_override_the_file() -> None:
    content = {"base": "a", "optimiser": {"learning_rate": 1.0, "batch_size": 4}, "cameras": ["wrist"]}
    merged = merge_over(content, optimiser__learning_rate=0.5, cameras=["agentview"], seed=0, tasks=[])
    assert merged["optimiser"] == {"learning_rate": 0.5, "batch_size": 4}
    assert (merged["base"], merged["cameras"], merged["seed"]) == ("a", ["agentview"], 0)
    assert "tasks" not in merged
    assert content["optimiser"]["learning_rate"] == 1.0


def test_an_option_takes_the_place_of_what_it_stands_for() -> None:
    merged = merge_over({"optimiser": {"steps": 600, "warmup_steps": 3}}, optimiser__epochs=2.0)
    assert merged["optimiser"] == {"epochs": 2.0, "warmup_steps": 3}


def test_a_run_from_a_file_with_options_is_resumed_from_its_own_file(tmp_path: Path) -> None:
    config = finetune_config(tmp_path)
    (tmp_path / "mine.toml").write_text(config.to_toml())
    result = invoke("finetune", "--config", tmp_path / "mine.toml", "--steps", "4", "--warmup-share", "0.25")
    assert result.exit_code == 0, result.output
    assert "warmup_share = 0.25" in result.stderr  # printed at the start
    assert "4 steps in" in result.stdout
    assert f"{config.output}/best" in result.stdout
    saved = (config.output / "finetune.toml").read_text()
    assert "steps = 4" in saved
    result = invoke("finetune", "--resume", "--output", config.output)
    assert result.exit_code == 0, result.output
    assert "4 steps in" in result.stdout
    result = invoke("finetune", "--resume", "--output", config.output, "--steps", "5")
    assert result.exit_code == 2
    assert "was made with another configuration: optimiser.steps: 4 then, 5 now. Use" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "vla-bench finetune: field `demos`: is missing"),
        (["--demos", "x.hdf5"], "field `output`: is missing"),
        (["--demos", "x", "-o", "{output}", "--epochs", "1", "--steps", "3"], "steps and epochs are both given"),
        (["--demos", "x", "-o", "{output}", "--tracker", "wandbb"], "No tracker named 'wandbb'. Did you mean 'wandb'"),
        (["--demos", "x", "-o", "{output}", "--resume"], "there is no run to resume"),
        (["-o", "{output}", "--resume"], "there is no run to resume: it holds no finetune.toml"),
        (["--demos", "x", "--demos", "x", "-o", "{output}"], "x is named twice"),
        (["--demos", "x", "-o", "{output}", "--augment-flip", "2"], "`augmentation.flip`: 2.0"),
        (["--config", "{bad}"], "field `optimiser.learn_rate`: is not a known field. Expected 'learning_rate'"),
    ],
)
def test_a_mistake_is_one_message(arguments: list[str], text: str, tmp_path: Path) -> None:
    output, bad = tmp_path / "out", tmp_path / "bad.toml"
    bad.write_text('demos = ["x"]\noutput = "y"\n[optimiser]\nlearn_rate = 3\n')
    result = invoke("finetune", *(argument.format(output=output, bad=bad) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 or "--resume" in arguments  # which prints what it would do
    assert not output.exists()
