"""Policies of kind `openvla_oft`: an OpenVLA-OFT network behind a card, many episodes in one forward pass."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field

from vla_bench.core.conventions import GripperConvention, Orientation
from vla_bench.core.errors import CheckpointError, ConventionError
from vla_bench.core.types import ACTION_DIM, FloatArray, ImageArray, Observation
from vla_bench.policies.cards import PolicyCard, find_file
from vla_bench.policies.conventions import (
    AxisAngleConvention,
    actions_to_close_positive,
    image_for_policy,
)
from vla_bench.policies.policy import EnvironmentConventions, PolicyBase, PolicyRequirements
from vla_bench.policies.proprioception import ProprioceptionReader
from vla_bench.policies.registry import policy_kind
from vla_bench.policies.trained_here import recorded

if TYPE_CHECKING:  # torch takes seconds to load, and cards are read without it
    import torch

    from vla_bench.models.openvla_oft.checkpoint import OFTCheckpoint

_ADAPTER_CONFIG = "adapter_config.json"


class OpenVLAOFTCard(PolicyCard):
    """A checkpoint folder in OpenVLA-OFT's layout, and how the network sees and acts."""

    checkpoint: Path | None = None  # None: the user names it with --checkpoint
    cameras: Annotated[tuple[str, ...], Field(min_length=1)] = ("agentview", "wrist")  # in the order of training
    image_size: Annotated[int, Field(ge=16)]  # pixels, as rendered; the network's own size is its checkpoint's
    image_orientation: Orientation = "upright"  # of its training images, against the environments'
    image_jpeg: bool = True  # compress before resizing, as its training images were
    image_crop_area: Annotated[float, Field(gt=0, le=1)] = 0.9  # share of the resized image kept at its centre
    proprioception: tuple[str, ...] = ()  # names of the environment's fields, in the order of training
    axis_angle: AxisAngleConvention = "robosuite"
    gripper: GripperConvention = "open_one"
    unnorm_key: str | None = None  # entry of dataset_statistics.json; may be left out where there is one only
    dtype: Literal["float32", "bfloat16", "float16"] | None = None  # None: the checkpoint's
    chunk_size: Annotated[int, Field(ge=1)] = 8  # actions predicted at once: no published file says it

    def with_checkpoint(self, checkpoint: Path) -> Self:
        """Return the card with this checkpoint, and where that was trained here, with what it was shown."""
        found = recorded(checkpoint)
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
        """Return where the checkpoint lies."""
        return {} if self.checkpoint is None else {"checkpoint": find_file(self.checkpoint, folder)}


