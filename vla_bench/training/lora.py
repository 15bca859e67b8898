"""LoRA by PEFT, with OpenVLA's recipe: low-rank updates of every linear layer but the output."""

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from vla_bench.core.errors import UnknownNameError
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.training.config import ALL_LINEAR, FinetuneConfig

_OUTPUT_LAYER = "lm_head"


def add_lora(model: OpenVLA, config: FinetuneConfig) -> PeftModel:
    """Freeze `model` and put trainable adapters on it, in place; the returned wrapper knows how to save them."""
    known = linear_layers(model)
    for target in () if config.targets == ALL_LINEAR else config.targets:
        if target not in known:
            raise UnknownNameError("linear layer (LoRA target)", target, known)
    adapter = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(known if config.targets == ALL_LINEAR else config.targets),
        init_lora_weights="gaussian",
    )
    return get_peft_model(model, adapter)


def linear_layers(model: nn.Module) -> tuple[str, ...]:
    """Return the last names of all linear layers that are not the output layer."""
    names = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return tuple(sorted(names - {_OUTPUT_LAYER}))
