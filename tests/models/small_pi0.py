"""A real pi0 checkpoint folder of a size that builds in milliseconds."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PI0Config, PI0ForConditionalGeneration, PreTrainedTokenizerFast

IMAGE_TOKEN = 300
STATISTICS = {
    "state_mean": [0.1 * index for index in range(8)],
    "state_std": [0.5 + 0.1 * index for index in range(8)],
    "actions_mean": [0.05 * index for index in range(7)],
    "actions_std": [0.2 + 0.05 * index for index in range(7)],
}


def small_pi0_config() -> PI0Config:
    """Return images of 24 pixels, 9 tokens each, chunks of 6, states padded to 12 and actions to 10 numbers."""
    text = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 2}
    text |= {"model_type": "gemma", "num_key_value_heads": 1, "head_dim": 16}
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32, "num_attention_heads": 2}
    vision |= {"model_type": "siglip_vision_model", "patch_size": 8, "image_size": 24, "vision_use_head": False}
    vlm = {"text_config": {**text, "vocab_size": IMAGE_TOKEN}, "vision_config": vision, "projection_dim": 32}
    return PI0Config(
        vlm_config={"model_type": "paligemma", "image_token_id": IMAGE_TOKEN, **vlm},
        dit_config={**text, "hidden_size": 24},
        chunk_size=6,
        max_state_dim=12,
        max_action_dim=10,
        num_inference_steps=4,
    )


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer whose tokens are bytes, with PaliGemma's first and padding tokens."""
    special = ["<pad>", "<eos>", "<bos>"]
    names = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({name: index for index, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", padding_side="right"
    )


def save_small_pi0(folder: Path) -> PI0ForConditionalGeneration:
    """Write an untrained network in transformers' layout, with statistics in its processor configuration."""
    torch.manual_seed(0)
    model = PI0ForConditionalGeneration(small_pi0_config()).eval()
    for parameter in model.parameters():  # away from the small first weights, so that inputs make a difference
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "PI0Processor", **STATISTICS}))
    return model
