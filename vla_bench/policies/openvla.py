"""Policies of kind `openvla`: an OpenVLA checkpoint, optionally with an adapter, and the conventions of its card."""

import json
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from vla_bench.core.conventions import GripperConvention, Orientation
from vla_bench.core.errors import CheckpointError, ConventionError, VlaBenchError
from vla_bench.core.files import data_folder
from vla_bench.core.types import ACTION_DIM, FloatArray, ImageArray, Observation
from vla_bench.policies.cards import PolicyCard, find_file, policy_kind
from vla_bench.policies.conventions import AxisAngleConvention, image_for_policy, training_conventions
from vla_bench.policies.network_policy import NetworkPolicy

if TYPE_CHECKING:
    import torch

    from vla_bench.models.normalization import DatasetStatistics
    from vla_bench.models.openvla.checkpoint import Checkpoint


_ADAPTER_CONFIG = "adapter_config.json"
_BUNDLED_BASE = "base"
_BASE_FILE = "base.json"


class OpenVLACard(PolicyCard):
    """Card of an OpenVLA checkpoint: folder, optional adapter, and conventions of inputs and actions."""

    checkpoint: Path  # folder in the OpenVLA layout
    checkpoint_source: str | None = None  # source, named in the error if the folder is missing
    adapter: Path | None = None  # output folder of `vla-bench finetune`, except for the method `full`
    merge_adapter: bool = True  # merge the adapter into the weights if possible (faster)
    cameras: Annotated[tuple[str, ...], Field(min_length=1)] = ("agentview",)
    image_size: Annotated[int, Field(ge=16)]  # pixels of the training images; the network resizes them
    image_orientation: Orientation = "upright"  # of the training images, relative to those of the environments
    image_crop_area: Annotated[float, Field(gt=0, le=1)] = 1.0  # fraction of the image area in the center crop
    proprioception: tuple[str, ...] = ()  # fields of the environment, in the order of training
    axis_angle: AxisAngleConvention = "robosuite"
    gripper: GripperConvention = "close_positive"
    unnorm_key: str | None = None  # entry of dataset_statistics.json; optional if there is only one
    action_from: Literal["most_likely", "expected"] = "most_likely"  # most likely bin, or mean over the bins
    dtype: Literal["float32", "bfloat16", "float16"] | None = None  # None: that of the checkpoint
    quantise: Literal["8bit", "4bit"] | None = None  # decoder weights, by bitsandbytes
    compile: bool = False  # with torch.compile, at the first prediction

    def with_checkpoint(self, checkpoint: Path) -> Self:
        """Return the card with this adapter on its base, or with this checkpoint and no adapter.

        For a network trained here, the recorded training inputs replace the conventions of the card.
        """
        found = training_conventions(checkpoint)
        update: dict[str, object] = {}
        if found is not None:
            record, shown = found
            update = {"chunk": None if self.chunk_problems(record.chunk_size) else self.chunk, **shown}
        if (checkpoint / _ADAPTER_CONFIG).is_file():
            update |= {"adapter": checkpoint, "checkpoint": _recorded_base(checkpoint) or self.checkpoint}
        else:
            update |= {"adapter": None, "checkpoint": checkpoint}
        return self.model_copy(update=update)

    def checkpoints(self, folder: Path) -> dict[str, Path]:
        """Return the folders of checkpoint and adapter."""
        adapter = {} if self.adapter is None else {"adapter": find_file(self.adapter, folder)}
        return {"checkpoint": find_file(self.checkpoint, folder), **adapter}


