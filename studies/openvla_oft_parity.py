"""Compare vla_bench's OpenVLA-OFT with the original code, which runs in a separate environment.

The network is that of the published checkpoints with full-size vision towers, a small decoder and random weights: the
original saves it in the published layout; both load it and receive the same images, prompts and proprioception.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from provenance import command, hardware, software, today

from vla_bench.core.files import written_whole
from vla_bench.models.normalization import unnormalize_oft_actions
from vla_bench.models.openvla.tokenization import train_nano_tokenizer
from vla_bench.models.openvla_oft.checkpoint import OFTCheckpoint, load_oft_checkpoint
from vla_bench.policies.conventions import evaluation_image, image_for_policy, jpeg_round_trip, lanczos_resized

_REFERENCE = Path(__file__).with_name("openvla_oft_reference.py")
_ENTRY = "made_up"


def compared_network(folder: Path) -> list[tuple[str, str]]:
    """Return the differences between vla_bench's network and the outputs of the original in `folder`."""
    train_nano_tokenizer(["a"]).save_pretrained(
        folder
    )  # required in a checkpoint, although prompts are given as tokens
    checkpoint = load_oft_checkpoint(folder, num_images=2, chunk_size=8)
    saved = np.load(folder / "reference.npz")
    prompts = [saved[f"prompt_{row}"] for row in range(len(saved["images"]))]
    pixels = checkpoint.processor.images(saved["images"])
    normalizer = checkpoint.statistics[_ENTRY].proprioception
    assert normalizer is not None
    states = normalizer.normalize(saved["proprioception"])
    alone = np.concatenate(
        [_actions(checkpoint, [prompts[row]], pixels[[row]], states[[row]]) for row in range(len(prompts))]
    )
    together = _actions(checkpoint, prompts, pixels, states)
    expected = saved["actions"]
    return [
        ("prompt lengths [tokens]", ", ".join(str(len(prompt)) for prompt in prompts)),
        ("`pixel_values`, largest difference", _largest(pixels.numpy(), saved["pixel_values"])),
        ("normalized proprioception, largest difference", _largest(states, saved["normalized_proprioception"])),
        ("actions, batch 1, largest relative difference", _relative(alone, expected)),
        ("actions, batch of 4 with padding, largest relative difference", _relative(together, expected)),
        ("for comparison: largest relative difference between observations", _relative(expected[1:], expected[:-1])),
    ]


def compared_images(folder: Path) -> list[tuple[str, str]]:
    """Return the differences between vla_bench's image preparation and the images of the original in `folder`."""
    saved, rows = np.load(folder / "images.npz"), []
    for name in ("smooth", "noisy"):
        image, decoded, resized = (saved[f"{name}{part}"] for part in ("", "_decoded", "_resized"))
        for step, ours, theirs in (
            ("JPEG round trip", jpeg_round_trip(image), decoded),
            ("Lanczos resize of the same decoded image", lanczos_resized(decoded, 224), resized),
            ("crop of the same resized image", image_for_policy(resized, "upright", 0.9), saved[f"{name}_final"]),
            ("all three", image_for_policy(evaluation_image(image, 224), "upright", 0.9), saved[f"{name}_final"]),
        ):
            difference = np.abs(ours.astype(int) - theirs)
            rows.append((f"{name} image, {step}", f"{difference.max()} / {difference.mean():.5f}"))
    return rows


def _actions(
    checkpoint: OFTCheckpoint, prompts: Sequence[np.ndarray], pixels: torch.Tensor, states: np.ndarray
) -> np.ndarray:
    ids = torch.full((len(prompts), max(map(len, prompts))), checkpoint.config.vla.text.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.from_numpy(prompt)
        mask[row, : len(prompt)] = 1
    with torch.inference_mode():
        normalized = checkpoint.model.predict_normalized(ids, mask, pixels, torch.from_numpy(states))
    return unnormalize_oft_actions(checkpoint.statistics[_ENTRY].action, normalized.numpy())


def _largest(ours: np.ndarray, theirs: np.ndarray) -> str:
    return f"{np.abs(ours - theirs).max():.1e}"


def _relative(ours: np.ndarray, theirs: np.ndarray) -> str:
    return f"{np.abs(ours - theirs).max() / np.abs(theirs).max():.1e}"


def _reference(python: str, part: str, options: argparse.Namespace, folder: Path) -> None:
    command = [python, str(_REFERENCE), part, str(options.reference_repo), str(folder)]
    if part == "network":
        command += ["--transformers", str(options.reference_transformers)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"The original code failed ({part}):\n{run.stderr[-3000:]}")


def _commit(repository: Path) -> str:
    command = ["git", "-C", str(repository), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _page(original: str, network: Sequence[tuple[str, str]], images: Sequence[tuple[str, str]]) -> str:
    lines = [
        "# OpenVLA-OFT compared with the original code",
        "",
        f"`{command()}`, {today()}, {hardware()}, shared with other work, {software('torch')}, float32.",
        "",
        "Full-size DINOv2 and SigLIP towers, two images, 8-number proprioception, a decoder of 3 blocks of width 128, "
        "the L1 head; random weights, saved by the original in the published layout and loaded by both. The original "
        f"runs at batch 1: {original}.",
        "",
        "| quantity | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in network),
        "",
    ]
    if images:
        lines += [
            "Images, compared with its TensorFlow functions, in gray levels of 255. The compressed bytes are equal; "
            "the "
            "decoders differ: TensorFlow's default is libjpeg's fast inverse transform, Pillow's the accurate one.",
            "",
            "| image preparation | largest / mean difference |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in images),
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference-python", required=True, help="with torch, timm 0.9.16 and transformers 4.40.1")
    parser.add_argument("--reference-repo", type=Path, required=True, help="checkout of moojink/openvla-oft")
    parser.add_argument(
        "--reference-transformers", type=Path, required=True, help="checkout of moojink/transformers-openvla-oft"
    )
    parser.add_argument("--tensorflow-python", help="with tensorflow and pillow: compares image preparation too")
    parser.add_argument("--output", type=Path, default=Path("results/openvla_oft_parity.md"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _reference(options.reference_python, "network", options, folder)
        network = compared_network(folder)
        images = []
        if options.tensorflow_python:
            _reference(options.tensorflow_python, "images", options, folder)
            images = compared_images(folder)
    original = f"moojink/openvla-oft at {_commit(options.reference_repo)}, "
    original += f"moojink/transformers-openvla-oft at {_commit(options.reference_transformers)}"
    page = _page(original, network, images)
    with written_whole(options.output) as temporary:
        temporary.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
