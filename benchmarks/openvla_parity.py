r"""Compare our OpenVLA with the original code: images, prompts, logits, tokens, actions; folders in both directions.

One half runs the original's model code with timm's full-size towers and a small decoder at random weights, under
another interpreter (it wants transformers 4.40.1 and timm 0.9), and saves checkpoints in the published layout and
what it computes from them. The other half loads the same folders here. No published weights are compared.

    python -m venv reference && reference/bin/pip install torch torchvision timm==0.9.16 transformers==4.40.1 \
        tokenizers==0.19.1 "numpy<2" pillow safetensors sentencepiece protobuf
    git clone https://github.com/openvla/openvla
    python benchmarks/openvla_parity.py --reference-python reference/bin/python --reference-repo openvla
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

BACKBONES = (
    "dinosiglip-vit-so-224px",
    "siglip-vit-so400m",
    "dinov2-vit-l",
    "clip-vit-l",
    "clip-vit-l-336px",
    "dinoclip-vit-l-336px",
    "siglip-vit-so400m-384px",
    "dinosiglip-vit-so-384px",
)
STRATEGIES = ("resize-naive", "letterbox", "resize-crop")
INSTRUCTIONS = ("Pick up the black bowl", "put the red mug on the left plate and close the drawer", "open it")
SIZES = ((224, 224), (256, 256), (300, 480))  # height, width [pixels] of the images, one of each instruction
ANSWER = (31800, 31900, 31744, 31999, 31850, 31777, 31744)  # action tokens given to the forward pass after the prompt
STATISTICS_KEY = "made_up"
LOGITS_LIMIT, PIXELS_LIMIT = 1e-4, 1e-6


# The half that runs under the other interpreter: the original code, nothing of vla_bench.


def make_reference(repository: Path, backbone: str, folder: Path) -> None:
    """Save a random checkpoint of the original's code to `folder`, and to `folder`/reference what it computes."""
    model, processors = _original(repository, backbone)
    model.save_pretrained(folder, max_shard_size="500MB")
    tokenizer = _original_tokenizer(folder)
    tokenizer.save_pretrained(folder)
    _first(processors).save_pretrained(folder)
    torch.save(_computed(model, processors, tokenizer), folder / "reference.pt")


def read_by_original(repository: Path, folder: Path) -> None:
    """Load the checkpoint that we saved to `folder` with the original's code, and save what it computes."""
    modules = _original_modules(repository)
    config = modules["configuration"].OpenVLAConfig.from_pretrained(folder)
    model, info = modules["modeling"].OpenVLAForActionPrediction.from_pretrained(
        folder, config=config, output_loading_info=True
    )
    if any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        raise SystemExit(f"The original code does not read our checkpoint: {info}")
    processor = modules["processing"].PrismaticImageProcessor.from_pretrained(folder)
    from transformers import LlamaTokenizerFast

    tokenizer = LlamaTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    torch.save(_computed(model.eval(), {"saved": processor}, tokenizer), folder / "reference.pt")


def _original_modules(repository: Path) -> dict[str, Any]:
    sys.path.insert(0, str(repository / "prismatic" / "extern"))  # not the package above: it imports tensorflow
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
        _randomise(name, parameter.data)
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


def _randomise(name: str, values: torch.Tensor) -> None:
    """Draw weights of a size at which every part of the network makes a difference in the logits."""
    if values.ndim == 1:
        centre = 1.0 if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "scale_factor")) else 0.0
        values.normal_(centre, 0.1)
    else:
        values.normal_(0.0, 1.0 / values[0].numel() ** 0.5)


