r"""Compare vla_bench's OpenVLA with the original code: images, prompts, logits, tokens, actions and saved checkpoints.

The original model code runs in another interpreter (it requires transformers 4.40.1 and timm 0.9) with timm's
full-size towers, a small decoder and random weights, and saves checkpoints in the published layout with its outputs.
vla_bench loads the same folders. No published weights are compared.

    python -m venv reference && reference/bin/pip install torch torchvision timm==0.9.16 transformers==4.40.1 \
        tokenizers==0.19.1 "numpy<2" pillow safetensors sentencepiece protobuf
    git clone https://github.com/openvla/openvla
    python studies/openvla_parity.py --reference-python reference/bin/python --reference-repo openvla
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from openvla_reference import ANSWER, INSTRUCTIONS, REFERENCE, SIZES, STATISTICS_KEY, STRATEGIES, images
from provenance import command, hardware, software, today

from vla_bench.core.files import written_whole
from vla_bench.models.openvla import load
from vla_bench.models.openvla.checkpoint import load_checkpoint, save_checkpoint

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
LOGITS_LIMIT, PIXELS_LIMIT = 1e-4, 1e-6
_REFERENCE_SCRIPT = Path(__file__).with_name("openvla_reference.py")


@dataclass(frozen=True)
class Agreement:
    """Differences from the original over all samples of one backbone."""

    name: str
    pixels: float  # largest difference of a pixel value, over all resize strategies
    prompts_equal: bool
    logits: float  # largest difference, relative to the largest logit
    control: float  # the same with noise of 1e-3 added to our pixels: the effect of a small error
    loss: float  # largest relative difference
    tokens_equal: bool
    batched_tokens_equal: bool  # all samples in one padded batch
    actions: float  # largest difference
    parameters: int

    @property
    def holds(self) -> bool:
        """True if every difference is within its limit."""
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
    """Load `folder` and compare with the outputs of the original in it."""
    reference = torch.load(folder / REFERENCE, weights_only=True)
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
        ids, _ = processor.tokenize_instructions([instruction])
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
    ids, mask = processor.tokenize_instructions(INSTRUCTIONS)
    batch = torch.cat([next(iter(row["pixel_values"].values())) for row in reference["rows"]])
    together = model.network.generate(ids, mask, batch, num_tokens=len(ANSWER)).argmax(dim=-1)
    batched = torch.equal(together, torch.stack([row["tokens"] for row in reference["rows"]]))
    size = sum(parameter.numel() for parameter in model.parameters())
    return Agreement(
        name, max(pixels), all(prompts), max(logits), control, max(losses), all(tokens), batched, max(actions), size
    ), reference["versions"]


def save_with_ours(folder: Path, output: Path) -> None:
    """Load `folder` and save the checkpoint to `output` in the published layout."""
    save_checkpoint(output, load_checkpoint(folder))


def main() -> None:
    """Compare every backbone, and write the page after each."""
    options = _parse(sys.argv[1:])
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
                agreements.append(compare(f"`{backbone}`, saved by vla_bench, read by the original", ours)[0])
                print(agreements[-1], flush=True)
                _write(options, agreements, versions)
    if not all(agreement.holds for agreement in agreements):
        raise SystemExit("At least one difference exceeds its limit; see the page.")


def _write(options: argparse.Namespace, agreements: Sequence[Agreement], versions: Mapping[str, str]) -> None:
    """Write the page of the comparisons so far."""
    page = report(agreements, versions, options.reference_repo)
    with written_whole(options.output) as path:
        path.write_text(page, encoding="utf-8")


def _run_reference(options: argparse.Namespace, part: str, folder: Path, backbone: str) -> None:
    repository = str(options.reference_repo.resolve())
    arguments = [part, repository, str(folder), "--backbone", backbone]
    subprocess.run([str(options.reference_python), str(_REFERENCE_SCRIPT), *arguments], check=True)


def report(agreements: Sequence[Agreement], versions: Mapping[str, str], repository: Path) -> str:
    """Return the page as Markdown."""
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
            "largest difference over the whole multimodal sequence, relative to the largest logit. Tokens: seven, "
            "greedy,",
            "of each sample alone and of all samples in one padded batch. Actions: largest difference. The limits are",
            f"{PIXELS_LIMIT:g} for pixels, {LOGITS_LIMIT:g} for logits, 1e-6 for actions; the rest must be equal.",
            "Control: the difference of logits with noise of 1e-3 added to our pixels, which shows that the comparison",
            "detects small errors. A difference of 0 means equal bits: both sides ran the same kernels on one CPU.",
            "Another CPU may give other differences. Not compared: published weights; bf16; a GPU.",
            "",
            f"- Original: github.com/openvla/openvla at {commit or 'an unknown commit'}, "
            + ", ".join(f"{name} {version}" for name, version in versions.items()),
            f"- vla_bench: {software('torch', 'transformers', 'tokenizers', 'pillow')}",
            f"- Hardware: {hardware()}, shared with other work",
            f"- Date: {today()}",
            f"- Command: `{command()}`",
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


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference-python", type=Path, default=Path("reference/bin/python"))
    parser.add_argument("--reference-repo", type=Path, default=Path("openvla"), help="a clone of the original code")
    parser.add_argument("--backbone", action="append", choices=BACKBONES, help="may be given several times [all]")
    parser.add_argument(
        "--folder", type=Path, help="for checkpoints of up to 3 GB, deleted after use [a temporary one]"
    )
    parser.add_argument("--output", type=Path, default=Path("results/openvla_parity.md"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
