"""Run the original OpenVLA-OFT code; `openvla_oft_parity.py` starts this with the Python that has its dependencies.

`network` creates its network with full-size towers, a small decoder and random weights, saves it in the published
layout and predicts; `images` prepares images with its TensorFlow functions. This file does not import vla_bench.
"""

import argparse
import ast
import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np

ACTION_DIM, PROPRIOCEPTION_DIM, IMAGES = 7, 8, 2
EMPTY_TOKEN = 29871
PROMPT_LENGTHS = (12, 19, 15, 31)
TEXT = {
    "vocab_size": 32064,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "pad_token_id": 32000,
}


def functions_of(file: Path, names: list[str], scope: dict) -> dict:
    """Return `scope` with functions of a file that cannot be imported because of missing dependencies."""
    tree = ast.parse(file.read_text())
    chosen = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    future = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module([*future, *chosen], []), str(file), "exec"), scope)
    return scope


def load_original(repository: Path, transformers_fork: Path) -> None:
    """Make the original modules importable, the Llama decoder of its transformers fork included."""
    for name in ("prismatic", "prismatic.extern", "prismatic.extern.hf", "prismatic.models", "prismatic.training"):
        package = types.ModuleType(name)  # replaces __init__ files that import its training code
        package.__path__ = [str(repository / name.replace(".", "/"))]
        sys.modules[name] = package
    package = types.ModuleType("prismatic.vla")
    package.__path__ = [str(repository / "prismatic/vla")]
    sys.modules["prismatic.vla"] = package
    scheduler = types.ModuleType("diffusers.schedulers.scheduling_ddim")
    scheduler.DDIMScheduler = None  # for the diffusion head, which is not used
    for name in ("diffusers", "diffusers.schedulers"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[scheduler.__name__] = scheduler
    import transformers.models.llama

    name = "transformers.models.llama.modeling_llama"
    file = transformers_fork / "src" / "transformers/models/llama/modeling_llama.py"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    transformers.models.llama.modeling_llama = module


def statistics(generator: np.random.Generator) -> dict:
    """Return the statistics of random data as in `dataset_statistics.json`."""
    entry = {}
    for name, size in (("action", ACTION_DIM), ("proprio", PROPRIOCEPTION_DIM)):
        data = generator.normal(size=(500, size))
        low, high = np.quantile(data, [0.01, 0.99], axis=0)
        values = {"mean": data.mean(0), "std": data.std(0), "min": data.min(0), "max": data.max(0)}
        entry[name] = {key: value.tolist() for key, value in {**values, "q01": low, "q99": high}.items()}
    entry["action"]["mask"] = [True] * 6 + [False]
    return {"made_up": {**entry, "num_trajectories": 1, "num_transitions": 500}}


def run_network(repository: Path, fork: Path, output: Path) -> None:
    """Save the checkpoint and the inputs and outputs of the original network."""
    load_original(repository, fork)
    import torch
    from PIL import Image
    from prismatic.extern.hf.configuration_prismatic import OpenVLAConfig
    from prismatic.extern.hf.modeling_prismatic import OpenVLAForActionPrediction
    from prismatic.extern.hf.processing_prismatic import PrismaticImageProcessor
    from prismatic.models.action_heads import L1RegressionActionHead
    from prismatic.models.projectors import ProprioProjector
    from prismatic.vla.constants import ACTION_PROPRIO_NORMALIZATION_TYPE
    from transformers.models.llama.modeling_llama import LlamaSdpaAttention

    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    norm_stats = statistics(generator)
    config = OpenVLAConfig(
        norm_stats=norm_stats,
        vision_backbone_id="dinosiglip-vit-so-224px",
        llm_backbone_id="llama2-7b-pure",
        arch_specifier="no-align+fused-gelu-mlp",
        image_resize_strategy="resize-naive",
        text_config=TEXT,
    )
    config._attn_implementation = "sdpa"
    model = OpenVLAForActionPrediction(config).eval()
    assert isinstance(model.language_model.model.layers[0].self_attn, LlamaSdpaAttention)
    model.vision_backbone.set_num_images_in_input(IMAGES)
    head = L1RegressionActionHead(TEXT["hidden_size"], TEXT["hidden_size"], ACTION_DIM).eval()
    projector = ProprioProjector(TEXT["hidden_size"], PROPRIOCEPTION_DIM).eval()
    with torch.no_grad():
        for module in (model, head, projector):
            for (
                name,
                parameter,
            ) in module.named_parameters():  # also layer scales and biases, whose initial values are equal
                parameter.add_(torch.randn_like(parameter), alpha=0.3 if "scale" in name else 0.03)
    model.save_pretrained(output)
    torch.save(head.state_dict(), output / "action_head--1_checkpoint.pt")
    torch.save(projector.state_dict(), output / "proprio_projector--1_checkpoint.pt")
    (output / "dataset_statistics.json").write_text(json.dumps(norm_stats))
    sizes = [(3, 224, 224)] * 2
    processor = PrismaticImageProcessor(
        use_fused_vision_backbone=True,
        image_resize_strategy="resize-naive",
        input_sizes=sizes,
        interpolations=["bicubic", "bicubic"],
        means=[(0.485, 0.456, 0.406), (0.5, 0.5, 0.5)],
        stds=[(0.229, 0.224, 0.225), (0.5, 0.5, 0.5)],
    )
    processor.save_pretrained(output)
    scope = {"np": np, "ACTION_PROPRIO_NORMALIZATION_TYPE": ACTION_PROPRIO_NORMALIZATION_TYPE}
    scope["NormalizationType"] = type(ACTION_PROPRIO_NORMALIZATION_TYPE)
    functions_of(repository / "experiments/robot/openvla_utils.py", ["normalize_proprio"], scope)

    rows = len(PROMPT_LENGTHS)
    images = generator.integers(0, 256, (rows, IMAGES, 224, 224, 3), dtype=np.uint8)
    raw = generator.normal(size=(rows, PROPRIOCEPTION_DIM)) * 1.5  # also beyond the quantiles, which are clipped
    prompts = [
        np.r_[1, generator.integers(3, 29871, length - 2), EMPTY_TOKEN].astype(np.int64) for length in PROMPT_LENGTHS
    ]
    pixels, states, actions = [], [], []
    for row in range(rows):
        prepared = [processor(Image.fromarray(image), return_tensors="pt")["pixel_values"] for image in images[row]]
        pixels.append(torch.cat(prepared, dim=1))
        states.append(scope["normalize_proprio"](raw[row], norm_stats["made_up"]["proprio"]))
        ids = torch.from_numpy(prompts[row])[None, :-1]  # the original appends the empty token itself
        with torch.inference_mode():
            action, _ = model.predict_action(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values=pixels[-1],
                unnorm_key="made_up",
                proprio=states[-1],
                proprio_projector=projector,
                action_head=head,
            )
        actions.append(action)
    np.savez(
        output / "reference.npz",
        images=images,
        proprioception=raw,
        pixel_values=torch.cat(pixels).numpy(),
        normalized_proprioception=np.stack(states),
        actions=np.stack(actions),
        **{f"prompt_{row}": prompt for row, prompt in enumerate(prompts)},
    )


def run_images(repository: Path, output: Path) -> None:
    """Save a smooth and a noisy image as prepared by the original's TensorFlow functions."""
    import tensorflow as tf
    from PIL import Image

    scope = {"tf": tf, "np": np, "Image": Image, "OPENVLA_IMAGE_SIZE": 224}
    names = ["resize_image_for_policy", "crop_and_resize", "center_crop_image"]
    functions_of(repository / "experiments/robot/openvla_utils.py", names, scope)
    rows, columns = np.mgrid[:256, :256]
    planes = [127 + 120 * np.sin(columns / 20 + shift) * np.cos(rows / 31 + 2 * shift) for shift in range(3)]
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    saved = {}
    for name, image in {"smooth": np.stack(planes, axis=-1).round().astype(np.uint8), "noisy": noise}.items():
        decoded = tf.io.decode_image(tf.image.encode_jpeg(image), expand_animations=False, dtype=tf.uint8).numpy()
        resized = scope["resize_image_for_policy"](image, 224)
        saved |= {name: image, f"{name}_decoded": decoded, f"{name}_resized": resized}
        saved[f"{name}_final"] = np.asarray(scope["center_crop_image"](resized))
    np.savez(output / "images.npz", **saved)


def main() -> None:
    """Run one of the two parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["network", "images"])
    parser.add_argument("repository", type=Path, help="checkout of moojink/openvla-oft")
    parser.add_argument("output", type=Path)
    parser.add_argument("--transformers", type=Path, help="checkout of moojink/transformers-openvla-oft")
    options = parser.parse_args()
    if options.part == "network":
        run_network(options.repository, options.transformers, options.output)
    else:
        run_images(options.repository, options.output)


if __name__ == "__main__":
    main()
