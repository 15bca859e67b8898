"""LoRA and DoRA adapters by PEFT, in PEFT's file layout."""

from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn

from vla_bench.models.adapters.adapter import ADAPTER_TYPES, BaseReference


class LowRankAdapter:
    """Satisfies `Adapter`."""

    unmergeable_reason: str | None = None

    def __init__(self, model: nn.Module, config: LoraConfig) -> None:
        """Freeze `model` and put trainable updates on it, in place."""
        self._peft: PeftModel = get_peft_model(model, config)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the adapter's tensors, on the CPU, by the names under which they are saved."""
        tensors = get_peft_model_state_dict(self._peft, save_embedding_layers=False)
        return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def assign(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over `tensors`."""
        set_peft_model_state_dict(self._peft, dict(tensors))

    def write_config(self, folder: Path, base: BaseReference) -> None:
        """Write `adapter_config.json`."""
        config = self._peft.peft_config["default"]
        config.inference_mode, config.base_model_name_or_path = True, base.name
        config.save_pretrained(str(folder))

    def merge_into_base(self) -> None:
        """Add the updates to the base's own weights, in its precision, and take PEFT's modules away."""
        self._peft.merge_and_unload()


@ADAPTER_TYPES.named("lora")
def attach_low_rank(model: nn.Module, folder: Path) -> LowRankAdapter:
    """Put the low-rank adapter that `folder` describes on `model`."""
    config = LoraConfig.from_pretrained(str(folder))
    config.base_model_name_or_path = None  # the base is known by content; PEFT would warn that a network has no name
    return LowRankAdapter(model, config)
