"""The OpenVLA-OFT network: OpenVLA with bidirectional attention over action slots and an L1 regression head."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from vla_bench.models.openvla.config import ModelConfigError, OpenVLAConfig, TowerConfig
from vla_bench.models.openvla.network import OpenVLA, ProprioceptionProjector

RESIDUAL_BLOCKS = 2


class ResidualBlock(nn.Module):
    """Residual block of norm, linear layer and ReLU. Attribute names are those of published files."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return (..., width) of hidden (..., width)."""
        return hidden + self.ffn(hidden)  # type: ignore[no-any-return]


class ResidualMLP(nn.Module):
    """Two residual blocks between input and output layer, each preceded by a norm."""

    def __init__(self, input_dim: int, width: int, output_dim: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(input_dim)
        self.fc1 = nn.Linear(input_dim, width)
        self.mlp_resnet_blocks = nn.ModuleList(ResidualBlock(width) for _ in range(RESIDUAL_BLOCKS))
        self.layer_norm2 = nn.LayerNorm(width)
        self.fc2 = nn.Linear(width, output_dim)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (..., output_dim) of features (..., input_dim)."""
        hidden = torch.relu(self.fc1(self.layer_norm1(features)))
        for block in self.mlp_resnet_blocks:
            hidden = block(hidden)
        return self.fc2(self.layer_norm2(hidden))  # type: ignore[no-any-return]


class L1RegressionHead(nn.Module):
    """L1 regression head: one normalized action from the concatenated decoder states of its slots."""

    def __init__(self, text_dim: int, action_dim: int) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.model = ResidualMLP(text_dim * action_dim, text_dim, action_dim)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (B, chunk, action_dim) of decoder states (B, chunk * action_dim, text_dim)."""
        chunk = states.shape[1] // self.action_dim
        return self.model(states.reshape(len(states), chunk, -1))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class OpenVLAOFTConfig:
    """Shape of an OpenVLA network with the additions of OFT."""

    vla: OpenVLAConfig  # with the number of images; without proprioception, because OFT has a separate projector
    chunk_size: int = 8  # actions per prediction; 8 for published LIBERO checkpoints
    proprioception_dim: int = 8  # 0: no proprioception input

    def __post_init__(self) -> None:
        if self.chunk_size < 1:
            raise ModelConfigError(f"chunk_size is {self.chunk_size}. Expected 1 or more.")
        if self.vla.proprioception_dim:
            raise ModelConfigError("The inner OpenVLA network has a proprioception projector. Expected none.")

    @property
    def action_dim(self) -> int:
        """Size of an action."""
        return self.vla.action_dim

    @property
    def num_images(self) -> int:
        """Number of images per observation."""
        return self.vla.num_images

    @property
    def image_size(self) -> int:
        """Size of the square images [pixels]."""
        return self.vla.image_size

    @property
    def towers(self) -> tuple[TowerConfig, ...]:
        """The vision towers."""
        return self.vla.towers

    @property
    def prompt_length(self) -> int:
        """Padded prompt length; 0: the longest of the batch."""
        return self.vla.prompt_length

    @property
    def new_modules(self) -> tuple[str, ...]:
        """Head and projector: `vla-scripts/finetune.py` of the original code trains them completely in addition to
        LoRA.
        """
        return ("action_head", "proprioception_projector") if self.proprioception_dim else ("action_head",)

    @property
    def proprioception_fields(self) -> tuple[str, ...]:
        """None: the fields are not recorded."""
        return ()

    @property
    def action_head(self) -> str:
        """Name of the training objective."""
        return "l1"

    @property
    def num_slots(self) -> int:
        """Number of decoder states for the head."""
        return self.chunk_size * self.action_dim


class OpenVLAOFT(nn.Module):
    """The OpenVLA-OFT network: towers, projector and decoder, run once with bidirectional attention.

    Sequence: first token, patches of all images, proprioception, rest of the prompt, slots, stop token. Slots enter the
    decoder as zeros and are distinguished by position alone. Every token attends to every token except padding. As in
    next-token prediction, the state of a slot is the one *before* it: the head reads the last prompt token and all
    slots but the last.
    """

    def __init__(self, config: OpenVLAOFTConfig, vla: OpenVLA | None = None) -> None:
        super().__init__()
        self.config = config
        text_dim = config.vla.text.hidden_size
        self.vla = OpenVLA(config.vla) if vla is None else vla
        self.proprioception_projector = (
            ProprioceptionProjector(config.proprioception_dim, text_dim) if config.proprioception_dim else None
        )
        self.action_head = L1RegressionHead(text_dim, config.action_dim)

    def predict_normalized(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        proprioception: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return normalized actions (B, chunk_size, action_dim), differentiable: OFT trains by their L1 distance.

        `input_ids`, `attention_mask` (B, L) are prompts padded on the right; `pixel_values` (B, images * 6, H, W);
        `proprioception` (B, P) is normalized. Actions do not depend on the amount of padding in the batch.
        """
        embeddings, mask = self._sequence(input_ids, attention_mask, pixel_values, proprioception)
        hidden = self._bidirectional(embeddings, mask)
        slots = self.config.num_slots
        seen = embeddings.shape[1] - input_ids.shape[1] - slots - 1  # patches and proprioception
        last_of_prompt = (attention_mask.sum(dim=1) - 1 + seen)[:, None, None].expand(-1, 1, hidden.shape[-1])
        states = torch.cat([hidden.gather(1, last_of_prompt), hidden[:, -slots - 1 : -2]], dim=1)
        return self.action_head(states)  # type: ignore[no-any-return]

    def _sequence(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        proprioception: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        embed = self.vla.language_model.model.embed_tokens
        prompt = embed(input_ids)
        seen = [self.vla.projector(self.vla.vision_backbone(pixel_values))]
        if self.proprioception_projector is not None:
            if proprioception is None:
                raise ValueError(f"This network needs {self.config.proprioception_dim} numbers of proprioception.")
            seen.append(self.proprioception_projector(proprioception.to(prompt.dtype)))
        slots = prompt.new_zeros(len(prompt), self.config.num_slots, prompt.shape[-1])
        stop = embed(input_ids.new_full((len(input_ids), 1), self.config.vla.text.eos_token_id))
        embeddings = torch.cat([prompt[:, :1], *seen, prompt[:, 1:], slots, stop], dim=1)
        mask = functional.pad(attention_mask, (sum(part.shape[1] for part in seen), 0), value=1)
        return embeddings, functional.pad(mask, (0, slots.shape[1] + 1), value=1)

    def _bidirectional(self, embeddings: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the decoder states after the final norm; padding is masked and not counted in positions."""
        bias = torch.zeros(mask.shape, dtype=embeddings.dtype, device=mask.device)
        bias = bias.masked_fill(mask == 0, torch.finfo(embeddings.dtype).min)[:, None, None, :]
        output = self.vla.language_model.model(
            inputs_embeds=embeddings,
            attention_mask=bias,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
        )
        return output.last_hidden_state  # type: ignore[no-any-return]
