"""LoRA and DoRA adapters by PEFT, in the file layout of PEFT."""

from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn

from vla_bench.models.adapters.adapter import ADAPTER_TYPES, BaseReference


class LowRankAdapter:
    """PEFT implementation of `Adapter`."""

    unmergeable_reason: str | None = None

    def __init__(self, model: nn.Module, config: LoraConfig) -> None:
        """Freeze `model` and attach trainable updates, in place."""
        self._peft: PeftModel = get_peft_model(model, config)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors of the adapter on the CPU, by their saved names."""
        tensors = get_peft_model_state_dict(self._peft, save_embedding_layers=False)
        return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def assign(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load `tensors`."""
        set_peft_model_state_dict(self._peft, dict(tensors))

    def write_config(self, folder: Path, base: BaseReference) -> None:
        """Write `adapter_config.json`."""
        config = self._peft.peft_config["default"]
        config.inference_mode, config.base_model_name_or_path = True, base.name
        config.save_pretrained(str(folder))

    def merge_into_base(self) -> None:
        """Add the updates to the base weights, in their precision, and remove the modules of PEFT."""
        self._peft.merge_and_unload()


@ADAPTER_TYPES.named("lora")
def attach_low_rank(model: nn.Module, folder: Path) -> LowRankAdapter:
    """Attach the low-rank adapter described in `folder` to `model`."""
    config = LoraConfig.from_pretrained(str(folder))
    # the base is identified by content; PEFT would warn that the network has no name
    config.base_model_name_or_path = None
    return LowRankAdapter(model, config)
