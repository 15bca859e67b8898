"""Estimate the memory of a training step by running it on tensors that have shapes but no data.

The network is built on the meta device, the fine-tuning method is applied to it, and one forward and backward pass run
under torch's `FakeTensorMode`, while every storage is counted from its creation until it is freed. No weights are
needed, and the real modules replace the assumptions about kernels, frozen layers and adapters that a formula over
layers needs (such as Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", 2022).
AdamW's two averages take twice the trained parameters (Loshchilov and Hutter, 2019), from the first step to the last; a
linear layer in NF4 takes 4 bits a weight, 8 bits a block of 64 weights and 32 bits for 256 such blocks (Dettmers et
al., 2023).

Not counted: the CUDA context and libraries (0.5 to 1 GB), the reserve of the allocator, and data in workers.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.initialization import no_init_weights

from vla_bench.models.networks.network import NetworkShape
from vla_bench.models.networks.openvla import build_network
from vla_bench.models.openvla.quantization import linear_layer_names
from vla_bench.models.openvla.vision import CHANNELS_PER_TOWER
from vla_bench.training.batches import Batch
from vla_bench.training.config import OptimizerConfig, Precision
from vla_bench.training.methods.method import METHODS, MethodOptions, TrainableNetwork, apply_without_quantizing
from vla_bench.training.objectives import objective_for
from vla_bench.training.precision import autocast_context, cast_weights, enable_activation_checkpointing

_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # per weight
_ADAMW_AVERAGES = 2
_PROMPT_TOKENS = 32  # default prompt length: "In: What action should the robot take to ...?\nOut:"


@dataclass(frozen=True)
class StepShape:
    """Batch size and precision of a training step."""

    batch_size: int
    precision: Precision
    gradient_checkpointing: bool


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory of a training step in bytes.

    The peak is less than the sum of the parts, because activations are freed while gradients are created.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int  # peak of the forward pass
    peak: int


def estimate_memory(
    config: NetworkShape, options: MethodOptions, step: StepShape
) -> tuple[TrainableNetwork, MemoryEstimate]:
    """Return the trained parameters and the memory of a training step for a network of that shape."""
    options = options.with_trained_modules(config.new_modules)
    model, trained, weights = _build_meta_network(config, options, step)
    parameters = [value for value in model.parameters() if value.requires_grad]
    gradients = sum(value.numel() * value.element_size() for value in parameters)
    optimizer = _ADAMW_AVERAGES * gradients
    activations, moving = _peak_bytes(model, config, step)
    peak = weights + optimizer + max(moving, gradients)
    return trained, MemoryEstimate(weights, gradients, optimizer, activations, peak)


def _build_meta_network(
    config: NetworkShape, options: MethodOptions, step: StepShape
) -> tuple[nn.Module, TrainableNetwork, int]:
    """Return a network on the meta device with the method applied, and the size of its weights in bytes."""
    with torch.device("meta"), no_init_weights():
        model: nn.Module = build_network(config)
    cast_weights(model, step.precision)
    total = sum(value.numel() for value in model.parameters())
    quantized = linear_layer_names(model, options.train_whole) if METHODS[options.method].quantization else []
    saved = _cast_quantized_layers(model, quantized, step)
    with torch.device("meta"):
        trained = apply_without_quantizing(model, options, total)
    if step.gradient_checkpointing:
        enable_activation_checkpointing(model)
    tensors = {id(value): value for value in (*model.parameters(), *model.buffers())}
    held = sum(value.numel() * value.element_size() for value in tensors.values())
    return model.train(), trained, held - saved


def _cast_quantized_layers(model: nn.Module, names: Sequence[str], step: StepShape) -> int:
    """Cast the layers `names`, stored in NF4, to their compute dtype; return the bytes that NF4 saves.

    bitsandbytes dequantizes the weights at each use, so none are stored for the backward pass.
    """
    saved = 0.0
    for name in names:
        layer = model.get_submodule(name)
        if step.precision != "float32":
            layer.to(torch.bfloat16)
        assert isinstance(layer.weight, torch.Tensor)
        saved += layer.weight.numel() * (layer.weight.element_size() - _NF4_BYTES)
    return round(saved)


def _peak_bytes(model: nn.Module, config: NetworkShape, step: StepShape) -> tuple[int, int]:
    """Return the peak bytes of the forward pass, and of forward and backward pass, both without weights."""
    with FakeTensorMode():
        _materialize_fake_tensors(model)
        batch = _batch(config, step)
        objective = objective_for(model, OptimizerConfig())
        with LiveBytes() as live:
            with autocast_context(step.precision, torch.device("cpu")):
                loss = objective.loss(objective.answer(model, batch), batch)
            forward = live.highest
            loss.backward()
    return forward, live.highest


class LiveBytes(TorchDispatchMode):
    """Count the bytes of storages that are created inside the context and not yet freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.highest = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count the storages that it creates."""
        given = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage(), given)
        return made

    def _count(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        if storage in self._known or id(storage) in given:
            return
        size = storage.nbytes()
        self._known.add(storage)
        weakref.finalize(storage, self._free, size)
        self.now += size
        self.highest = max(self.highest, self.now)

    def _free(self, size: int) -> None:
        self.now -= size


def _materialize_fake_tensors(model: nn.Module) -> None:
    """Replace the meta tensors of `model` by fake CPU tensors in place; shared tensors stay shared."""
    made: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, value in table.items():
                if value is None:
                    continue
                if id(value) not in made:
                    empty = torch.empty(value.shape, dtype=value.dtype, device="cpu")
                    is_parameter = isinstance(value, nn.Parameter)
                    made[id(value)] = nn.Parameter(empty, value.requires_grad) if is_parameter else empty
                table[name] = made[id(value)]  # type: ignore[assignment]


def _batch(config: NetworkShape, step: StepShape) -> Batch:
    rows, size = step.batch_size, config.image_size
    ids = torch.zeros(rows, config.prompt_length or _PROMPT_TOKENS, dtype=torch.long)
    return Batch(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=torch.zeros(rows, config.num_images * len(config.towers) * CHANNELS_PER_TOWER, size, size),
        proprioception=torch.zeros(rows, config.proprioception_dim) if config.proprioception_dim else None,
        answer=torch.zeros(rows, config.num_slots, dtype=torch.long),
        actions=torch.zeros(rows, config.chunk_size, config.action_dim),
    )
