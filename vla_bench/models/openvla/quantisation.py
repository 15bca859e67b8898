"""Weights of 8 or 4 bits by bitsandbytes: LLM.int8() (Dettmers et al., 2022) and NF4 (QLoRA, 2023), set while loading.

The decoder's linear layers are quantised, which hold 95 % of the 7B network; towers, projector, embeddings and the output
layer are kept in the floating type.
"""

import importlib
import importlib.util
from typing import Any, Literal

import torch
from torch import nn

from vla_bench.core.errors import MissingExtraError
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.weights import put_parameter

Quantisation = Literal["8bit", "4bit"]


class QuantisedPlacement:
    """Put tensors where they belong, those of the decoder's linear layers quantised: a `Place` for `load_weights`.

    Raises `MissingExtraError` without bitsandbytes.
    """

    def __init__(self, model: OpenVLA, quantisation: Quantisation, compute_dtype: torch.dtype | None = None) -> None:
        self._library = _bitsandbytes(quantisation)
        self._quantisation = quantisation
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
            put_parameter(module, name, tensor)
            return
        parent, child = self._layers[id(module)]
        setattr(parent, child, self._quantised(module, tensor))

    def _quantised(self, layer: nn.Linear, weight: torch.Tensor) -> nn.Module:
        modules, shape = self._library.nn, (layer.in_features, layer.out_features)
        device = weight.device
        if self._quantisation == "8bit":
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


def _bitsandbytes(quantisation: Quantisation) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError(f"Loading in {quantisation.removesuffix('bit')} bits", "bitsandbytes", "quantised")
    return importlib.import_module("bitsandbytes")
