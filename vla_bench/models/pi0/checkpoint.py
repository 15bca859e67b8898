"""Load pi0 checkpoint folders in the layouts of transformers and LeRobot."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoTokenizer, PI0Config, PI0ForConditionalGeneration, PreTrainedTokenizerBase

from vla_bench.core.errors import CheckpointError
from vla_bench.models.pi0.processor import Pi0Normalization, Pi0Processor, read_normalization

# configuration of PI0Config()
_LEROBOT_SIZES = {"paligemma_variant": "gemma_2b", "action_expert_variant": "gemma_300m"}
_COPIED_FIELDS = ("chunk_size", "max_state_dim", "max_action_dim", "min_period", "max_period")


@dataclass(frozen=True)
class Pi0Checkpoint:
    """A pi0 network with its processor and normalization."""

    model: nn.Module  # transformers' PI0ForConditionalGeneration
    processor: Pi0Processor
    normalization: Pi0Normalization

    @property
    def config(self) -> PI0Config:
        """Shape of the network."""
        return self.processor.config

    @torch.no_grad()
    def actions(self, inputs: dict[str, torch.Tensor], noise: torch.Tensor, steps: int | None = None) -> torch.Tensor:
        """Return normalized, padded actions (B, chunk_size, max_action_dim) from noise of the same shape.

        `steps` is the number of flow steps; None: that of the checkpoint. Inputs are moved to device and data type
        of the network.
        """
        network: Any = self.model
        floats = {"device": network.device, "dtype": network.dtype}
        placed = {
            name: value.to(**floats) if value.is_floating_point() else value.to(network.device)
            for name, value in inputs.items()
        }
        return network.sample_actions(**placed, noise=noise.to(**floats), num_steps=steps)  # type: ignore[no-any-return]


def load_pi0_checkpoint(
    folder: Path,
    *,
    tokenizer: Path | None = None,
    unnorm_key: str | None = None,
    quantiles: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Pi0Checkpoint:
    """Return the checkpoint in `folder`, in evaluation mode.

    `tokenizer` is the folder of the PaliGemma tokenizer, if the checkpoint has none. Raises `CheckpointError` with the
    invalid file, tensor or field; no tensor keeps random values.
    """
    config = _config(folder)
    normalization = read_normalization(folder, unnorm_key, quantiles=quantiles)
    _check_sizes(folder, config, normalization)
    processor = Pi0Processor(config, _tokenizer(folder, tokenizer))
    return Pi0Checkpoint(_model(folder, config, dtype), processor, normalization)


def _config(folder: Path) -> PI0Config:
    if not folder.is_dir():
        raise CheckpointError(folder, "the folder does not exist")
    file = folder / "config.json"
    if not file.is_file():
        raise CheckpointError(folder, "config.json is missing")
    try:
        content = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise CheckpointError(folder, f"config.json is not valid JSON: {error}") from error
    if content.get("model_type") == "pi0":
        return PI0Config.from_dict(content)
    if content.get("type") == "pi0":
        return lerobot_config(folder, content)
    kind = content.get("model_type", content.get("type"))
    raise CheckpointError(folder, f"config.json describes {kind!r}, not 'pi0' (by transformers or LeRobot)")


def lerobot_config(folder: Path, content: dict[str, Any]) -> PI0Config:
    """Return the network configuration of a LeRobot `config.json`, which names model sizes."""
    for field, supported in _LEROBOT_SIZES.items():
        if content.get(field, supported) != supported:
            raise CheckpointError(folder, f"config.json: {field} is {content[field]!r}. Supported: {supported!r}")
    if content.get("adapt_to_pi_aloha") or content.get("use_delta_joint_actions_aloha"):
        raise CheckpointError(folder, "config.json requires the joint conversion of ALOHA, which is not supported")
    fields = {name: content[name] for name in _COPIED_FIELDS if name in content}
    steps = content.get("num_inference_steps", content.get("num_steps", 10))
    return PI0Config(**fields, num_inference_steps=steps)


def _model(folder: Path, config: PI0Config, dtype: torch.dtype) -> nn.Module:
    network: Any = PI0ForConditionalGeneration
    try:
        model, report = network.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, by name
        )
    except (OSError, SafetensorError) as error:
        raise CheckpointError(folder, f"the weights cannot be read: {error}") from error
    for problem, name in (("missing", "lack"), ("unexpected", "have an unknown tensor,")):
        if report[f"{problem}_keys"]:
            raise CheckpointError(folder, f"the weights {name} {min(report[f'{problem}_keys'])}")
    for name, found, wanted in sorted(report["mismatched_keys"]):
        raise CheckpointError(
            folder, f"{name} has shape {tuple(found)}, but the configuration requires {tuple(wanted)}"
        )
    return model.eval()  # type: ignore[no-any-return]


def _tokenizer(folder: Path, elsewhere: Path | None) -> PreTrainedTokenizerBase:
    place = folder if elsewhere is None else elsewhere
    if not any((place / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise CheckpointError(
            place, "tokenizer.json is missing. Set `tokenizer` in the card to the folder of the PaliGemma tokenizer"
        )
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, local_files_only=True)
    if tokenizer.bos_token_id is None:
        raise CheckpointError(place, "the tokenizer has no first token (bos_token), which prompts of pi0 start with")
    return tokenizer


def _check_sizes(folder: Path, config: PI0Config, normalization: Pi0Normalization) -> None:
    for name, scaling, most in (
        ("state", normalization.state, config.max_state_dim),
        ("actions", normalization.action, config.max_action_dim),
    ):
        if len(scaling.center) > most:
            size = len(scaling.center)
            raise CheckpointError(folder, f"its statistics of {name} have {size} numbers, but the network takes {most}")
