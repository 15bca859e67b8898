"""Weights of 8 and 4 bits, where bitsandbytes is installed."""

from pathlib import Path

import pytest
import torch

from tests.models.openvla import published
from tests.models.openvla.published import write_published
from vla_bench.core.errors import MissingExtraError
from vla_bench.models.openvla import load, quantization


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("bits", "stored", "limit"), [("8bit", torch.int8, 0.02), ("4bit", torch.uint8, 0.15)])
def test_the_decoder_is_quantized_and_the_rest_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits, stored, limit: float
) -> None:
    library = pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(published, "LLAMA", {**published.LLAMA, "hidden_size": 128, "intermediate_size": 256})
    write_published(tmp_path / "net")
    full, small = load(tmp_path / "net").network, load(tmp_path / "net", quantise=bits).network
    layer, kept = (
        small.language_model.model.layers[1].self_attn.q_proj,
        full.language_model.model.layers[1].self_attn.q_proj,
    )
    assert layer.weight.dtype == stored
    assert small.projector.fc1.weight.dtype == small.language_model.lm_head.weight.dtype == torch.float32
    if bits == "8bit":
        restored = layer.weight.float() * layer.weight.SCB[:, None] / 127
    else:
        restored = library.functional.dequantize_4bit(layer.weight, layer.weight.quant_state)
    assert 0 < (restored - kept.weight).norm() / kept.weight.norm() < limit


def test_without_bitsandbytes_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_published(tmp_path / "net")
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"Loading in 4 bits needs bitsandbytes: .*vla-bench\[quantised\]"):
        load(tmp_path / "net", quantise="4bit")
