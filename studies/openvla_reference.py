"""Run the original OpenVLA code; `openvla_parity.py` starts this with the Python that has its dependencies.

`make` saves a checkpoint with timm's full-size towers, a small decoder and random weights in the published layout;
`read` loads a checkpoint that vla_bench saved. Both save the outputs of the original to `reference.pt` in the same
folder. This file does not import vla_bench.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

STRATEGIES = ("resize-naive", "letterbox", "resize-crop")
INSTRUCTIONS = ("Pick up the black bowl", "put the red mug on the left plate and close the drawer", "open it")
SIZES = ((224, 224), (256, 256), (300, 480))  # height, width [pixels] of the images, one per instruction
ANSWER = (31800, 31900, 31744, 31999, 31850, 31777, 31744)  # action tokens given to the forward pass after the prompt
STATISTICS_KEY = "made_up"
REFERENCE = "reference.pt"


def make_reference(repository: Path, backbone: str, folder: Path) -> None:
    """Save a random checkpoint of the original code and its outputs to `folder`."""
    model, processors = _original(repository, backbone)
    model.save_pretrained(folder, max_shard_size="500MB")
    tokenizer = _original_tokenizer(folder)
    tokenizer.save_pretrained(folder)
    next(iter(processors.values())).save_pretrained(folder)
    torch.save(_computed(model, processors, tokenizer), folder / REFERENCE)


def read_by_original(repository: Path, folder: Path) -> None:
    """Load vla_bench's checkpoint in `folder` with the original code and save its outputs."""
    modules = _original_modules(repository)
    config = modules["configuration"].OpenVLAConfig.from_pretrained(folder)
    model, info = modules["modeling"].OpenVLAForActionPrediction.from_pretrained(
        folder, config=config, output_loading_info=True
    )
    if any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        raise SystemExit(f"The original code cannot read the checkpoint that vla_bench saved: {info}")
    processor = modules["processing"].PrismaticImageProcessor.from_pretrained(folder)
    from transformers import LlamaTokenizerFast

    tokenizer = LlamaTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    torch.save(_computed(model.eval(), {"saved": processor}, tokenizer), folder / REFERENCE)


def _original_modules(repository: Path) -> dict[str, Any]:
    sys.path.insert(0, str(repository / "prismatic" / "extern"))  # not the parent package, which imports tensorflow
    from importlib import import_module

    return {name: import_module(f"hf.{name}_prismatic") for name in ("configuration", "modeling", "processing")}


def _original(repository: Path, backbone: str) -> tuple[Any, dict[str, Any]]:
    import timm

    modules = _original_modules(repository)
    text = {"vocab_size": 32064, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "pad_token_id": 32000}
    bounds = {name: np.linspace(low, high, 7).tolist() for name, low, high in (("q01", -1, -0.5), ("q99", 0.4, 2))}
    action = {**bounds, **dict.fromkeys(("mean", "std", "min", "max"), bounds["q99"]), "mask": [True] * 6 + [False]}
    config = modules["configuration"].OpenVLAConfig(
        vision_backbone_id=backbone,
        llm_backbone_id="llama2-7b-pure",
        arch_specifier="no-align+fused-gelu-mlp"
        if backbone.startswith("dino") and "v2" not in backbone
        else "no-align+gelu-mlp",
        image_resize_strategy="resize-naive",
        text_config={**text, **heads},
        norm_stats={STATISTICS_KEY: {"action": action, "num_trajectories": 1, "num_transitions": 1}},
    )
    torch.manual_seed(0)
    model = modules["modeling"].OpenVLAForActionPrediction(config).eval()
    for name, parameter in model.named_parameters():
        _randomize(name, parameter.data)
    settings: dict[str, list[Any]] = {"input_sizes": [], "interpolations": [], "means": [], "stds": []}
    for identifier, size in zip(config.timm_model_ids, config.image_sizes, strict=True):
        data = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(identifier).to_dict())
        entry = ((3, size, size), data["interpolation"], data["mean"], data["std"])
        for values, value in zip(settings.values(), entry, strict=True):
            values.append(value)
    make = modules["processing"].PrismaticImageProcessor
    fused = config.use_fused_vision_backbone
    return model, {
        strategy: make(use_fused_vision_backbone=fused, image_resize_strategy=strategy, **settings)
        for strategy in STRATEGIES
    }


