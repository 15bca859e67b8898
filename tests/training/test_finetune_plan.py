"""Plans agree with what training really does, and need neither weights nor demonstrations."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.models.small import inputs, small_checkpoint, small_config
from tests.training.demonstrations import finetune_config
from vla_bench.cli import app
from vla_bench.core.errors import CheckpointError, UnknownNameError
from vla_bench.models.openvla.config import openvla_7b_config
from vla_bench.training.batches import Batch
from vla_bench.training.config import OptimizerConfig
from vla_bench.training.finetune import finetune
from vla_bench.training.memory import LiveBytes, MemoryEstimate, StepShape, estimate_memory
from vla_bench.training.methods import METHODS, MethodOptions
from vla_bench.training.methods.method import apply_method
from vla_bench.training.objectives import objective_for
from vla_bench.training.plan import PlannedRun, network_config, plan

FLOAT32 = StepShape(8, "float32", gradient_checkpointing=False)


def estimated(method: str = "lora", step: StepShape = FLOAT32) -> MemoryEstimate:
    return estimate_memory(small_config(), MethodOptions(method=method, rank=4), step)[1]


@pytest.mark.parametrize("method", METHODS)
def test_a_plan_counts_what_training_trains(method: str) -> None:
    planned, memory = estimate_memory(small_config(), MethodOptions(method=method, rank=4), FLOAT32)
    model = small_checkpoint().model
    trained = apply_method(model, MethodOptions(method=method, rank=4))
    assert planned.trainable_parameters == trained.trainable_parameters
    assert planned.total_parameters == trained.total_parameters
    assert memory.gradients == 4 * trained.trainable_parameters
    assert memory.optimizer == 8 * trained.trainable_parameters


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_weighed_as_they_are_held(method: str) -> None:
    model = small_checkpoint().model
    apply_method(model, MethodOptions(method=method, rank=4))
    tensors = {id(value): value for value in (*model.parameters(), *model.buffers())}.values()
    held = sum(value.numel() * value.element_size() for value in tensors)
    scales = 0.05 * held if METHODS[method].quantization else 0  # those of the blocks, which are no buffers
    assert estimated(method).weights == pytest.approx(held, rel=0.01, abs=scales)


@pytest.mark.parametrize("decoding", ["parallel", "autoregressive"])
def test_activations_are_those_that_a_real_pass_makes(decoding: str) -> None:
    checkpoint = small_checkpoint(decoding)  # type: ignore[arg-type]
    given = inputs(checkpoint, 8)
    config = replace(checkpoint.config, prompt_length=given["input_ids"].shape[1])
    answer = torch.full((8, config.num_slots), config.vocab_end - 5)
    batch = Batch(**given, answer=answer)
    objective = objective_for(checkpoint.model, OptimizerConfig())
    with LiveBytes() as live:
        loss = objective.loss(objective.answer(checkpoint.model.train(), batch), batch)
    del loss
    foretold = estimate_memory(config, MethodOptions(method="full"), FLOAT32)[1].activations
    assert foretold == pytest.approx(live.highest, rel=0.02)


def test_live_bytes_follow_what_is_made_and_freed() -> None:
    with LiveBytes() as live:
        first = torch.zeros(1000)
        second = first + 1
        view = second[:10]
        assert (live.now, live.highest) == (8000, 8000)
        del first
        assert live.now == 4000
        second.add_(1)
        assert live.now == 4000  # in place
        del second, view
    assert (live.now, live.highest) == (0, 8000)


def test_activations_grow_with_the_batch_and_shrink_with_checkpointing() -> None:
    one = estimated().activations
    two = estimated(step=replace(FLOAT32, batch_size=16)).activations
    assert two == pytest.approx(2 * one, rel=0.05)
    assert estimated(step=replace(FLOAT32, gradient_checkpointing=True)).activations < 0.8 * one


def test_the_peak_is_no_less_than_what_is_held_at_once() -> None:
    for method in METHODS:
        memory = estimated(method)
        steady = memory.weights + memory.optimizer
        assert memory.peak >= steady + max(memory.gradients, memory.activations)
        assert memory.peak <= steady + memory.gradients + 2 * memory.activations


@pytest.mark.parametrize(
    ("method", "trained", "peak"),
    [
        ("full", 100.0, 60.5),
        ("lora", 1.46, 19.0),
        pytest.param("adapter", 1.76, 18.2, marks=pytest.mark.slow),
        pytest.param("qlora", 1.46, 8.3, marks=pytest.mark.slow),
    ],
)
def test_the_published_size_is_planned_without_weights(method: str, trained: float, peak: float) -> None:
    step = StepShape(1, "bf16-weights", gradient_checkpointing=False)
    counted, memory = estimate_memory(openvla_7b_config(), MethodOptions(method=method), step)
    assert counted.percentage == pytest.approx(trained, abs=0.01)
    assert memory.peak / 1e9 == pytest.approx(peak, rel=0.03)


def test_the_plan_of_a_run_has_its_steps(tmp_path: Path) -> None:
    config = finetune_config(tmp_path)
    planned = plan(PlannedRun.model_validate(config.model_dump()))
    report = finetune(config)
    assert planned.trainable_parameters == report.trained_parameters
    assert planned.total_parameters == report.total_parameters
    assert planned.total_steps == report.steps
    assert planned.epochs is not None
    assert planned.epochs.frames == report.frames
    assert planned.epochs.steps_per_epoch == math.ceil(report.frames / 8)
    assert planned.epochs.epochs == pytest.approx(6 / planned.epochs.steps_per_epoch)


def test_epochs_of_unknown_demonstrations_are_no_steps() -> None:
    planned = plan(PlannedRun.model_validate({"optimiser": {"epochs": 3}}))
    assert planned.total_steps is None
    assert planned.epochs is None


def test_a_base_that_is_neither_checkpoint_nor_architecture_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"architecture named 'openvla-8b'\. Did you mean 'openvla-7b'"):
        network_config("openvla-8b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        network_config(str(tmp_path / "empty"))
    (tmp_path / "empty" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(CheckpointError, match=r"model_type is 'llama'\. Expected 'openvla'"):
        network_config(str(tmp_path / "empty"))


def test_the_command_prints_a_plan_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["finetune", "--plan", "--base", "openvla-7b", "--method", "adapter", "--precision", "bf16-weights"]
    result = CliRunner().invoke(app, [*command, "--batch-size", "1"])
    assert result.exit_code == 0, result.output
    for text in ("7,632,653,984", "134,496,256 (1.76 %)", "15.53 GB", "peak memory", "600"):
        assert text in result.output
    assert list(tmp_path.iterdir()) == []
