"""Properties common to all fine-tuning methods, and those of single methods."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.nn import functional

from tests.models.small import inputs, small_checkpoint
from tests.training.trained import CHANGES, TrainedNetwork, logits, train
from vla_bench.core.errors import MissingExtraError, UnknownNameError
from vla_bench.models.adapters import load_adapter, load_finetuned, merge
from vla_bench.models.openvla.checkpoint import Checkpoint, load_checkpoint
from vla_bench.models.openvla.config import Decoding
from vla_bench.models.openvla.quantization import linear_layer_names, round_linear_layers
from vla_bench.training.methods import METHODS, MethodOptions, TrainableNetwork
from vla_bench.training.methods.builtin import target_modules
from vla_bench.training.methods.method import apply_method

ADAPTERS = [name for name in METHODS if name != "full"]
DECODINGS: tuple[Decoding, ...] = ("parallel", "autoregressive")
_CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # logits in float32, sums in another order
_CLOSE_IN_BFLOAT16 = 0.05  # of the logits' spread, in the mean: the sum of weights is rounded to 8 bits


@pytest.fixture(scope="module", params=[(method, decoding) for method in METHODS for decoding in DECODINGS], ids=str)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    """A trained network of each method and decoding, to be read only."""
    method, decoding = request.param
    return train(tmp_path_factory.mktemp(f"{method}-{decoding}"), method, decoding)


def ways_to_load(network: TrainedNetwork, folder: Path) -> dict[str, Checkpoint]:
    """Return what was trained, loaded in every way that there is."""
    ways = {
        "apart": load_finetuned(network.output, merge=False),
        "folded": load_finetuned(network.output, merge=True),
        "on a given base": load_finetuned(network.output, network.base),
    }
    if network.trained.adapter is not None:
        merge(network.output, folder / "merged")
        ways["merged folder"] = load_finetuned(folder / "merged")
    return ways


def test_merged_unmerged_and_reloaded_networks_act_as_the_one_that_was_trained(
    network: TrainedNetwork, tmp_path: Path
) -> None:
    trained = logits(network.checkpoint)
    for way, checkpoint in ways_to_load(network, tmp_path).items():
        again = logits(checkpoint)
        assert torch.allclose(again, trained, **_CLOSE), way
        assert torch.equal(again.argmax(-1), trained.argmax(-1)), way
        statistics, expected = checkpoint.statistics["made_up"], network.checkpoint.statistics["made_up"]
        assert np.array_equal(statistics.action.q01, expected.action.q01), way
    untouched = logits(load_checkpoint(network.base))
    assert (trained - untouched).abs().mean() > 0.1  # so that the comparison means something


@pytest.mark.parametrize("method", ADAPTERS)
def test_in_bfloat16_merged_and_unmerged_networks_choose_what_was_learnt(method: str, tmp_path: Path) -> None:
    network = train(tmp_path, method, dtype=torch.bfloat16, count=60)
    expected, elsewhere = logits(network.checkpoint, learned=True), logits(network.checkpoint)
    for merged in (False, True):
        base = load_checkpoint(network.base)
        base.model.to(torch.bfloat16)
        again = load_adapter(base, network.output, merge=merged)
        assert torch.equal(logits(again, learned=True).argmax(-1), expected.argmax(-1))
        error = (logits(again) - elsewhere).square().mean().sqrt() / elsewhere.std()
        assert error <= (_CLOSE_IN_BFLOAT16 if merged else 0.0)


@pytest.mark.parametrize("method", ADAPTERS)
def test_before_training_nothing_is_changed(method: str) -> None:
    checkpoint, expected = small_checkpoint(), small_checkpoint()
    apply_method(checkpoint.model, options(method))
    quantization = METHODS[method].quantization
    if quantization is not None:
        round_linear_layers(expected.model, quantization)
    assert torch.allclose(logits(checkpoint), logits(expected), rtol=1e-5, atol=1e-5)


def test_only_what_was_trained_is_saved(network: TrainedNetwork) -> None:
    if network.trained.adapter is None:
        assert (network.output / "model.safetensors").is_file()
        return
    saved = load_file(network.output / "adapter_model.safetensors")
    assert not set(load_checkpoint(network.base).model.state_dict()) & set(saved)
    assert sum(tensor.numel() for tensor in saved.values()) == network.trained.trainable_parameters
    assert not (network.output / "model.safetensors").exists()


def test_parameters_are_counted_as_the_network_has_them(network: TrainedNetwork) -> None:
    model, trained = network.checkpoint.model, network.trained
    assert trained.trainable_parameters == sum(value.numel() for value in model.parameters() if value.requires_grad)
    base = sum(value.numel() for value in load_checkpoint(network.base).model.parameters())
    added = 0 if trained.adapter is None else trained.trainable_parameters
    assert trained.total_parameters == base + added
    assert trained.percentage == pytest.approx(100 * trained.trainable_parameters / trained.total_parameters)


def test_cached_decoding_of_an_adapted_network_gives_what_a_whole_pass_gives(network: TrainedNetwork) -> None:
    checkpoint = network.checkpoint
    if checkpoint.config.decoding == "parallel":
        return  # decodes in one pass
    batch = inputs(checkpoint, 3, seed=7)
    with torch.no_grad():
        cached = checkpoint.model.eval().generate(**batch)
        whole = checkpoint.model.answer_logits(answer=cached.argmax(-1), **batch)
    assert torch.allclose(cached, whole, **_CLOSE)


@pytest.mark.parametrize("method", METHODS)
def test_gradient_checkpointing_changes_no_gradient(method: str) -> None:
    plain, checkpointed = (gradients(method, checkpointing) for checkpointing in (False, True))
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        assert torch.allclose(gradient, checkpointed[name], rtol=1e-4, atol=1e-6), name


def gradients(method: str, checkpointing: bool) -> dict[str, torch.Tensor]:
    """Return the gradients of one step, by parameter."""
    checkpoint = small_checkpoint()
    model = checkpoint.model.train()
    torch.manual_seed(3)
    apply_method(model, options(method, dropout=0.0))
    if checkpointing:
        towers = (model.vision_backbone.featurizer, model.vision_backbone.fused_featurizer, model.language_model)
        for tower in towers:
            tower.activation_checkpointing_enable({"use_reentrant": False})
    answer = torch.full((2, checkpoint.config.num_slots), checkpoint.config.vocab_end - 5)
    scores = model.answer_logits(answer=answer, **inputs(checkpoint, 2))
    functional.cross_entropy(scores.flatten(0, 1), answer.flatten()).backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def options(method: str, **changes: Any) -> MethodOptions:
    """Return a method at the size of small networks."""
    return MethodOptions(method=method, **{"rank": 4, "alpha": 16, **CHANGES.get(method, {}), **changes})


def put(method: str, **changes: Any) -> tuple[TrainableNetwork, list[str]]:
    """Put a method on a small network and return what is trained, and the names of its parameters."""
    model = small_checkpoint().model
    trained = apply_method(model, options(method, **changes))
    return trained, [name for name, value in model.named_parameters() if value.requires_grad]


def test_the_recipe_of_openvla_is_the_default() -> None:
    settings = MethodOptions().low_rank()
    assert (settings.rank, settings.alpha, settings.dropout, settings.targets) == (32, 16, 0.0, "all-linear")
    assert settings.gaussian
    assert MethodOptions(rank=8).low_rank().alpha == 8  # min(rank, 16)
    assert MethodOptions(rank=64).low_rank().alpha == 16


def test_the_plain_recipe_is_one_word_and_what_is_given_goes_before_it() -> None:
    settings = MethodOptions(preset="plain").low_rank()
    assert (settings.rank, settings.alpha, settings.dropout) == (8, 16, 0.05)
    changed = MethodOptions(preset="plain", rank=4, dropout=0.0, targets=("gate_proj",)).low_rank()
    assert (changed.rank, changed.alpha, changed.dropout, changed.targets) == (4, 16, 0.0, ("gate_proj",))


def test_the_plain_recipe_adapts_the_decoder_s_attention_alone() -> None:
    _, names = put("lora", preset="plain")
    assert {name.split(".lora_")[0] for name in names} == {
        f"language_model.model.layers.{layer}.self_attn.{letter}_proj" for layer in (0, 1) for letter in "qkvo"
    }


def test_all_linear_is_every_linear_layer_but_the_output() -> None:
    model = small_checkpoint().model
    expected = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    _, names = put("lora")
    assert {name.split(".lora_")[0] for name in names} == expected - {"language_model.lm_head"}
    assert set(linear_layer_names(model)) == expected - {"language_model.lm_head"}


@pytest.mark.parametrize(
    ("target", "text"),
    [("q_prj", "'q_proj'"), ("language_modle.q_proj", "'language_model.q_proj'")],
)
def test_unknown_targets_are_named_with_the_nearest(target: str, text: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean .*{text}"):
        target_modules(small_checkpoint().model, (target,))


def test_an_unknown_method_is_named_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match=r"No fine-tuning method named .loar.\. Did you mean .lora."):
        MethodOptions(method="loar")


@pytest.mark.parametrize("method", ADAPTERS)
def test_a_part_can_be_trained_whole_besides(method: str, tmp_path: Path) -> None:
    part = "proprioception_projector"
    network = train(tmp_path, method, train_whole=(part,))
    parts = small_checkpoint().model.get_submodule(part).state_dict()
    without = put(method)[0]
    assert network.trained.total_parameters <= without.total_parameters
    assert network.trained.trainable_parameters > without.trainable_parameters
    base, learned = load_checkpoint(network.base), logits(network.checkpoint)
    merge(network.output, tmp_path / "merged")
    for checkpoint in (load_finetuned(network.output, merge=False), load_finetuned(tmp_path / "merged")):
        assert torch.allclose(logits(checkpoint), learned, **_CLOSE)
    folded = load_finetuned(network.output).model.get_submodule(part).state_dict()
    assert folded.keys() == parts.keys()
    for name, value in base.model.get_submodule(part).state_dict().items():
        assert not torch.equal(folded[name], value)
    with pytest.raises(UnknownNameError, match=f"Did you mean '{part}'"):
        put(method, train_whole=("proprioception_projektor",))


def test_dora_trains_lengths_besides() -> None:
    trained, names = put("dora")
    assert any("magnitude" in name for name in names)
    assert trained.trainable_parameters > put("lora")[0].trainable_parameters


def test_bottleneck_adapters_follow_attention_and_mlp_of_each_block() -> None:
    _, names = put("adapter", adapt_vision=False)
    places = {name.rsplit(".adapter.", 1)[0] for name in names}
    assert places == {f"language_model.model.layers.{n}.{part}" for n in (0, 1) for part in ("self_attn", "mlp")}
    _, names = put("adapter", adapt_vision=True)
    parts = {".".join(name.split(".")[:2]) for name in names}
    assert parts == {"language_model.model", "vision_backbone.featurizer", "vision_backbone.fused_featurizer"}


def test_a_base_in_four_bits_goes_on_training_after_a_validation() -> None:
    checkpoint = small_checkpoint()
    apply_method(checkpoint.model, options("qlora"))
    before = logits(checkpoint)  # in evaluation mode, without gradients, where bitsandbytes would repack the weights
    checkpoint.model.train()
    answer = torch.full((2, checkpoint.config.num_slots), checkpoint.config.vocab_end - 5)
    loss = checkpoint.model.answer_logits(answer=answer, **inputs(checkpoint, 2)).mean()
    loss.backward()
    trained = [value for name, value in checkpoint.model.named_parameters() if value.requires_grad]
    assert sum(float(value.grad.abs().sum()) for value in trained if value.grad is not None) > 0
    assert torch.equal(logits(checkpoint), before)


def test_four_bits_without_bitsandbytes_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_checkpoint().model
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'needs bitsandbytes: `pip install "vla-bench\[quantised\]"`'):
        apply_method(model, options("qlora"))
