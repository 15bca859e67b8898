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
    """A checkpoint folder in transformers' or LeRobot's layout, and how the network sees and acts."""

    checkpoint: Path | None = None  # None: the user names it with --checkpoint
    tokenizer: Path | None = None  # folder of PaliGemma's tokenizer, where the checkpoint has none
    cameras: Annotated[tuple[str, ...], Field(min_length=1)] = ("agentview", "wrist")  # those it lacks are left out
    image_size: Annotated[int, Field(ge=8)] = 224  # pixels; what the network takes
    image_orientation: Orientation = "upright"  # of its training images, against the environments'
    proprioception: Annotated[tuple[str, ...], Field(min_length=1)]  # the state, in the order of training
    axis_angle: AxisAngleConvention = "robosuite"
    gripper: GripperConvention = "close_positive"
    unnorm_key: str | None = None  # entry of dataset_statistics.json, where the statistics are there
    normalisation: Literal["mean_std", "quantiles"] = "mean_std"  # by which numbers of that file
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"  # of weights and computation
    flow_steps: Annotated[int, Field(ge=1)] | None = None  # None: as the checkpoint says, 10 for the published

    def with_checkpoint(self, checkpoint: Path) -> Self:
        """Return the card with this checkpoint."""
        return self.model_copy(update={"checkpoint": checkpoint})

    def checkpoints(self, folder: Path) -> dict[str, Path]:
        """Return where the checkpoint lies."""
        return {} if self.checkpoint is None else {"checkpoint": find_file(self.checkpoint, folder)}


@policy_kind("pi0", Pi0Card)
def build_pi0(card: Pi0Card, folder: Path) -> "Pi0Policy":
    """Load the card's checkpoint."""
    places = card.checkpoints(folder)
    if "checkpoint" not in places:
        raise CheckpointError(
            "of pi0", "the card names none. Give a folder in transformers' or LeRobot's layout with --checkpoint PATH"
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
    """Predict a chunk of actions by following the flow from noise that belongs to the episode."""

    def __init__(self, card: Pi0Card, checkpoint: "Pi0Checkpoint") -> None:
        import torch

        _check_card(card, checkpoint)
        self._card, self._checkpoint = card, checkpoint
        checkpoint.model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        # inputs are prepared on the CPU, and `checkpoint.actions` takes them where the network is
        super().__init__(card, self._tokenized, torch.device("cpu"), len(checkpoint.normalisation.state.center))
        self._noise: dict[int, torch.Generator] = {}  # by row

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Remember what to do in these rows, and begin their noise anew: it depends on the episode's seed alone."""
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
        padded = checkpoint.actions(self._inputs(observations, rows), self._drawn(rows), self._card.flow_steps)
        scaling = checkpoint.normalisation.action
        return self._to_environment_conventions(
            scaling.unnormalize(padded[..., : len(scaling.center)].float().cpu().numpy())
        )

    def _inputs(self, observations: Sequence[Observation], rows: Sequence[int]) -> "dict[str, torch.Tensor]":
        processor = self._checkpoint.processor
        pixel_values, pixel_mask = processor.images(self._images(observations, self._prepared))
        ids, mask = self._prompts(rows)
        state = self._checkpoint.normalisation.state.normalize(self._read(observations))
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

    def _drawn(self, rows: Sequence[int]) -> "torch.Tensor":
        import torch

        config = self._checkpoint.config
        shape = (config.chunk_size, config.max_action_dim)
        return torch.stack([torch.randn(shape, generator=self._noise[row]) for row in rows])


def _check_card(card: Pi0Card, checkpoint: "Pi0Checkpoint") -> None:
    problems = []
    if card.image_size != checkpoint.processor.image_size:
        problems.append(f"the network takes images of {checkpoint.processor.image_size} pixels, not {card.image_size}")
    actions = len(checkpoint.normalisation.action.center)
    if actions != ACTION_DIM:
        problems.append(f"its statistics are of actions of {actions} numbers, the environments take {ACTION_DIM}")
    problems += card.chunk_problems(checkpoint.config.chunk_size)
    if problems:
        raise ConventionError(f"The policy card does not fit its checkpoint: {'; '.join(problems)}.")
