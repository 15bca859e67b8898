"""The OpenVLA network: vision towers, projectors and Llama decoder, with autoregressive or parallel decoding."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import DynamicCache, LlamaForCausalLM

from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.models.openvla.vision import FusedVisionBackbone


class FusedProjector(nn.Module):
    """Three-layer projector of fused patch features."""

    def __init__(self, vision_dim: int, text_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(vision_dim, 4 * vision_dim)
        self.fc2 = nn.Linear(4 * vision_dim, text_dim)
        self.fc3 = nn.Linear(text_dim, text_dim)
        self.act_fn1 = nn.GELU()
        self.act_fn2 = nn.GELU()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (B, patches, text_dim) of features (B, patches, vision_dim)."""
        hidden: torch.Tensor = self.act_fn2(self.fc2(self.act_fn1(self.fc1(features))))
        return self.fc3(hidden)  # type: ignore[no-any-return]


class SingleTowerProjector(nn.Module):
    """Two-layer projector of the patch features of a single tower."""

    def __init__(self, vision_dim: int, text_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(vision_dim, text_dim)
        self.fc2 = nn.Linear(text_dim, text_dim)
        self.act_fn1 = nn.GELU()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (B, patches, text_dim) of features (B, patches, vision_dim)."""
        return self.fc2(self.act_fn1(self.fc1(features)))  # type: ignore[no-any-return]


class ProprioceptionProjector(nn.Module):
    """Two-layer projector of OpenVLA-OFT: the proprioception becomes one token."""

    def __init__(self, proprioception_dim: int, text_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(proprioception_dim, text_dim)
        self.fc2 = nn.Linear(text_dim, text_dim)
        self.act_fn1 = nn.GELU()

    def forward(self, proprioception: torch.Tensor) -> torch.Tensor:
        """Return (B, 1, text_dim) of normalized proprioception (B, proprioception_dim)."""
        token: torch.Tensor = self.fc2(self.act_fn1(self.fc1(proprioception)))
        return token[:, None]


IGNORED_LABEL = -100


@dataclass(frozen=True)
class OpenVLAOutput:
    """Logits over the whole multimodal sequence, (B, sequence, vocabulary), and the loss if labels were given."""

    logits: torch.Tensor
    loss: torch.Tensor | None = None


class OpenVLA(nn.Module):
    """The OpenVLA network: fused vision towers, projector and Llama decoder, with actions as tokens.

    Sequence: first token, patches of all images, proprioception (if any), rest of the text. Decoding "autoregressive"
    is that of OpenVLA: causal attention, one action token after the other. Decoding "parallel" is that of OpenVLA-OFT:
    every token attends to every token except padding, and all action tokens of a chunk are predicted at once at slots
    appended to the prompt.
    """

    def __init__(self, config: OpenVLAConfig) -> None:
        super().__init__()
        self.config = config
        text_dim = config.text.hidden_size
        self.vision_backbone = FusedVisionBackbone(config)
        projector = SingleTowerProjector if config.fused_featurizer is None else FusedProjector
        self.projector = projector(self.vision_backbone.output_dim, text_dim)
        self.proprioception_projector = (
            ProprioceptionProjector(config.proprioception_dim, text_dim) if config.proprioception_dim else None
        )
        self.language_model = LlamaForCausalLM(config.llama())

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        proprioception: torch.Tensor | None = None,
    ) -> OpenVLAOutput:
        """Return logits, and the mean cross entropy against `labels` (B, text), -100 for ignored positions.

        With autoregressive decoding labels equal `input_ids` and are shifted here; with parallel decoding each label is
        the target of its own position.
        """
        hidden = self._hidden(input_ids, attention_mask, pixel_values, proprioception)
        logits: torch.Tensor = self.language_model.lm_head(hidden)
        return OpenVLAOutput(logits, None if labels is None else self._loss(logits, labels))

    def slot_logits(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        proprioception: torch.Tensor | None = None,
        num_slots: int | None = None,
    ) -> torch.Tensor:
        """Return (B, num_slots, vocabulary) at the slots appended to the prompt; parallel decoding only."""
        first = self.config.first_slot_token_id
        if self.config.decoding != "parallel" or first is None:
            raise ValueError("Action slots need parallel decoding.")
        count = self.config.num_slots if num_slots is None else num_slots
        slots = torch.arange(first, first + count, device=input_ids.device).expand(len(input_ids), -1)
        ids = torch.cat([input_ids, slots], dim=1)
        mask = functional.pad(attention_mask, (0, count), value=1)
        hidden = self._hidden(ids, mask, pixel_values, proprioception, prompt_columns=input_ids.shape[1])
        return self.language_model.lm_head(hidden[:, -count:])  # type: ignore[no-any-return]

    def answer_logits(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        answer: torch.Tensor,
        proprioception: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return (B, tokens, vocabulary) at the tokens of `answer` (B, tokens), for training and validation.

        Parallel decoding does not use the answer; autoregressive decoding uses the tokens before each.
        """
        if self.config.decoding == "parallel":
            return self.slot_logits(input_ids, attention_mask, pixel_values, proprioception, answer.shape[1])
        embeddings, mask = self._embed(input_ids, attention_mask, pixel_values, proprioception)
        lengths, columns = mask.sum(dim=1, keepdim=True), embeddings.shape[1]
        given = answer[:, :-1].clamp(min=0)
        embeddings = torch.cat([embeddings, self.language_model.model.embed_tokens(given)], dim=1)
        mask = functional.pad(mask, (0, given.shape[1]), value=1)
        hidden = self._decode(embeddings, mask, _positions(mask), None)
        hidden = torch.cat([hidden.gather(1, _row_index(lengths - 1, hidden)), hidden[:, columns:]], dim=1)
        return self.language_model.lm_head(hidden)  # type: ignore[no-any-return]

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        proprioception: torch.Tensor | None = None,
        num_tokens: int | None = None,
    ) -> torch.Tensor:
        """Return (B, num_tokens, vocabulary) logits of greedily generated tokens, with a key-value cache."""
        if self.config.decoding != "autoregressive":
            raise ValueError("Generation of single tokens needs autoregressive decoding.")
        count = self.config.num_slots if num_tokens is None else num_tokens
        embeddings, mask = self._embed(input_ids, attention_mask, pixel_values, proprioception)
        lengths = mask.sum(dim=1, keepdim=True)
        cache = DynamicCache(config=self.language_model.config)
        hidden = self._decode(embeddings, mask, _positions(mask), cache)
        logits = [self.language_model.lm_head(hidden.gather(1, _row_index(lengths - 1, hidden)))]
        for position in range(count - 1):
            token = self.language_model.model.embed_tokens(logits[-1].argmax(dim=-1))
            mask = functional.pad(mask, (0, 1), value=1)
            hidden = self._decode(token, mask, lengths + position, cache)
            logits.append(self.language_model.lm_head(hidden))
        return torch.cat(logits, dim=1)

    def action_logits(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        proprioception: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return (B, chunk_size, action_dim, vocabulary) of the predicted chunk, by the configured decoding."""
        decode = self.slot_logits if self.config.decoding == "parallel" else self.generate
        logits = decode(input_ids, attention_mask, pixel_values, proprioception)
        return logits.reshape(len(logits), self.config.chunk_size, self.config.action_dim, -1)

    def _embed(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        proprioception: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        text = self.language_model.model.embed_tokens(input_ids)
        parts = [text[:, :1], self.projector(self.vision_backbone(pixel_values))]
        if self.proprioception_projector is not None:
            if proprioception is None:
                raise ValueError(f"This network needs {self.config.proprioception_dim} numbers of proprioception.")
            parts.append(self.proprioception_projector(proprioception.to(text.dtype)))
        embeddings = torch.cat([*parts, text[:, 1:]], dim=1)
        seen = embeddings.shape[1] - text.shape[1]
        mask = torch.cat(
            [attention_mask[:, :1], attention_mask.new_ones(len(text), seen), attention_mask[:, 1:]], dim=1
        )
        return embeddings, mask

    def _hidden(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor,
        proprioception: torch.Tensor | None,
        prompt_columns: int | None = None,
    ) -> torch.Tensor:
        embeddings, mask = self._embed(input_ids, attention_mask, pixel_values, proprioception)
        if self.config.decoding == "autoregressive":
            return self._decode(embeddings, mask, _positions(mask), None)
        bias = torch.zeros(mask.shape, dtype=embeddings.dtype, device=mask.device)
        bias = bias.masked_fill(mask == 0, torch.finfo(embeddings.dtype).min)[:, None, None, :]
        return self._decode(embeddings, bias, self._slot_positions(mask, input_ids.shape[1], prompt_columns), None)

    def _slot_positions(self, mask: torch.Tensor, text_columns: int, prompt_columns: int | None) -> torch.Tensor:
        """Return positions with slots right after `prompt_length` tokens, or later for a longer prompt.

        They depend on the sequence alone, not on the padding of the batch.
        """
        total = mask.shape[1]
        positions = torch.arange(total, device=mask.device)[None]
        if prompt_columns is None or prompt_columns == self.config.prompt_length:
            return positions
        slots = text_columns - prompt_columns
        overlong = (
            mask[:, : total - slots].sum(dim=1, keepdim=True) - (total - text_columns) - self.config.prompt_length
        )
        shift = overlong.clamp(min=0) + self.config.prompt_length - prompt_columns
        return torch.cat([positions[:, :-slots].expand(len(mask), -1), positions[:, -slots:] + shift], dim=1)

    def _decode(
        self, embeddings: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: DynamicCache | None
    ) -> torch.Tensor:
        output = self.language_model.model(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return output.last_hidden_state  # type: ignore[no-any-return]

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen = logits.shape[1] - labels.shape[1]
        first = functional.pad(labels[:, :1], (0, seen), value=IGNORED_LABEL)
        labels = torch.cat([first, labels[:, 1:]], dim=1)
        if self.config.decoding == "autoregressive":
            logits, labels = logits[:, :-1], labels[:, 1:]
        return functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED_LABEL)


def _positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _row_index(columns: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    return columns[:, :, None].expand(-1, -1, hidden.shape[-1])