def _original_tokenizer(folder: Path) -> Any:
    """Return a Llama tokenizer of few words: Llama's own vocabulary is not freely to be had."""
    import sentencepiece
    from transformers import LlamaTokenizerFast

    text = folder / "text.txt"
    text.write_text("\n".join([_prompt(instruction) for instruction in INSTRUCTIONS] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=400, model_type="bpe", byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2, pad_id=-1, add_dummy_prefix=True, normalization_rule_name="identity",
    )  # fmt: skip
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
    """Yield what `model.generate`, which `predict_action` calls, returns meanwhile."""
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


# The half that runs here.


@dataclass(frozen=True)
class Agreement:
    """How far we are from the original over all rows of one backbone."""

    name: str
    pixels: float  # largest difference of a pixel value, over all resize strategies
    prompts_equal: bool
    logits: float  # largest difference, relative to the largest logit
    control: float  # the same where noise of 1e-3 is added to our pixels: what a small error would look like
    loss: float  # largest relative difference
    tokens_equal: bool
    batched_tokens_equal: bool  # all rows in one padded batch
    actions: float  # largest difference
    parameters: int

    @property
    def holds(self) -> bool:
        """Whether everything is within its limit."""
        equal = self.prompts_equal and self.tokens_equal and self.batched_tokens_equal
        return (
            equal
            and self.control > 10 * max(self.logits, 1e-6)
            and self.pixels <= PIXELS_LIMIT
            and self.logits <= LOGITS_LIMIT
            and self.actions <= 1e-6
        )


@torch.no_grad()
def compare(name: str, folder: Path) -> tuple[Agreement, dict[str, str]]:
    """Load `folder` here and compare with what the original computed from it."""
    from dataclasses import replace

    from vla_bench.models.openvla import load

    reference = torch.load(folder / "reference.pt", weights_only=True)
    model = load(folder, dtype=torch.float32)
    processor = model.checkpoint.processor
    pixels, logits, losses, actions, prompts, tokens = [], [], [], [], [], []
    for image, instruction, row in zip(images(), INSTRUCTIONS, reference["rows"], strict=True):
        for strategy, expected in row["pixel_values"].items():
            preparation = processor.image_preparation
            if strategy in STRATEGIES:
                preparation = replace(preparation, strategy=strategy)
            made = replace(processor, preparation=preparation).images(image[None, None])
            pixels.append((made - expected).abs().max().item())
        ids, _ = processor.actions_for([instruction])
        prompts.append(torch.equal(ids, row["input_ids"]))
        whole = torch.cat([row["input_ids"], torch.tensor(ANSWER)[None]], dim=1)
        first = next(iter(row["pixel_values"].values()))
        output = model(whole, torch.ones_like(whole), first, labels=whole)
        logits.append(((output.logits - row["logits"]).abs().max() / row["logits"].abs().max()).item())
        losses.append(abs(output.loss.item() / row["loss"].item() - 1))
        generated = model.network.generate(ids, torch.ones_like(ids), first, num_tokens=len(ANSWER)).argmax(dim=-1)
        tokens.append(torch.equal(generated[0], row["tokens"]))
        predicted = model.predict_action(image, instruction, STATISTICS_KEY)
        actions.append(np.abs(predicted - row["action"].numpy()).max().item())
    noisy = first + 1e-3 * torch.randn(first.shape, generator=torch.Generator().manual_seed(0))
    disturbed = model(whole, torch.ones_like(whole), noisy).logits
    control = ((disturbed - row["logits"]).abs().max() / row["logits"].abs().max()).item()
    ids, mask = processor.actions_for(INSTRUCTIONS)
    batch = torch.cat([next(iter(row["pixel_values"].values())) for row in reference["rows"]])
    together = model.network.generate(ids, mask, batch, num_tokens=len(ANSWER)).argmax(dim=-1)
    batched = torch.equal(together, torch.stack([row["tokens"] for row in reference["rows"]]))
    size = sum(parameter.numel() for parameter in model.parameters())
    return Agreement(
        name, max(pixels), all(prompts), max(logits), control, max(losses), all(tokens), batched, max(actions), size
    ), reference["versions"]


def save_with_ours(folder: Path, output: Path) -> None:
    """Load `folder` and save it again, in the published layout."""
    from vla_bench.models.openvla.checkpoint import load_checkpoint, save_checkpoint

    save_checkpoint(output, load_checkpoint(folder))


def main() -> None:
    """Run the half that was asked for: both, where a user calls."""
    options = _parse(sys.argv[1:])
    if options.half == "make":
        make_reference(options.reference_repo, options.backbone[0], options.folder)
    elif options.half == "read":
        read_by_original(options.reference_repo, options.folder)
    elif options.half == "compare":
        agreement, versions = compare(f"`{options.backbone[0]}`", options.folder)
        _write(options, [agreement], versions)
    else:
        _compare_all(options)


def _compare_all(options: argparse.Namespace) -> None:
    agreements, versions = [], {}
    for number, backbone in enumerate(options.backbone or BACKBONES):
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            folder = Path(temporary) / "published"
            folder.mkdir()
            _run_reference(options, "make", folder, backbone)
            agreement, versions = compare(f"`{backbone}`", folder)
            agreements.append(agreement)
            print(agreement, flush=True)
            _write(options, agreements, versions)
            if number == 0:
                ours = Path(temporary) / "ours"
                save_with_ours(folder, ours)
                shutil.rmtree(folder)
                _run_reference(options, "read", ours, backbone)
                agreements.append(compare(f"`{backbone}`, saved by us, read by the original", ours)[0])
                print(agreements[-1], flush=True)
                _write(options, agreements, versions)
    if not all(agreement.holds for agreement in agreements):
        raise SystemExit("Something differs by more than its limit.")


def _write(options: argparse.Namespace, agreements: Sequence[Agreement], versions: Mapping[str, str]) -> None:
    """Write the page of what was compared so far."""
    command = " ".join(["python benchmarks/openvla_parity.py", *sys.argv[1:]])
    options.output.write_text(report(agreements, versions, command, options.reference_repo), encoding="utf-8")


def _run_reference(options: argparse.Namespace, half: str, folder: Path, backbone: str) -> None:
    repository = str(options.reference_repo.resolve())
    arguments = ["--half", half, "--folder", str(folder), "--backbone", backbone, "--reference-repo", repository]
    subprocess.run([str(options.reference_python), str(Path(__file__).resolve()), *arguments], check=True)


def report(agreements: Sequence[Agreement], versions: Mapping[str, str], command: str, repository: Path) -> str:
    """Return the Markdown page."""
    commit = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return "\n".join(
        [
            "# OpenVLA: parity with the original code",
            "",
            "Full-size towers of timm, a decoder of 2 layers and width 64, random weights, float32, on the CPU. Three",
            f"images of {', '.join(f'{width} x {height}' for height, width in SIZES)} pixels, three instructions.",
            "",
            "| backbone | parameters | pixels | prompts | logits | control | loss | tokens | in one batch | actions |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *(_row(agreement) for agreement in agreements),
            "",
            "Pixels: largest difference, over the strategies resize-naive, letterbox and resize-crop. Logits: the",
            "largest one over the whole multimodal sequence, by the largest logit. Tokens: seven, greedy,",
            "of each row alone and of all rows in one padded batch. Actions: largest difference. The limits are",
            f"{PIXELS_LIMIT:g} for pixels, {LOGITS_LIMIT:g} for logits, 1e-6 for actions; the rest must be equal.",
            "Control: the logits' difference where noise of 1e-3 is added to our pixels, to show that the comparison",
            "sees small errors. A difference of 0 means equal bits: both halves then ran the same kernels on one",
            "processor. It need not be so on another. Not compared: published weights; bf16; a GPU.",
            "",
            f"- Original: github.com/openvla/openvla at {commit or 'an unknown commit'}, "
            + ", ".join(f"{name} {version}" for name, version in versions.items()),
            f"- Ours: Python {platform.python_version()}, {_ours()}",
            f"- Hardware: {hardware()}, shared with other work",
            f"- Date: {datetime.now(UTC):%Y-%m-%d}",
            f"- Command: `{command}`",
            "",
        ]
    )


def _row(agreement: Agreement) -> str:
    equal = [
        "equal" if same else "DIFFER"
        for same in (agreement.prompts_equal, agreement.tokens_equal, agreement.batched_tokens_equal)
    ]
    figures = [
        f"{value:.1e}"
        for value in (agreement.pixels, agreement.logits, agreement.control, agreement.loss, agreement.actions)
    ]
    return (
        f"| {agreement.name} | {agreement.parameters / 1e6:.0f} M | {figures[0]} | {equal[0]} | {figures[1]} | "
        f"{figures[2]} | {figures[3]} | {equal[1]} | {equal[2]} | {figures[4]} |"
    )


def _ours() -> str:
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "tokenizers", "pillow"))


def hardware() -> str:
    """Return the processor's name and how many cores there are."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {platform.machine()}"


def _first(processors: Mapping[str, Any]) -> Any:
    return next(iter(processors.values()))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference-python", type=Path, default=Path("reference/bin/python"))
    parser.add_argument("--reference-repo", type=Path, default=Path("openvla"), help="a clone of the original code")
    parser.add_argument("--backbone", action="append", choices=BACKBONES, help="may be given several times [all]")
    parser.add_argument(
        "--folder", type=Path, help="for checkpoints of up to 3 GB, deleted after use [a temporary one]"
    )
    parser.add_argument("--output", type=Path, default=Path("results/openvla_parity.md"))
    parser.add_argument("--half", choices=("make", "read", "compare"), help="one part alone, of --folder")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
