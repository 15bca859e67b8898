"""Policies of kind `openvla_oft`: an OpenVLA-OFT checkpoint and the conventions of its card."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from vla_bench.core.conventions import GripperConvention, Orientation
from vla_bench.core.errors import CheckpointError, ConventionError
from vla_bench.core.types import FloatArray, ImageArray, Observation
from vla_bench.policies.cards import PolicyCard, find_file, policy_kind
from vla_bench.policies.conventions import AxisAngleConvention, image_for_policy, training_conventions
from vla_bench.policies.network_policy import NetworkPolicy

if TYPE_CHECKING:
    from vla_bench.models.openvla_oft.checkpoint import OFTCheckpoint


_ADAPTER_CONFIG = "adapter_config.json"


class OpenVLAOFTCard(PolicyCard):
    """Card of an OpenVLA-OFT checkpoint: folder, and conventions of inputs and actions."""

    checkpoint: Path | None = None  # None: the user names it with --checkpoint
    cameras: Annotated[tuple[str, ...], Field(min_length=1)] = ("agentview", "wrist")  # in the order of training
    image_size: Annotated[
        int, Field(ge=16)
    ]  # pixels of the rendered images; the checkpoint has the size of the network
    image_orientation: Orientation = "upright"  # of the training images, relative to those of the environments
    image_jpeg: bool = True  # JPEG compression before resizing, as in training
    image_crop_area: Annotated[float, Field(gt=0, le=1)] = 0.9  # fraction of the image area in the center crop
    proprioception: tuple[str, ...] = ()  # fields of the environment, in the order of training
    axis_angle: AxisAngleConvention = "robosuite"
    gripper: GripperConvention = "open_one"
    unnorm_key: str | None = None  # entry of dataset_statistics.json; optional if there is only one
    dtype: Literal["float32", "bfloat16", "float16"] | None = None  # None: that of the checkpoint
    chunk_size: Annotated[int, Field(ge=1)] = 8  # actions per prediction; not in published files

    def with_checkpoint(self, checkpoint: Path) -> Self:
        """Return the card with this checkpoint, and for a network trained here with its recorded training inputs."""
        found = training_conventions(checkpoint)
        if found is None:
            return self.model_copy(update={"checkpoint": checkpoint})
        record, shown = found
        return self.model_copy(
            update={
                "checkpoint": checkpoint,
                "chunk_size": record.chunk_size,
                "chunk": None if self.chunk_problems(record.chunk_size) else self.chunk,
                "image_jpeg": False,
                **shown,
            }
        )

    def checkpoints(self, folder: Path) -> dict[str, Path]:
        """Return the folder of the checkpoint."""
        return {} if self.checkpoint is None else {"checkpoint": find_file(self.checkpoint, folder)}


@policy_kind("openvla_oft", OpenVLAOFTCard)
def build_openvla_oft(card: OpenVLAOFTCard, folder: Path) -> "OpenVLAOFTPolicy":
    """Load the checkpoint of the card."""
    places = card.checkpoints(folder)
    if "checkpoint" not in places:
        raise CheckpointError(
            "of openvla-oft", "the card names none. Pass a folder in the OpenVLA-OFT layout with --checkpoint PATH"
        )
    is_adapter = (places["checkpoint"] / _ADAPTER_CONFIG).is_file()
    return OpenVLAOFTPolicy(card, (_adapted if is_adapter else _whole)(card, places["checkpoint"]))


def _whole(card: OpenVLAOFTCard, folder: Path) -> "OFTCheckpoint":
    import torch

    from vla_bench.models.openvla_oft.checkpoint import load_oft_checkpoint

    return load_oft_checkpoint(
        folder,
        num_images=len(card.cameras),
        chunk_size=card.chunk_size,
        dtype=None if card.dtype is None else getattr(torch, card.dtype),
        device="cuda" if torch.cuda.is_available() else "cpu",
    )


def _adapted(card: OpenVLAOFTCard, folder: Path) -> "OFTCheckpoint":
    """Return the base network of the adapter in `folder`, with the adapter."""
    import torch

    from vla_bench.models.adapters import load_finetuned
    from vla_bench.models.openvla_oft.checkpoint import OFTCheckpoint

    checkpoint = load_finetuned(folder)
    if not isinstance(checkpoint, OFTCheckpoint):
        raise CheckpointError(
            folder, "its adapter belongs to a network without an OpenVLA-OFT head. Use another policy"
        )
    checkpoint.model.to("cuda" if torch.cuda.is_available() else "cpu")
    if card.dtype is not None:
        checkpoint.model.to(getattr(torch, card.dtype))
    return checkpoint


class OpenVLAOFTPolicy(NetworkPolicy):
    """Predict a chunk of actions from images, proprioception and instruction, in one pass."""

    def __init__(self, card: OpenVLAOFTCard, checkpoint: "OFTCheckpoint") -> None:
        from vla_bench.models.compilation import Traced
        from vla_bench.models.normalization import statistics_for

        self._card, self._checkpoint = card, checkpoint
        self._statistics = statistics_for(checkpoint.statistics, card.unnorm_key)
        _check_card(card, checkpoint, self._statistics.proprioception is not None)
        weight = (
            checkpoint.model.vla.language_model.model.embed_tokens.weight
        )  # has device and data type of the network
        self._dtype = weight.dtype
        super().__init__(
            card, checkpoint.processor.tokenize_instructions, weight.device, checkpoint.config.proprioception_dim
        )
        self._predict = (
            Traced(checkpoint.model, "predict_normalized")
            if weight.device.type == "cpu"
            else checkpoint.model.predict_normalized
        )

    def padding_group(self, instruction: str) -> Hashable:
        """Return the length of the prompt [tokens]."""
        return int(self._checkpoint.processor.tokenize_instructions([instruction])[1].sum())

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the predicted chunks, (B, H, 7)."""
        import torch

        from vla_bench.models.normalization import unnormalize_oft_actions

        images = self._images(observations, self._prepared)
        with torch.inference_mode():
            normalized = self._predict(
                *self._prompts(rows),
                self._checkpoint.processor.images(images).to(self._device, self._dtype),
                self._normalized(observations, self._statistics.proprioception),
            )
        return self._to_environment_conventions(
            unnormalize_oft_actions(self._statistics.action, normalized.float().cpu().numpy())
        )

    def _prepared(self, image: ImageArray) -> ImageArray:
        from vla_bench.policies.conventions import evaluation_image

        card = self._card
        turned = image_for_policy(image, card.image_orientation, 1.0)
        resized = evaluation_image(turned, self._checkpoint.config.vla.image_size, jpeg=card.image_jpeg)
        return image_for_policy(resized, "upright", card.image_crop_area)


def _check_card(card: OpenVLAOFTCard, checkpoint: "OFTCheckpoint", has_statistics: bool) -> None:
    """Raise `ConventionError` if card and network contradict each other."""
    config = checkpoint.config
    problems = []
    if bool(card.proprioception) != bool(config.proprioception_dim):
        problems.append(
            f"the network takes {config.proprioception_dim} numbers of proprioception, but the card lists "
            f"{', '.join(card.proprioception) or 'none'}"
        )
    if card.proprioception and not has_statistics:
        problems.append("the statistics have no entry for proprioception")
    if len(card.cameras) != config.num_images:
        problems.append(f"the network takes {config.num_images} images, but the card lists {len(card.cameras)} cameras")
    if card.chunk_size != config.chunk_size:
        problems.append(
            f"the network predicts {config.chunk_size} actions, but the card has chunk_size {card.chunk_size}"
        )
    problems += card.chunk_problems(config.chunk_size)
    if problems:
        raise ConventionError(f"The policy card does not fit its checkpoint: {'; '.join(problems)}.")
