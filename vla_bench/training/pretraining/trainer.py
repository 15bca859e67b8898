"""The pretraining recipe and its training loop: phases of grounding, imitation and patch alignment."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vla_bench.core.configuration import read_toml, validated
from vla_bench.core.errors import CheckpointError
from vla_bench.core.files import claimed, written_whole
from vla_bench.models.openvla.action_tokens import SmoothedTokenLoss
from vla_bench.models.openvla.checkpoint import Checkpoint, save_checkpoint
from vla_bench.models.openvla.config import openvla_nano_config
from vla_bench.models.openvla.initialization import initialize_weights
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.processor import Processor
from vla_bench.models.openvla.tokenization import action_prompt, question_prompt, train_nano_tokenizer, word_token
from vla_bench.training.augmentation.pipeline import Pipeline
from vla_bench.training.augmentation.samples import Draw
from vla_bench.training.batches import BatchMaker
from vla_bench.training.config import AugmentationConfig
from vla_bench.training.dataset import DemonstrationDataset, dataset_statistics
from vla_bench.training.pretraining.grounding import AlignmentLoss, GroundingBatches, GroundingData, ReferringLoss
from vla_bench.training.pretraining.questions import (
    ANSWER_SLOTS,
    ANSWER_WORDS,
    QuestionGenerator,
    Vocabulary,
    all_questions,
)

STATISTICS_NAME = "pretraining"
GRIPPER_FIELD = "end_effector_position"  # of the proprioception
_EMA_DECAY = 0.998
_BETAS = (0.9, 0.95)


class PretrainingPhase(BaseModel):
    """A phase of training. A batch consists of imitation, grounding and alignment samples."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    steps: Annotated[int, Field(ge=1)]
    imitation_rows: Annotated[int, Field(ge=0)] = 0
    grounding_rows: Annotated[int, Field(ge=0)] = 0
    alignment_rows: Annotated[int, Field(ge=0)] = 0
    referring_weight: Annotated[float, Field(ge=0)] = 0.0
    learning_rate: Annotated[float, Field(gt=0)]
    final_learning_rate: Annotated[float, Field(ge=0)]
    sigma_bins: Annotated[float, Field(ge=0)] = 5.0

    @model_validator(mode="after")
    def _has_samples(self) -> "PretrainingPhase":
        if not self.imitation_rows + self.grounding_rows + self.alignment_rows:
            raise ValueError(
                "the phase has no samples; expected imitation_rows, grounding_rows or alignment_rows above 0"
            )
        return self

    @property
    def imitation_fraction(self) -> float:
        """Imitation samples as a fraction of imitation and grounding samples."""
        return self.imitation_rows / max(1, self.imitation_rows + self.grounding_rows)