def _recorded_base(adapter: Path) -> Path | None:
    """Return the base recorded in the adapter, if it exists: in the same folder, or by its recorded name."""
    bundled = adapter / _BUNDLED_BASE  # written by `vla-bench merge` if the adapter cannot be merged
    if bundled.is_dir():
        return bundled
    try:
        name = str(json.loads((adapter / _BASE_FILE).read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # loading the adapter reports the problem
    places = (Path(name), data_folder("baselines") / name / "base")
    return next((place for place in places if place.is_dir()), None)


@policy_kind("openvla", OpenVLACard)
def build_openvla(card: OpenVLACard, folder: Path) -> "OpenVLAPolicy":
    """Load checkpoint and adapter of the card."""
    places = card.checkpoints(folder)
    if "adapter" in places and not places["adapter"].is_dir():
        raise CheckpointError(
            places["adapter"],
            "the folder does not exist. Create one with `vla-bench finetune --method lora --output PATH`, "
            "and pass it with `--checkpoint PATH`",
        )
    checkpoint = _load(card, places["checkpoint"])
    if "adapter" in places:
        from vla_bench.models.adapters import load_adapter

        checkpoint = load_adapter(checkpoint, places["adapter"], merge=card.merge_adapter)
    return OpenVLAPolicy(card, checkpoint)


def _load(card: OpenVLACard, folder: Path) -> "Checkpoint":
    if not folder.is_dir():
        how = f"Download {card.checkpoint_source}" if card.checkpoint_source else "Create one with `vla-bench finetune`"
        raise CheckpointError(folder, f"the folder does not exist. {how}, and pass it with `--checkpoint PATH`")
    if card.quantise is not None and card.adapter is not None:
        raise ConventionError(
            "The card has an adapter and `quantise`, but adapters are merged into full-precision weights."
        )
    import torch

    from vla_bench.models.openvla.checkpoint import load_checkpoint

    dtype = None if card.dtype is None else getattr(torch, card.dtype)
    return load_checkpoint(folder, dtype=dtype, device=_device(), quantise=card.quantise)


def _device() -> "torch.device":
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class OpenVLAPolicy(NetworkPolicy):
    """Predict a chunk of actions from images, proprioception and instruction."""

    def __init__(self, card: OpenVLACard, checkpoint: "Checkpoint") -> None:
        self._card, self._checkpoint = card, checkpoint
        self._statistics = _statistics(card, checkpoint)
        _check_card(card, checkpoint)
        self._tokens = checkpoint.action_tokenizer
        self._parallel = checkpoint.config.decoding == "parallel"
        super().__init__(
            card, checkpoint.processor.tokenize_instructions, _device(), checkpoint.config.proprioception_dim
        )
        checkpoint.model.to(self._device).eval()
        self._action_logits = _action_logits(card, checkpoint, on_cpu=self._device.type == "cpu")

    def padding_group(self, instruction: str) -> Hashable:
        """Return the length of the prompt, including padding if that is masked in the same way in every batch."""
        _, mask = self._checkpoint.processor.tokenize_instructions([instruction])
        return mask.shape[1] if self._parallel else int(mask.sum())

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the predicted chunks, (B, H, 7)."""
        import torch

        images = torch.from_numpy(self._images(observations, self._prepared)).to(self._device)
        with torch.inference_mode():
            logits = self._action_logits(
                *self._prompts(rows),
                self._checkpoint.processor.images(images),
                self._normalized(observations, self._statistics.proprioception),
            )
            actions = self._statistics.action.unnormalize(self._decoded(logits))
        return self._to_environment_conventions(actions)

    def _prepared(self, image: ImageArray) -> ImageArray:
        return image_for_policy(image, self._card.image_orientation, self._card.image_crop_area)

    def _decoded(self, logits: "torch.Tensor") -> FloatArray:
        if logits.isnan().any():  # argmax of NaN is the first bin, which would be a valid action
            raise VlaBenchError("The network returned non-finite logits: its weights are damaged.")
        tokens = self._tokens
        decode = tokens.most_likely_action if self._card.action_from == "most_likely" else tokens.expected_action
        decoded: FloatArray = decode(logits).cpu().numpy()
        return decoded


def _action_logits(card: OpenVLACard, checkpoint: "Checkpoint", *, on_cpu: bool) -> "Callable[..., torch.Tensor]":
    """Return the fastest function that computes the logits on the device of the network."""
    if card.compile:
        from vla_bench.models.compilation import compile_network

        compile_network(checkpoint.model)
    elif on_cpu and checkpoint.config.decoding == "parallel":
        from vla_bench.models.compilation import Traced

        return Traced(checkpoint.model, "action_logits")
    return checkpoint.model.action_logits


def _statistics(card: OpenVLACard, checkpoint: "Checkpoint") -> "DatasetStatistics":
    from vla_bench.models.normalization import statistics_for

    return statistics_for(checkpoint.statistics, card.unnorm_key)


def _check_card(card: OpenVLACard, checkpoint: "Checkpoint") -> None:
    """Raise `ConventionError` if card and network contradict each other."""
    config = checkpoint.config
    problems = []
    if len(card.cameras) != config.num_images:
        problems.append(f"the network takes {config.num_images} images, but the card lists {len(card.cameras)} cameras")
    if bool(card.proprioception) != bool(config.proprioception_dim):
        problems.append(
            f"the network takes {config.proprioception_dim} numbers of proprioception, but the card lists "
            f"{', '.join(card.proprioception) or 'none'}"
        )
    if config.proprioception_fields and card.proprioception != config.proprioception_fields:
        problems.append(
            f"the network was trained on {', '.join(config.proprioception_fields)}, but the card lists "
            f"{', '.join(card.proprioception) or 'none'}"
        )
    if card.proprioception and _statistics(card, checkpoint).proprioception is None:
        problems.append("the statistics have no entry for proprioception")
    if (size := len(_statistics(card, checkpoint).action.q01)) != ACTION_DIM:
        problems.append(f"the statistics describe actions of {size} numbers, but the environments take {ACTION_DIM}")
    problems += card.chunk_problems(config.chunk_size)
    if problems:
        raise ConventionError(f"The policy card does not fit its checkpoint: {'; '.join(problems)}.")
