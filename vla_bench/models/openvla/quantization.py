"""Quantization by bitsandbytes: 8-bit or 4-bit decoder weights at loading, and the NF4 base of QLoRA adapters.

LLM.int8() (Dettmers et al., 2022) and NF4 (QLoRA, Dettmers et al., 2023). The output layer keeps its precision,
as in the 4-bit loading of transformers. The linear layers of the decoder are quantized, 95 % of the 7B network; towers,
projector and embeddings keep their data type.
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

Quantization = Literal["8bit", "4bit"]


class QuantizedPlacement:
    """Placement of loaded tensors with quantized linear layers of the decoder: a `Place` for `load_weights`.

    Raises `MissingExtraError` without bitsandbytes.
    """

    def __init__(self, model: OpenVLA, quantization: Quantization, compute_dtype: torch.dtype | None = None) -> None:
        self._library = _import_bitsandbytes(quantization)
        self._quantization = quantization
        self._compute_dtype = compute_dtype
        decoder = model.language_model.model
        self._layers = {
            id(module): (parent, name)
            for parent in decoder.modules()
            for name, module in parent.named_children()
            if isinstance(module, nn.Linear)
        }

    def __call__(self, module: nn.Module, name: str, tensor: torch.Tensor) -> None:
        """Set the parameter `name` of `module`; for the weight of a linear layer, replace the layer by a quantized
        one.
        """
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


def _import_bitsandbytes(quantization: Quantization) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError(f"Loading in {quantization.removesuffix('bit')} bits", "bitsandbytes", "quantised")
    return importlib.import_module("bitsandbytes")


ADAPTER_QUANTIZATIONS = ("nf4",)
_OUTPUT_LAYER = "lm_head"


def quantize_linear_layers(model: nn.Module, kind: str, kept: Sequence[str] = ()) -> None:
    """Quantize the linear layers of `model`, except those in the parts `kept`, to 4 bits in place.

    They compute in their original precision. Raises `MissingExtraError` without bitsandbytes.
    """
    library = _bitsandbytes_for_adapters(kind)
    for name in linear_layer_names(model, kept):
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        model.set_submodule(name, _quantized(library, layer, kind))
    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # PEFT reads it, transformers sets it


def round_linear_layers(model: nn.Module, kind: str, kept: Sequence[str] = ()) -> None:
    """Round the linear layers of `model` to the values of `quantize_linear_layers`, in full precision."""
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
    made.support_avx512bf16_for_cpu = False  # it would repack weights at the first validation and stop training
    made.bias = None if layer.bias is None else nn.Parameter(layer.bias.data, requires_grad=False)
    quantized: nn.Module = made.to(layer.weight.device)  # moving it quantizes it
    return quantized


def _bitsandbytes_for_adapters(kind: str) -> Any:
    if kind not in ADAPTER_QUANTIZATIONS:
        raise UnknownNameError("quantization", kind, ADAPTER_QUANTIZATIONS)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError("A base in 4 bits (QLoRA)", "bitsandbytes", "quantised")
    return importlib.import_module("bitsandbytes")