class PretrainingRecipe(BaseModel):
    """A pretraining run, read from TOML."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    proprioception: Annotated[tuple[str, ...], Field(min_length=1)]
    cameras: Annotated[tuple[str, ...], Field(min_length=1)] = ("agentview", "wrist")
    chunk_size: Annotated[int, Field(ge=1)] = 4
    seed: int = 0
    warmup_steps: Annotated[int, Field(ge=1)] = 50
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    keep_every: Annotated[int, Field(ge=1)] = 200
    referring_layer: Annotated[int, Field(ge=1)] = 2  # of the decoder
    augmentation: AugmentationConfig = AugmentationConfig(shift_pixels=0, brightness=0.1)
    phase: Annotated[tuple[PretrainingPhase, ...], Field(min_length=1)]

    @field_validator("proprioception")
    @classmethod
    def _gripper_first(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if names[0] != GRIPPER_FIELD:
            raise ValueError(
                f"the first field is {names[0]}; expected {GRIPPER_FIELD}, because questions are relative to it"
            )
        return names

    @classmethod
    def read(cls, path: Path) -> "PretrainingRecipe":
        """Read the `[training]` table of a recipe; raise `ConfigurationError` naming file and field."""
        return validated(cls, read_toml(path).get("training", {}), path, within="training")


@dataclass(frozen=True)
class PretrainingProgress:
    """Progress of a pretraining run."""

    phase: str
    step: int
    steps: int
    imitation_loss: float
    grounding_loss: float
    samples_per_s: float


def new_checkpoint(
    recipe: PretrainingRecipe,
    instructions: tuple[str, ...],
    vocabulary: Vocabulary,
    proprioception_dim: int,
    image_size: int = 96,
) -> Checkpoint:
    """Return an untrained network with a tokenizer for the instructions and for questions about the vocabulary."""
    words = (*ANSWER_WORDS, *sorted(set(vocabulary.colours.values())))
    sentences = [action_prompt(text) for text in instructions]
    sentences += [question_prompt(text) for text in all_questions(vocabulary)]
    tokenizer = train_nano_tokenizer(sentences, words)
    config = openvla_nano_config(
        num_images=len(recipe.cameras),
        proprioception_dim=proprioception_dim,
        proprioception_fields=recipe.proprioception,
        chunk_size=recipe.chunk_size,
        image_size=image_size,
    )
    model = OpenVLA(config)
    initialize_weights(model, recipe.seed)
    return Checkpoint(model, Processor(config, tokenizer), {})


def pretrain(
    recipe: PretrainingRecipe,
    untrained: Checkpoint,
    demonstrations: DemonstrationDataset,
    grounding: GroundingData,
    output: Path,
    on_progress: Callable[[PretrainingProgress], None] = lambda progress: None,
) -> Checkpoint:
    """Train all phases and write the averaged weights to `output`; an interrupted run is resumed."""
    with claimed(output):
        return _Pretraining(recipe, untrained, demonstrations, grounding, output).run(on_progress)


class _Pretraining:
    def __init__(
        self,
        recipe: PretrainingRecipe,
        untrained: Checkpoint,
        demonstrations: DemonstrationDataset,
        grounding: GroundingData,
        output: Path,
    ) -> None:
        self._recipe, self._output = recipe, output
        self._state_path = output.with_name(f".{output.name}.state.pt")
        statistics = dataset_statistics(demonstrations)
        self._checkpoint = replace(untrained, statistics={STATISTICS_NAME: statistics})
        self._model = untrained.model.train()
        pipeline = Pipeline.of(recipe.augmentation)
        self._imitation = BatchMaker(demonstrations, untrained.processor, statistics, pipeline)
        tokenizer = untrained.processor.tokenizer
        words = {word: word_token(tokenizer, word) for word in (*ANSWER_WORDS, *set(grounding.colours.values()))}
        vocabulary = Vocabulary(grounding.nouns, grounding.colours, words)
        actions = self._checkpoint.action_tokenizer
        questioner = QuestionGenerator(grounding.items, vocabulary, actions, ANSWER_SLOTS)
        self._alignment = AlignmentLoss(grounding.alignment(), untrained.processor)
        self._referring = ReferringLoss(self._model, recipe.referring_layer, words["yes"], words["no"])
        self._grounding = GroundingBatches(grounding, questioner, untrained.processor, statistics)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=1e-3, betas=_BETAS, weight_decay=recipe.weight_decay, fused=True
        )
        self._average = {name: value.detach().clone() for name, value in self._model.named_parameters()}
        self._step = 0

    def run(self, on_progress: Callable[[PretrainingProgress], None]) -> Checkpoint:
        if self._state_path.is_file():
            self._restore()
        total = sum(phase.steps for phase in self._recipe.phase)
        while self._step < total:
            began = time.perf_counter()
            phase, within = self._phase()
            losses = self._train_step(phase, within)
            self._step += 1
            rate = (phase.imitation_rows + phase.grounding_rows + phase.alignment_rows) / (time.perf_counter() - began)
            on_progress(PretrainingProgress(phase.name, self._step, total, *losses, rate))
            if self._step % self._recipe.keep_every == 0 or self._step == total:
                self._keep()
        return self._averaged_checkpoint()

    def _phase(self) -> tuple[PretrainingPhase, int]:
        """Return the phase of the next step, and the step's number within it."""
        step = self._step
        for phase in self._recipe.phase:
            if step < phase.steps:
                return phase, step
            step -= phase.steps
        raise AssertionError("All phases are finished.")

    def _train_step(self, phase: PretrainingPhase, within: int) -> tuple[float, float]:
        generator = np.random.default_rng([self._recipe.seed, self._step])
        config = self._model.config
        loss_of = SmoothedTokenLoss(config.vocab_end, config.n_action_bins, phase.sigma_bins)
        self._optimizer.zero_grad(set_to_none=True)
        imitation = self._imitation_backward(phase, loss_of, generator)
        grounding = self._grounding_backward(phase, loss_of, generator)
        if phase.alignment_rows:
            self._alignment.loss(self._model, phase.alignment_rows, generator).backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate(phase, within)
        self._optimizer.step()
        self._update_average()
        return imitation, grounding

    def _imitation_backward(
        self, phase: PretrainingPhase, loss_of: SmoothedTokenLoss, generator: np.random.Generator
    ) -> float:
        if not phase.imitation_rows:
            return math.nan
        frames = generator.integers(0, len(self._imitation.dataset), phase.imitation_rows)
        batch = self._imitation.batch(frames, Draw(generator, len(frames)))
        loss = loss_of(batch.logits(self._model), batch.answer)
        (loss * phase.imitation_fraction).backward()
        return float(loss.detach())

    def _grounding_backward(
        self, phase: PretrainingPhase, loss_of: SmoothedTokenLoss, generator: np.random.Generator
    ) -> float:
        if not phase.grounding_rows:
            return math.nan
        batch, referred = self._grounding.batch(phase.grounding_rows, generator)
        with self._referring.capture_hidden():
            loss = loss_of(batch.logits(self._model), batch.answer)
        total = loss + phase.referring_weight * self._referring.loss(referred)
        (total * (1.0 - phase.imitation_fraction)).backward()
        return float(loss.detach())

    def _learning_rate(self, phase: PretrainingPhase, within: int) -> float:
        warm = min(1.0, (within + 1) / self._recipe.warmup_steps)
        cosine = 0.5 * (1.0 + math.cos(math.pi * within / phase.steps))
        return warm * (phase.final_learning_rate + (phase.learning_rate - phase.final_learning_rate) * cosine)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(_EMA_DECAY, (1 + self._step) / (10 + self._step))
        for name, value in self._model.named_parameters():
            self._average[name].lerp_(value, 1.0 - decay)

    def _averaged_checkpoint(self) -> Checkpoint:
        model = OpenVLA(self._model.config)
        model.load_state_dict({**self._model.state_dict(), **self._average})
        return replace(self._checkpoint, model=model.eval())

    def _keep(self) -> None:
        save_checkpoint(self._output, self._averaged_checkpoint())
        content: dict[str, Any] = {
            "recipe": self._recipe.model_dump_json(),
            "step": self._step,
            "weights": self._model.state_dict(),
            "average": self._average,
            "optimiser": self._optimizer.state_dict(),
        }
        with written_whole(self._state_path) as temporary:
            torch.save(content, temporary)

    def _restore(self) -> None:
        content = torch.load(self._state_path, weights_only=True)
        if content["recipe"] != self._recipe.model_dump_json():
            raise CheckpointError(
                self._state_path, "was written for another recipe; delete it or choose another output"
            )
        self._model.load_state_dict(content["weights"])
        self._average = content["average"]
        self._optimizer.load_state_dict(content["optimiser"])
        self._step = content["step"]
