"""A training step on random data and its predicted memory; `finetune_memory.py` measures it."""

from dataclasses import dataclass

import torch

from vla_bench.models.openvla.config import OpenVLAConfig, TextConfig, TowerConfig, openvla_nano_config
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.training.batches import Batch
from vla_bench.training.config import OptimizerConfig, Precision
from vla_bench.training.memory import MemoryEstimate, StepShape, estimate_memory
from vla_bench.training.methods import MethodOptions, TrainableNetwork
from vla_bench.training.methods.method import apply_method
from vla_bench.training.objectives import objective_for
from vla_bench.training.precision import autocast_context, cast_weights, enable_activation_checkpointing

BATCH_SIZES = {"nano": 64, "middle": 8}  # by network size


@dataclass(frozen=True)
class Case:
    """Network size, method and precision of a measured step."""

    size: str
    method: str
    precision: Precision = "float32"
    gradient_checkpointing: bool = False


class TrainingStep:
    """A training step on random data; each call runs one step."""

    def __init__(self, case: Case, rows: int | None = None) -> None:
        torch.manual_seed(0)
        config = _network(case.size)
        self._case, self._model = case, OpenVLA(config).train()
        cast_weights(self._model, case.precision)
        apply_method(self._model, MethodOptions(method=case.method))
        if case.gradient_checkpointing:
            enable_activation_checkpointing(self._model)
        rows, size = rows or BATCH_SIZES[case.size], config.image_size
        ids = torch.ones(rows, config.prompt_length or 32, dtype=torch.long)
        proprioception = config.proprioception_dim
        self._batch = Batch(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=torch.randn(rows, config.num_images * 6, size, size),
            proprioception=torch.randn(rows, proprioception) if proprioception else None,
            answer=torch.randint(config.vocab_end - 256, config.vocab_end, (rows, config.num_slots)),
        )
        self._objective = objective_for(self._model, OptimizerConfig())
        self._parameters = [value for value in self._model.parameters() if value.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=1e-5, fused=True)

    def __call__(self) -> None:
        """Run forward pass, backward pass, gradient clipping and update."""
        self._optimizer.zero_grad(set_to_none=True)
        with autocast_context(self._case.precision, torch.device("cpu")):
            loss = self._objective.loss(self._objective.answer(self._model, self._batch), self._batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()


def estimated(case: Case) -> tuple[TrainableNetwork, MemoryEstimate]:
    """Return the trained parameters and the memory that `vla-bench finetune --plan` predicts."""
    step = StepShape(BATCH_SIZES[case.size], case.precision, case.gradient_checkpointing)
    return estimate_memory(_network(case.size), MethodOptions(method=case.method), step)


def _network(size: str) -> OpenVLAConfig:
    if size == "nano":
        return openvla_nano_config()
    return OpenVLAConfig(
        image_size=112,
        featurizer=TowerConfig(384, 7, 6, 1536, patch_size=14, num_register_tokens=4),
        fused_featurizer=TowerConfig(384, 7, 6, 1536, patch_size=14),
        text=TextConfig(8256, 768, 2048, 12, 12, 12, pad_token_id=0),
    )
