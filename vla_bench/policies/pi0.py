"""Policies of kind `pi0`: a pi0 checkpoint and the conventions of its card."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from vla_bench.core.conventions import GripperConvention, Orientation
from vla_bench.core.errors import CheckpointError, ConventionError
from vla_bench.core.types import ACTION_DIM, FloatArray, ImageArray, Observation
from vla_bench.policies.cards import PolicyCard, find_file, policy_kind
from vla_bench.policies.conventions import AxisAngleConvention, image_for_policy
from vla_bench.policies.network_policy import NetworkPolicy, Prompts

if TYPE_CHECKING:
    import torch

    from vla_bench.models.pi0.checkpoint import Pi0Checkpoint


class Pi0Card(PolicyCard):
    """Card of a pi0 checkpoint: folder in the layout of transformers or LeRobot, and conventions of inputs and
    actions.
    """

    checkpoint: Path | None = None  # None: the user names it with --checkpoint
    tokenizer: Path | None = None  # folder of the PaliGemma tokenizer, if the checkpoint has none
    # cameras that the robot lacks are omitted
    cameras: Annotated[tuple[str, ...], Field(min_length=1)] = ("agentview", "wrist")
    image_size: Annotated[int, Field(ge=8)] = 224  # pixels; the size of the network
    image_orientation: Orientation = "upright"  # of the training images, relative to those of the environments
    proprioception: Annotated[tuple[str, ...], Field(min_length=1)]  # fields of the state, in the order of training
    axis_angle: AxisAngleConvention = "robosuite"
    gripper: GripperConvention = "close_positive"
    unnorm_key: str | None = None  # entry of dataset_statistics.json, if it exists
    normalisation: Literal["mean_std", "quantiles"] = "mean_std"  # numbers of that file used for normalization
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"  # data type of weights and computation
    flow_steps: Annotated[int, Field(ge=1)] | None = None  # None: that of the checkpoint, 10 for published ones

    def with_checkpoint(self, checkpoint: Path) -> Self:
        """Return the card with this checkpoint."""
        return self.model_copy(update={"checkpoint": checkpoint})

    def checkpoints(self, folder: Path) -> dict[str, Path]:
        """Return the folder of the checkpoint."""
        return {} if self.checkpoint is None else {"checkpoint": find_file(self.checkpoint, folder)}


@policy_kind("pi0", Pi0Card)
def build_pi0(card: Pi0Card, folder: Path) -> "Pi0Policy":
    """Load the checkpoint of the card."""
    places = card.checkpoints(folder)
    if "checkpoint" not in places:
        raise CheckpointError(
            "of pi0",
            "the card names none. Pass a folder in the layout of transformers or LeRobot with --checkpoint PATH",
        )
    import torch

    from vla_bench.models.pi0.checkpoint import load_pi0_checkpoint

    checkpoint = load_pi0_checkpoint(
        places["checkpoint"],
        tokenizer=None if card.tokenizer is None else find_file(card.tokenizer, folder),
        unnorm_key=card.unnorm_key,
        quantiles=card.normalisation == "quantiles",
        dtype=getattr(torch, card.dtype),
    )
    return Pi0Policy(card, checkpoint)


class Pi0Policy(NetworkPolicy):
    """Predict action chunks by flow matching from the noise of the episode."""

    def __init__(self, card: Pi0Card, checkpoint: "Pi0Checkpoint") -> None:
        import torch

        _check_card(card, checkpoint)
        self._card, self._checkpoint = card, checkpoint
        checkpoint.model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        # inputs are prepared on the CPU; `checkpoint.actions` moves them to the device
        super().__init__(card, self._tokenized, torch.device("cpu"), len(checkpoint.normalization.state.center))
        self._noise: dict[int, torch.Generator] = {}  # by environment slot

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Start new episodes in these slots; their noise depends on the seed of the episode alone."""
        import torch

        super().reset(instructions, rows=rows, seeds=seeds)
        for row, seed in zip(rows, seeds, strict=True):
            self._noise[row] = torch.Generator().manual_seed(seed)

    def padding_group(self, instruction: str) -> Hashable:
        """Return the length of the prompt [tokens]."""
        return int(self._tokenized([instruction])[1].sum())

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the predicted chunks, (B, H, 7)."""
        checkpoint = self._checkpoint
        padded = checkpoint.actions(self._inputs(observations, rows), self._sampled_noise(rows), self._card.flow_steps)
        scaling = checkpoint.normalization.action
        return self._to_environment_conventions(
            scaling.unnormalize(padded[..., : len(scaling.center)].float().cpu().numpy())
        )

    def _inputs(self, observations: Sequence[Observation], rows: Sequence[int]) -> "dict[str, torch.Tensor]":
        processor = self._checkpoint.processor
        pixel_values, pixel_mask = processor.images(self._images(observations, self._prepared))
        ids, mask = self._prompts(rows)
        state = self._checkpoint.normalization.state.normalize(self._read(observations))
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "pixel_values": pixel_values,
            "pixel_attention_mask": pixel_mask,
            "state": processor.state(state),
        }

    def _tokenized(self, instructions: Sequence[str]) -> Prompts:
        return self._checkpoint.processor.prompts(instructions, len(self._card.cameras))

    def _prepared(self, image: ImageArray) -> ImageArray:
        return image_for_policy(image, self._card.image_orientation, 1.0)

    def _sampled_noise(self, rows: Sequence[int]) -> "torch.Tensor":
        import torch

        config = self._checkpoint.config
        shape = (config.chunk_size, config.max_action_dim)
        return torch.stack([torch.randn(shape, generator=self._noise[row]) for row in rows])


def _check_card(card: Pi0Card, checkpoint: "Pi0Checkpoint") -> None:
    problems = []
    if card.image_size != checkpoint.processor.image_size:
        problems.append(
            f"the network takes images of {checkpoint.processor.image_size} pixels, but the card has {card.image_size}"
        )
    actions = len(checkpoint.normalization.action.center)
    if actions != ACTION_DIM:
        problems.append(f"its statistics describe actions of {actions} numbers, but the environments take {ACTION_DIM}")
    problems += card.chunk_problems(checkpoint.config.chunk_size)
    if problems:
        raise ConventionError(f"The policy card does not fit its checkpoint: {'; '.join(problems)}.")
