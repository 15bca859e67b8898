"""Quantization by bitsandbytes: 8-bit or 4-bit decoder weights at loading, and the NF4 base of QLoRA adapters.

LLM.int8() (Dettmers et al., 2022) and NF4 (QLoRA, Dettmers et al., 2023). The output layer keeps its precision.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from vla_bench.core.errors import MissingExtraError, UnknownNameError
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.weights import set_parameter

# ~ Weights of 8 or 4 bits by bitsandbytes: LLM.int8() (Dettmers et al., 2022) and NF4 (QLoRA, 2023), set while
# ~ loading.
# ~
# ~ The decoder's linear layers are quantised, which hold 95 % of the 7B network; towers, projector, embeddings and
# ~ the
# ~ output layer are kept in the floating type.

Quantization = Literal["8bit", "4bit"]


class QuantizedPlacement:
    """Put tensors where they belong, those of the decoder's linear layers quantised: a `Place` for `load_weights`.

    Raises `MissingExtraError` without bitsandbytes.
    """

    def __init__(self, model: OpenVLA, quantisation: Quantization, compute_dtype: torch.dtype | None = None) -> None:
        self._library = _import_bitsandbytes(quantisation)
        self._quantization = quantisation
        self._compute_dtype = compute_dtype
        decoder = model.language_model.model
        self._layers = {
            id(module): (parent, name)
            for parent in decoder.modules()
            for name, module in parent.named_children()
            if isinstance(module, nn.Linear)
        }

    def __call__(self, module: nn.Module, name: str, tensor: torch.Tensor) -> None:
        """Set the parameter `name` of `module`; a linear layer's weight replaces the layer by a quantised one."""
        if id(module) not in self._layers or name != "weight" or not isinstance(module, nn.Linear):
            set_parameter(module, name, tensor)
            return
        parent, child = self._layers[id(module)]
        setattr(parent, child, self._quantized(module, tensor))

    def _quantized(self, layer: nn.Linear, weight: torch.Tensor) -> nn.Module:
        modules, shape = self._library.nn, (layer.in_features, layer.out_features)
        device = weight.device
        if self._quantization == "8bit":
            eight: nn.Module = modules.Linear8bitLt(*shape, bias=False, has_fp16_weights=False, device="meta")
            stored = modules.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
            eight.weight = stored.to(device)
            return eight
        dtype = self._compute_dtype or weight.dtype
        four: nn.Module = modules.Linear4bit(
            *shape, bias=False, compute_dtype=dtype, quant_type="nf4", compress_statistics=True, device="meta"
        )
        four.weight = modules.Params4bit(
            weight.cpu(), requires_grad=False, quant_type="nf4", compress_statistics=True, module=four
        ).to(device)
        return four


def _import_bitsandbytes(quantisation: Quantization) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError(f"Loading in {quantisation.removesuffix('bit')} bits", "bitsandbytes", "quantised")
    return importlib.import_module("bitsandbytes")


# ~ Linear layers in four bits, by bitsandbytes: NF4 as in QLoRA (Dettmers et al., 2023), blocks of 64 weights.
# ~
# ~ The output layer keeps its precision, as in transformers' own 4-bit loading, which is what OpenVLA uses.

ADAPTER_QUANTIZATIONS = ("nf4",)
_OUTPUT_LAYER = "lm_head"


def quantize_linear_layers(model: nn.Module, kind: str, kept: Sequence[str] = ()) -> None:
    """Hold the linear layers of `model` but those in the parts `kept` in 4 bits, in place.

    They compute in the precision that they had.
    Raises `MissingExtraError` without bitsandbytes.
    """
    library = _bitsandbytes_for_adapters(kind)
    for name in linear_layer_names(model, kept):
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        model.set_submodule(name, _quantized(library, layer, kind))
    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # PEFT asks for it, as transformers sets it


def round_linear_layers(model: nn.Module, kind: str, kept: Sequence[str] = ()) -> None:
    """Round the linear layers of `model` to the values that `quantize_linear_layers` would give them, held in full
    precision.
    """
    functional = _bitsandbytes_for_adapters(kind).functional
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


def _quantized(library: Any, layer: nn.Linear, kind: str) -> nn.Module:
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
    quantized: nn.Module = made.to(layer.weight.device)  # moving it is what quantises it
    return quantized


def _bitsandbytes_for_adapters(kind: str) -> Any:
    if kind not in ADAPTER_QUANTIZATIONS:
        raise UnknownNameError("quantisation", kind, ADAPTER_QUANTIZATIONS)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError("A base in 4 bits (QLoRA)", "bitsandbytes", "quantised")
    return importlib.import_module("bitsandbytes")