@policy_kind("openvla_oft", OpenVLAOFTCard)
def build_openvla_oft(card: OpenVLAOFTCard, folder: Path) -> "OpenVLAOFTPolicy":
    """Load the card's checkpoint."""
    places = card.checkpoints(folder)
    if "checkpoint" not in places:
        raise CheckpointError(
            "of openvla-oft", "the card names none. Give a folder in OpenVLA-OFT's layout with --checkpoint PATH"
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
    """Return the network that the adapter in `folder` was trained on, with it."""
    import torch

    from vla_bench.models.adapters import load_finetuned
    from vla_bench.models.openvla_oft.checkpoint import OFTCheckpoint

    checkpoint = load_finetuned(folder)
    if not isinstance(checkpoint, OFTCheckpoint):
        raise CheckpointError(
            folder, "its adapter belongs to a network without OpenVLA-OFT's head; take another policy"
        )
    checkpoint.model.to("cuda" if torch.cuda.is_available() else "cpu")
    if card.dtype is not None:
        checkpoint.model.to(getattr(torch, card.dtype))
    return checkpoint


class OpenVLAOFTPolicy(PolicyBase):
    """Predict a chunk of actions from images, proprioception and instruction, in one pass."""

    def __init__(self, card: OpenVLAOFTCard, checkpoint: "OFTCheckpoint") -> None:
        from vla_bench.models.normalization import statistics_for

        self._card, self._checkpoint = card, checkpoint
        self._statistics = statistics_for(checkpoint.statistics, card.unnorm_key)
        _check_card(card, checkpoint, self._statistics.proprioception is not None)
        self._weight = checkpoint.model.vla.language_model.model.embed_tokens.weight  # says device and type of others
        self._instructions: dict[int, str] = {}  # by row
        self._reader: ProprioceptionReader | None = None

    @property
    def requirements(self) -> PolicyRequirements:
        """The card's cameras, image size and proprioception."""
        card = self._card
        return PolicyRequirements(
            card.cameras, card.image_size, card.proprioception, action_dim=ACTION_DIM, robot=card.robot
        )

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Find the card's proprioception fields among the environment's; raise `ConventionError` if they do not fit."""
        super().connect(conventions)
        self._reader = ProprioceptionReader.of(
            self._card.proprioception,
            conventions.proprioception_fields,
            self._card.axis_angle,
            self._checkpoint.config.proprioception_dim,
        )

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Remember what to do in these rows."""
        self._instructions.update(zip(rows, instructions, strict=True))

    def padding_group(self, instruction: str) -> Hashable:
        """Return the length of the prompt [tokens]."""
        return int(self._checkpoint.processor.actions_for([instruction])[1].sum())

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the predicted chunks, (B, H, 7)."""
        import torch

        from vla_bench.models.openvla_oft.normalisation import unnormalised_actions

        images = np.stack([self._images(observation) for observation in observations])
        with torch.inference_mode():
            pixel_values = self._checkpoint.processor.images(images)
            ids, mask = self._checkpoint.processor.actions_for([self._instructions[row] for row in rows])
            normalised = self._checkpoint.model.predict_normalised(
                ids.to(self._weight.device),
                mask.to(self._weight.device),
                pixel_values.to(self._weight.device, self._weight.dtype),
                self._proprioception(observations),
            )
        actions = unnormalised_actions(self._statistics.action, normalised.float().cpu().numpy())
        return np.clip(actions_to_close_positive(actions, self._card.gripper), -1.0, 1.0)

    def _images(self, observation: Observation) -> ImageArray:
        from vla_bench.models.openvla_oft.images import evaluation_image

        card, size = self._card, self._checkpoint.config.vla.image_size
        turned = [image_for_policy(observation["images"][name], card.image_orientation, 1.0) for name in card.cameras]
        resized = [evaluation_image(image, size, jpeg=card.image_jpeg) for image in turned]
        return np.stack([image_for_policy(image, "upright", card.image_crop_area) for image in resized])

    def _proprioception(self, observations: Sequence[Observation]) -> "torch.Tensor | None":
        import torch

        statistics = self._statistics.proprioception
        if not self._card.proprioception or statistics is None:
            return None
        if self._reader is None:
            raise ConventionError("The policy was not connected to environments before it was asked to act.")
        return torch.from_numpy(statistics.normalise(self._reader.read(observations))).to(self._weight.device)


def _check_card(card: OpenVLAOFTCard, checkpoint: "OFTCheckpoint", has_statistics: bool) -> None:
    """Raise `ConventionError` where card and network contradict each other."""
    config = checkpoint.config
    problems = []
    if bool(card.proprioception) != bool(config.proprioception_dim):
        problems.append(
            f"the network takes {config.proprioception_dim} numbers of proprioception, the card names "
            f"{', '.join(card.proprioception) or 'none'}"
        )
    if card.proprioception and not has_statistics:
        problems.append("the statistics have no entry for proprioception")
    if len(card.cameras) != config.num_images:
        problems.append(f"the network takes {config.num_images} images, the card names {len(card.cameras)} cameras")
    if card.chunk_size != config.chunk_size:
        problems.append(f"the network predicts {config.chunk_size} actions, the card's chunk_size is {card.chunk_size}")
    problems += card.chunk_problems(config.chunk_size)
    if problems:
        raise ConventionError(f"The policy card does not fit its checkpoint: {'; '.join(problems)}.")
