"""First weights: decided by the seed alone, and shaped as a small network needs them."""

import pytest
import torch
from torch.nn import functional

from tests.models.small import small_config
from vla_bench.models.openvla.config import OpenVLAConfig, openvla_nano_config
from vla_bench.models.openvla.initialization import _RESIDUAL_WRITERS, initialize_weights
from vla_bench.models.openvla.network import OpenVLA


def _initialized(seed: int, global_seed: int = 0, config: OpenVLAConfig | None = None) -> OpenVLA:
    torch.manual_seed(global_seed)
    model = OpenVLA(config or small_config())
    initialize_weights(model, seed)
    return model


@pytest.fixture(scope="module")
def nano() -> OpenVLA:
    return _initialized(0, config=openvla_nano_config())


def test_the_seed_alone_decides_every_weight() -> None:
    first, second = _initialized(1, global_seed=2).state_dict(), _initialized(1, global_seed=3).state_dict()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_another_seed_gives_other_weights() -> None:
    first, second = _initialized(1), _initialized(2)
    for name, weight in first.named_parameters():
        if name.endswith("proj.weight"):
            assert not torch.equal(weight, second.get_parameter(name)), name


def test_the_global_generator_is_left_alone() -> None:
    model = OpenVLA(small_config())
    before = torch.random.get_rng_state()
    initialize_weights(model, 5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_patches_that_lie_together_have_like_positions(nano: OpenVLA) -> None:
    embeddings = nano.vision_backbone.featurizer.embeddings.position_embeddings[0, 1:]
    assert torch.equal(nano.vision_backbone.fused_featurizer.embeddings.position_embedding.weight, embeddings)
    side = round(len(embeddings) ** 0.5)
    assert side * side == len(embeddings) == 36
    likeness = functional.cosine_similarity(embeddings[:, None], embeddings[None], dim=-1).fill_diagonal_(-1.0)
    nearest = likeness.argmax(dim=1)
    here = torch.arange(len(embeddings))
    steps = (nearest // side - here // side).abs() + (nearest % side - here % side).abs()
    assert torch.all(steps == 1)  # the row above or below, or the neighboring column
    assert likeness.max() < 0.999  # no two are the same


def test_bins_that_lie_together_begin_alike(nano: OpenVLA) -> None:
    config = nano.config
    bins = nano.language_model.lm_head.weight.detach()[config.vocab_end - config.n_action_bins : config.vocab_end]
    likeness = [functional.cosine_similarity(bins[:-gap], bins[gap:], dim=-1).mean() for gap in (1, 4, 16, 64)]
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[0] > 0.99
    assert likeness[-1] < 0.1
    assert float(bins.norm(dim=1).mean()) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("ending", _RESIDUAL_WRITERS)
def test_layers_that_write_into_the_residual_stream_begin_small(nano: OpenVLA, ending: str) -> None:
    layers = {name: module for name, module in nano.named_modules() if name.endswith(ending)}
    assert layers
    for layer in layers.values():
        assert isinstance(layer, torch.nn.Linear)
        assert float(layer.weight.detach().std()) * layer.in_features**0.5 == pytest.approx(0.4, rel=0.1)


def test_keys_begin_as_queries(nano: OpenVLA) -> None:
    for layer in nano.language_model.model.layers:
        assert torch.equal(layer.self_attn.k_proj.weight, layer.self_attn.q_proj.weight)


def test_what_goes_through_is_neither_nothing_nor_too_much(nano: OpenVLA) -> None:
    config = nano.config
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 6 * config.num_images, config.image_size, config.image_size, generator=generator)
    ids = torch.randint(4, 300, (2, config.prompt_length), generator=generator)
    proprioception = torch.randn(2, config.proprioception_dim, generator=generator)
    with torch.no_grad():
        logits = nano.eval().slot_logits(ids, torch.ones_like(ids), pixels, proprioception)
    assert torch.isfinite(logits).all()
    assert 0.3 < logits.std() < 10.0
    assert (logits[0] - logits[1]).abs().mean() > 0.05  # two inputs, two answers
