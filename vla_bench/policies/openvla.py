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
    """A checkpoint folder, perhaps an adapter on it, and how the network sees and acts."""

    checkpoint: Path  # folder in OpenVLA's layout
    checkpoint_source: str | None = None  # where it is to be had, said where it is not there
    adapter: Path | None = None  # folder that `vla-bench finetune` wrote, all but the method `full`
    merge_adapter: bool = True  # into the weights, where it can be: faster; false: kept apart, as it was trained
    cameras: Annotated[tuple[str, ...], Field(min_length=1)] = ("agentview",)
    image_size: Annotated[int, Field(ge=16)]  # pixels of the images it was trained on; the network resizes them
    image_orientation: Orientation = "upright"  # of its training images, against the environments'
    image_crop_area: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the image that is kept, at its centre
    proprioception: tuple[str, ...] = ()  # names of the environment's fields, in the order of training
    axis_angle: AxisAngleConvention = "robosuite"
    gripper: GripperConvention = "close_positive"
    unnorm_key: str | None = None  # entry of dataset_statistics.json; may be left out where there is one only
    action_from: Literal["most_likely", "expected"] = "most_likely"  # the likeliest bin, or the mean over the bins
    dtype: Literal["float32", "bfloat16", "float16"] | None = None  # None: the checkpoint's
    quantise: Literal["8bit", "4bit"] | None = None  # the decoder's weights, by bitsandbytes
    compile: bool = False  # by torch.compile, at the first prediction

    def with_checkpoint(self, checkpoint: Path) -> Self:
        """Return the card with this adapter on its base, or with this checkpoint and no adapter.

        Where it was trained here, what it was shown takes the place of the card's conventions.
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
        """Return where the checkpoint and the adapter lie."""
        adapter = {} if self.adapter is None else {"adapter": find_file(self.adapter, folder)}
        return {"checkpoint": find_file(self.checkpoint, folder), **adapter}


def _recorded_base(adapter: Path) -> Path | None:
    """Return the base that the adapter says it belongs to, where it is there: beside it, or where its name leads."""
    bundled = adapter / _BUNDLED_BASE  # `vla-bench merge` writes one where it cannot merge
    if bundled.is_dir():
        return bundled
    try:
        name = str(json.loads((adapter / _BASE_FILE).read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # loading the adapter says what is wrong with it
    places = (Path(name), data_folder("baselines") / name / "base")
    return next((place for place in places if place.is_dir()), None)


@policy_kind("openvla", OpenVLACard)
def build_openvla(card: OpenVLACard, folder: Path) -> "OpenVLAPolicy":
    """Load the card's checkpoint and adapter."""
    places = card.checkpoints(folder)
    if "adapter" in places and not places["adapter"].is_dir():
        raise CheckpointError(
            places["adapter"],
            "there is no such folder. Make one with `vla-bench finetune --method lora --output PATH`, "
            "and give it with `--checkpoint PATH`",
        )
    checkpoint = _load(card, places["checkpoint"])
    if "adapter" in places:
        from vla_bench.models.adapters import load_adapter

        checkpoint = load_adapter(checkpoint, places["adapter"], merge=card.merge_adapter)
    return OpenVLAPolicy(card, checkpoint)


def _load(card: OpenVLACard, folder: Path) -> "Checkpoint":
    if not folder.is_dir():
        how = f"Download {card.checkpoint_source}" if card.checkpoint_source else "Make one with `vla-bench finetune`"
        raise CheckpointError(folder, f"there is no such folder. {how}, and give it with `--checkpoint PATH`")
    if card.quantise is not None and card.adapter is not None:
        raise ConventionError("The card names an adapter and `quantise`, but adapters are merged into whole weights.")
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
        """Return the length of the prompt, with its padding where that is masked the same way in every batch."""
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
        if logits.isnan().any():  # the likeliest of no numbers is the first bin: an action like any other
            raise VlaBenchError("The network answers with what is no number: its weights are damaged.")
        tokens = self._tokens
        decode = tokens.most_likely_action if self._card.action_from == "most_likely" else tokens.expected_action
        decoded: FloatArray = decode(logits).cpu().numpy()
        return decoded


def _action_logits(card: OpenVLACard, checkpoint: "Checkpoint", *, on_cpu: bool) -> "Callable[..., torch.Tensor]":
    """Return what computes the network's logits, in the way that is fastest where it is."""
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
    """Raise `ConventionError` where card and network contradict each other."""
    config = checkpoint.config
    problems = []
    if len(card.cameras) != config.num_images:
        problems.append(f"the network takes {config.num_images} images, the card names {len(card.cameras)} cameras")
    if bool(card.proprioception) != bool(config.proprioception_dim):
        problems.append(
            f"the network takes {config.proprioception_dim} numbers of proprioception, the card names "
            f"{', '.join(card.proprioception) or 'none'}"
        )
    if config.proprioception_fields and card.proprioception != config.proprioception_fields:
        problems.append(
            f"the network was trained on {', '.join(config.proprioception_fields)}, the card names "
            f"{', '.join(card.proprioception) or 'none'}"
        )
    if card.proprioception and _statistics(card, checkpoint).proprioception is None:
        problems.append("the statistics have no entry for proprioception")
    if (size := len(_statistics(card, checkpoint).action.q01)) != ACTION_DIM:
        problems.append(f"the statistics are of actions of {size} numbers, ours have {ACTION_DIM}")
    problems += card.chunk_problems(config.chunk_size)
    if problems:
        raise ConventionError(f"The policy card does not fit its checkpoint: {'; '.join(problems)}.")