def _randomize(name: str, values: torch.Tensor) -> None:
    """Fill random weights of a scale at which every part of the network influences the logits."""
    if values.ndim == 1:
        center = 1.0 if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "scale_factor")) else 0.0
        values.normal_(center, 0.1)
    else:
        values.normal_(0.0, 1.0 / values[0].numel() ** 0.5)


def _original_tokenizer(folder: Path) -> Any:
    """Return a small Llama tokenizer, because Llama's vocabulary is not freely available."""
    import sentencepiece
    from transformers import LlamaTokenizerFast

    text = folder / "text.txt"
    text.write_text("\n".join([_prompt(instruction) for instruction in INSTRUCTIONS] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
        pad_id=-1,
        add_dummy_prefix=True,
        normalization_rule_name="identity",
    )
    tokenizer = LlamaTokenizerFast(vocab_file=str(folder / "tokenizer.model"), padding_side="right")
    tokenizer.add_special_tokens({"pad_token": "<PAD>"})
    text.unlink()
    return tokenizer


def _prompt(instruction: str) -> str:
    return f"In: What action should the robot take to {instruction.lower()}?\nOut:"


@torch.no_grad()
def _computed(model: Any, processors: Mapping[str, Any], tokenizer: Any) -> dict[str, Any]:
    from PIL import Image

    rows = []
    for instruction, pixels in zip(INSTRUCTIONS, images(), strict=True):
        image = Image.fromarray(pixels)
        prepared = {
            name: torch.from_numpy(processor([image])["pixel_values"]) for name, processor in processors.items()
        }
        ids = torch.tensor([*tokenizer(_prompt(instruction)).input_ids, 29871])[None]
        whole = torch.cat([ids, torch.tensor(ANSWER)[None]], dim=1)
        first = next(iter(prepared.values()))
        logits = model(whole, torch.ones_like(whole), first, labels=whole)
        inputs = {"attention_mask": torch.ones_like(ids), "pixel_values": first, "do_sample": False}
        with _recorded(model) as tokens:
            action = model.predict_action(ids, unnorm_key=STATISTICS_KEY, **inputs)
        rows.append(
            {"pixel_values": prepared, "input_ids": ids, "logits": logits.logits, "loss": logits.loss}
            | {"action": torch.from_numpy(np.asarray(action)), "tokens": tokens[0][0, -len(ANSWER) :]}
        )
    import timm
    import torchvision
    import transformers

    modules = {"torch": torch, "torchvision": torchvision, "timm": timm, "transformers": transformers}
    return {"rows": rows, "versions": {name: str(module.__version__) for name, module in modules.items()}}


@contextmanager
def _recorded(model: Any) -> Iterator[list[torch.Tensor]]:
    """Yield a list that receives the results of `model.generate`, which `predict_action` calls."""
    generate, returned = model.generate, []

    def recording(*arguments: Any, **options: Any) -> Any:
        returned.append(generate(*arguments, **options))
        return returned[-1]

    model.generate = recording
    yield returned
    del model.generate


def images() -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Return random images with both smooth shapes and noise, (H, W, 3) uint8."""
    generator, made = np.random.default_rng(0), []
    for height, width in SIZES:
        y, x = np.mgrid[:height, :width][..., None] / 32.0
        waves = np.sin(y * generator.uniform(0.3, 2, 3) + x * generator.uniform(0.3, 2, 3))
        made.append(np.clip(128 + 90 * waves + generator.normal(0, 20, waves.shape), 0, 255).astype(np.uint8))
    return made


def main() -> None:
    """Run one of the two parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["make", "read"])
    parser.add_argument("repository", type=Path, help="checkout of openvla/openvla")
    parser.add_argument("folder", type=Path, help="folder of the checkpoint")
    parser.add_argument("--backbone", help="for `make`")
    options = parser.parse_args()
    if options.part == "make":
        make_reference(options.repository, options.backbone, options.folder)
    else:
        read_by_original(options.repository, options.folder)


if __name__ == "__main__":
    main()
