"""One optimiser step, seen closely."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.models.small import small_checkpoint
from tests.training.demonstrations import SELECTION, demonstration_file, finetune_config
from vla_bench.training.augmentation.pipeline import Pipeline
from vla_bench.training.batches import BatchMaker
from vla_bench.training.config import AugmentationConfig, OptimizerConfig
from vla_bench.training.dataset import dataset_statistics, load_demonstrations
from vla_bench.training.methods.method import apply_method
from vla_bench.training.objectives import objective_for
from vla_bench.training.precision import cast_weights, enable_activation_checkpointing
from vla_bench.training.trainer import Trainer, parameter_groups

PLAIN = AugmentationConfig(shift_pixels=0, brightness=0)


def trainer(folder, *, decoding="parallel", checkpointing=False, **options) -> tuple[Trainer, torch.nn.Module]:
    """Return a trainer of a small network, and the network."""
    changes = {"method": "full", "augmentation": PLAIN, **options}
    config = finetune_config(folder, decoding=decoding, **changes)
    checkpoint = small_checkpoint(decoding)
    cast_weights(checkpoint.model, config.precision)
    torch.manual_seed(0)
    apply_method(checkpoint.model, config)
    if checkpointing:
        enable_activation_checkpointing(checkpoint.model)
    dataset = load_demonstrations([folder / "demos.hdf5"], SELECTION, "train")
    pipeline = Pipeline.of(config.augmentation)
    maker = BatchMaker(dataset, checkpoint.processor, dataset_statistics(dataset), pipeline)
    objective = objective_for(checkpoint.model, config.optimiser)
    made = Trainer(checkpoint.model, maker, objective, config, lambda: None, lambda is_best: None)
    return made, checkpoint.model.train()


def gradients(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.grad.flatten() for value in model.parameters() if value.grad is not None])


def optimiser(**options) -> OptimizerConfig:
    return OptimizerConfig(**{"epochs": 2, "learning_rate": 1e-2, **options})


@pytest.mark.parametrize("step", [0, 1])
def test_accumulated_gradients_are_those_of_one_big_batch(tmp_path, step):
    """32 frames: a group of 20 in batches of 5, then one of 12, whose last batch has 2."""
    parts, model = trainer(tmp_path, optimiser=optimiser(batch_size=5, accumulate=4))
    loss = parts.accumulate(step).loss
    accumulated = gradients(model)
    whole, other = trainer(tmp_path, optimiser=optimiser(batch_size=20))
    assert whole.accumulate(step).loss == pytest.approx(loss, rel=1e-5)
    assert accumulated.norm() > 0.1
    assert torch.allclose(accumulated, gradients(other), atol=1e-5)
    assert parts.total_steps == whole.total_steps == 4


def test_weighing_batches_alike_would_give_another_gradient(tmp_path):
    """So the test above can fail."""
    parts, model = trainer(tmp_path, optimiser=optimiser(batch_size=5, accumulate=4))
    share = parts._order.micro_batches(1, 0)
    assert [len(part.frames) for part in share] == [5, 5, 2]
    parts.accumulate(1)
    right = gradients(model)
    wrong = [replace(part, weight=1 / 3) for part in share]
    parts._order = _Fixed(parts._order, wrong)
    parts.accumulate(1)
    assert not torch.allclose(right, gradients(model), atol=1e-5)


class _Fixed:
    """An order whose shares were changed."""

    def __init__(self, order, shares):
        self._order, self._shares = order, shares

    def micro_batches(self, step, process):
        return self._shares

    def __getattr__(self, name):
        return getattr(self._order, name)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("decoding", ["parallel", "autoregressive"])
def test_gradient_checkpointing_changes_no_gradient(tmp_path, method, decoding):
    """With dropout too: recomputed activations use the same dropout mask."""
    options = {"method": method, "decoding": decoding, "dropout": 0.2, "optimiser": optimiser(batch_size=6)}
    found = []
    for checkpointing in (False, True):
        made, model = trainer(tmp_path, checkpointing=checkpointing, **options)
        layers = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
        assert bool(layers) == checkpointing
        torch.manual_seed(5)
        made.accumulate(0)
        found.append(gradients(model))
    assert found[0].norm() > 0.1
    assert torch.allclose(found[0], found[1], atol=1e-6)


def test_gradient_checkpointing_keeps_fewer_activations(tmp_path):
    kept = []
    for checkpointing in (False, True):
        made, _ = trainer(tmp_path, checkpointing=checkpointing, optimiser=optimiser(batch_size=6))
        numbers = 0

        def pack(value):
            nonlocal numbers
            numbers += value.numel()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            made.accumulate(0)
        kept.append(numbers)
    assert kept[1] < 0.7 * kept[0]


def test_bf16_computes_nearly_the_same_and_holds_weights_as_told(tmp_path):
    found = {}
    for precision in ("float32", "bf16", "bf16-weights"):
        made, model = trainer(tmp_path, precision=precision, optimiser=optimiser(batch_size=6))
        made.train_step(0)
        found[precision] = gradients(model).float()
        wanted = torch.bfloat16 if precision == "bf16-weights" else torch.float32
        assert {value.dtype for value in model.parameters()} == {wanted}
        rotary = model.language_model.model.rotary_emb.inv_freq
        assert rotary.dtype == torch.float32
    for precision in ("bf16", "bf16-weights"):
        likeness = torch.nn.functional.cosine_similarity(found["float32"], found[precision], dim=0)
        assert 0.97 < likeness < 0.999999, precision


def test_adapters_of_a_bf16_base_are_float32(tmp_path):
    _, model = trainer(tmp_path, method="lora", precision="bf16-weights")
    kinds = {(value.requires_grad, value.dtype) for value in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_biases_and_norms_do_not_decay(tmp_path):
    _, model = trainer(tmp_path)
    decays, stays = parameter_groups(model.parameters(), 0.1)
    assert (decays["weight_decay"], stays["weight_decay"]) == (0.1, 0.0)
    names = {id(value): name for name, value in model.named_parameters()}
    assert all("norm" not in names[id(value)] and "bias" not in names[id(value)] for value in decays["params"])
    assert sum(map(len, (decays["params"], stays["params"]))) == len(names)
    assert [group["weight_decay"] for group in parameter_groups(decays["params"], 0.1)] == [0.1]


def test_the_gradient_is_clipped_and_its_own_norm_reported(tmp_path):
    clipped, model = trainer(tmp_path, optimiser=optimiser(batch_size=6, gradient_clip=0.05))
    norm = clipped.train_step(0).gradient_norm
    assert norm > 0.1
    assert gradients(model).norm() == pytest.approx(0.05, rel=1e-3)
    free, other = trainer(tmp_path, optimiser=optimiser(batch_size=6, gradient_clip=0))
    assert free.train_step(0).gradient_norm == pytest.approx(norm, rel=1e-5)
    assert gradients(other).norm() == pytest.approx(norm, rel=1e-4)


def test_steps_that_are_logged_measure_actions_and_tokens(tmp_path):
    made, _ = trainer(tmp_path, log_every=2, optimiser=optimiser(batch_size=6))
    silent, told = made.train_step(0), made.train_step(1)
    assert np.isnan(silent.action_l1)
    assert np.isnan(silent.token_accuracy)
    assert 0 < told.action_l1 < 2
    assert 0 <= told.token_accuracy <= 1


def test_the_file_of_demonstrations_is_as_long_as_the_tests_say(tmp_path):
    assert len(load_demonstrations([demonstration_file(tmp_path)], SELECTION, "train")) == 32
