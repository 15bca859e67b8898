"""Linear layers in four bits, by bitsandbytes: NF4 as in QLoRA (Dettmers et al., 2023), blocks of 64 weights.

The output layer keeps its precision, as in transformers' own 4-bit loading, which is what OpenVLA uses.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any

from torch import nn

from vla_bench.core.errors import MissingExtraError, UnknownNameError

QUANTISATIONS = ("nf4",)
_OUTPUT_LAYER = "lm_head"


def quantise(model: nn.Module, kind: str, kept: Sequence[str] = ()) -> None:
    """Hold the linear layers of `model` but those in the parts `kept` in 4 bits, in place.

    They compute in the precision that they had.
    Raises `MissingExtraError` without bitsandbytes.
    """
    library = _bitsandbytes(kind)
    for name in linear_layer_names(model, kept):
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        model.set_submodule(name, _quantised(library, layer, kind))
    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # PEFT asks for it, as transformers sets it


def round_to(model: nn.Module, kind: str, kept: Sequence[str] = ()) -> None:
    """Round the linear layers of `model` to the values that `quantise` would give them, held in full precision."""
    functional = _bitsandbytes(kind).functional
    for name in linear_layer_names(model, kept):
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        weight = layer.weight.data
        packed, state = functional.quantize_4bit(weight.contiguous(), quant_type=kind, compress_statistics=True)
        layer.weight.data = functional.dequantize_4bit(packed, state).to(weight.dtype)


def linear_layer_names(model: nn.Module, kept: Sequence[str] = ()) -> list[str]:
    """Return the names of all linear layers but the output layer and those in the parts `kept`."""
    kept_inside = tuple(f"{part}." for part in kept)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.rsplit(".", 1)[-1] != _OUTPUT_LAYER
        and not f"{name}.".startswith(kept_inside)
    ]


def _quantised(library: Any, layer: nn.Linear, kind: str) -> nn.Module:
    made = library.nn.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=layer.weight.dtype,
        compress_statistics=True,
        quant_type=kind,
        device="meta",
    )
    made.weight = library.nn.Params4bit(
        layer.weight.data, requires_grad=False, quant_type=kind, compress_statistics=True, module=made
    )
    made.support_avx512bf16_for_cpu = False  # it would repack weights at the first validation, and not train on
    made.bias = None if layer.bias is None else nn.Parameter(layer.bias.data, requires_grad=False)
    quantised: nn.Module = made.to(layer.weight.device)  # moving it is what quantises it
    return quantised


def _bitsandbytes(kind: str) -> Any:
    if kind not in QUANTISATIONS:
        raise UnknownNameError("quantisation", kind, QUANTISATIONS)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError("A base in 4 bits (QLoRA)", "bitsandbytes", "quantised")
    return importlib.import_module("bitsandbytes")
