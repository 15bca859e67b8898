"""The base class of policies with a network: prompts, images and proprioception of a batch of episodes."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vla_bench.core.conventions import GripperConvention
from vla_bench.core.errors import ConventionError
from vla_bench.core.types import ACTION_DIM, FloatArray, ImageArray, Observation
from vla_bench.policies.conventions import AxisAngleConvention, ProprioceptionReader, actions_to_close_positive
from vla_bench.policies.policy import EnvironmentConventions, PolicyBase, PolicyRequirements

if TYPE_CHECKING:
    import torch

    from vla_bench.models.normalization import VectorStatistics


Prompts = tuple["torch.Tensor", "torch.Tensor"]  # token ids and mask, (B, L) each
_MAX_BATCHES = 256


class PromptBatches:
    """Cache of the tokenized prompts of recent batches, on the device of the network; read-only."""

    def __init__(
        self, make: Callable[[Sequence[str]], Prompts], device: "torch.device | str", most: int = _MAX_BATCHES
    ) -> None:
        self._make, self._device, self._most = make, device, most
        self._batches: OrderedDict[tuple[str, ...], Prompts] = OrderedDict()

    def of(self, instructions: Sequence[str]) -> Prompts:
        """Return the prompts of a batch."""
        key = tuple(instructions)
        if key not in self._batches:
            ids, mask = self._make(key)
            self._batches[key] = ids.to(self._device), mask.to(self._device)
        self._batches.move_to_end(key)
        if len(self._batches) > self._most:
            self._batches.popitem(last=False)
        return self._batches[key]


class NetworkCard(Protocol):
    """The conventions in every card of a network."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras in the order of training."""

    @property
    def image_size(self) -> int:
        """Size of the rendered images [pixels]."""

    @property
    def proprioception(self) -> tuple[str, ...]:
        """Proprioception fields of the environment, in the order of training."""

    @property
    def axis_angle(self) -> AxisAngleConvention:
        """Rotation convention."""

    @property
    def gripper(self) -> GripperConvention:
        """Gripper convention of the actions."""

    @property
    def robot(self) -> str | None:
        """Robot of the training data."""


class NetworkPolicy(PolicyBase):
    """A network behind a card; subclasses write `act` from the pieces here."""

    def __init__(
        self,
        card: NetworkCard,
        make_prompts: Callable[[Sequence[str]], Prompts],
        device: "torch.device",
        proprioception_dim: int,
    ) -> None:
        self._conventions, self._proprioception_dim, self._device = card, proprioception_dim, device
        self._prompt_batches = PromptBatches(make_prompts, device)
        self._instructions: dict[int, str] = {}  # by environment slot
        self._reader: ProprioceptionReader | None = None

    @property
    def requirements(self) -> PolicyRequirements:
        """Cameras, image size and proprioception of the card."""
        card = self._conventions
        return PolicyRequirements(
            card.cameras, card.image_size, card.proprioception, action_dim=ACTION_DIM, robot=card.robot
        )

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Look up the proprioception fields of the card in the environment; raise `ConventionError` if they do not
        fit.
        """
        super().connect(conventions)
        card = self._conventions
        self._reader = ProprioceptionReader.of(
            card.proprioception, conventions.proprioception_fields, card.axis_angle, self._proprioception_dim
        )

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Start new episodes in these slots."""
        self._instructions.update(zip(rows, instructions, strict=True))

    def _prompts(self, rows: Sequence[int]) -> Prompts:
        """Return token ids and mask (B, L) of the instructions, on the device of the network."""
        return self._prompt_batches.of([self._instructions[row] for row in rows])

    def _images(self, observations: Sequence[Observation], prepare: Callable[[ImageArray], ImageArray]) -> ImageArray:
        """Return the prepared images of the cameras of the card, (B, N, H, W, 3)."""
        names = self._conventions.cameras
        images = [prepare(observation["images"][name]) for observation in observations for name in names]
        return np.stack(images).reshape(len(observations), len(names), *images[0].shape)

    def _read(self, observations: Sequence[Observation]) -> FloatArray:
        """Return the proprioception of the card (B, P), in the units of the environments."""
        if self._reader is None:
            raise ConventionError("The policy is not connected to environments. Call `connect` before `act`.")
        return self._reader.read(observations)

    def _normalized(
        self, observations: Sequence[Observation], statistics: "VectorStatistics | None"
    ) -> "torch.Tensor | None":
        """Return the normalized proprioception (B, P) for the network; None if it takes none."""
        import torch

        if not self._conventions.proprioception or statistics is None:
            return None
        return torch.from_numpy(statistics.normalize(self._read(observations))).to(self._device)

    def _to_environment_conventions(self, actions: FloatArray) -> FloatArray:
        """Return actions (B, H, 7) in the conventions of the environments, clipped to -1..1."""
        return np.clip(actions_to_close_positive(actions, self._conventions.gripper), -1.0, 1.0)
