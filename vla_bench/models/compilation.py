"""Faster network calls: recording by `torch.jit.trace` with one graph per input shape, and `torch.compile`.

A traced call runs the same operations in the same order, so results are equal bit for bit, which is checked at the
first calls. With openvla-nano on one core of a Xeon a call takes 4.6 ms instead of 7.5 at a batch of 1, 12.5
instead of 15.8 at 4 and 23.2 instead of 27.7 at 8 (`results/openvla_throughput.md`). `torch.compile` changes the
last bits and needs a minute for each shape.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vla_bench.models.openvla.network import OpenVLA

CALLS_BEFORE_TRACING = 64  # recording takes as long as 100 to 200 calls save, so rare calls are not recorded
CALLS_CHECKED = 3  # torch optimizes the recording during the first two calls
_MAX_SHAPES = 8  # cached shapes; a fixed batch has one per prompt length


class Traced(nn.Module):
    """A method of `network` that is recorded per input shape; its Python branches must not depend on tensor values.

    Autoregressive decoding is not such a method: transformers inspects the values of two-dimensional masks. Weights may
    change in place, the structure of the network may not.
    """

    def __init__(self, network: nn.Module, method: str) -> None:
        super().__init__()
        self._network, self._method = network, method
        self._shapes: OrderedDict[Hashable, _ShapeState] = OrderedDict()

    def forward(self, *inputs: torch.Tensor | None) -> torch.Tensor:
        """Return the result of the method."""
        key = tuple(None if one is None else (one.shape, one.dtype, one.device) for one in inputs)
        shape = self._shapes.setdefault(key, _ShapeState())
        self._shapes.move_to_end(key)
        if len(self._shapes) > _MAX_SHAPES:
            self._shapes.popitem(last=False)
        return shape.call(_Call(self._network, self._method, inputs), [one for one in inputs if one is not None])


@dataclass
class _ShapeState:
    """State of the calls with inputs of one shape."""

    calls: int = 0
    checked: int = 0
    recorded: Callable[..., torch.Tensor] | None = None
    differs: bool = False  # the recording gave other bits than the network and is not used

    def call(self, network: "_Call", given: list[torch.Tensor]) -> torch.Tensor:
        self.calls += 1
        if self.calls <= CALLS_BEFORE_TRACING or self.differs:
            return network(*given)  # type: ignore[no-any-return]
        if self.recorded is None:
            self.recorded = _record(network, given)
        if self.checked == CALLS_CHECKED:
            return self.recorded(*given)
        expected: torch.Tensor = network(*given)
        self.checked += 1
        if not torch.equal(self.recorded(*given), expected):
            self.differs, self.recorded = True, None
        return expected


class _Call(nn.Module):
    """The method as a module of the given tensors."""

    def __init__(self, network: nn.Module, method: str, inputs: tuple[torch.Tensor | None, ...]) -> None:
        super().__init__()
        self.network, self._method = network, method
        self._absent = [place for place, one in enumerate(inputs) if one is None]

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        arguments: list[torch.Tensor | None] = list(given)
        for place in self._absent:
            arguments.insert(place, None)
        return getattr(self.network, self._method)(*arguments)  # type: ignore[no-any-return]


def _record(network: _Call, given: list[torch.Tensor]) -> Callable[..., torch.Tensor]:
    with warnings.catch_warnings():
        # torch.jit.trace is deprecated, but graphs of torch.export are no faster here than the network itself
        for category in (DeprecationWarning, FutureWarning, torch.jit.TracerWarning):  # type: ignore[attr-defined]
            warnings.simplefilter("ignore", category)
        recorded: Any = torch.jit.trace(network.eval(), tuple(given), check_trace=False)
    return recorded  # type: ignore[no-any-return]


def compile_network(model: OpenVLA) -> None:
    """Compile towers, projector and decoder in place at their first call; tensor names do not change.

    Batch sizes and lengths vary during generation, so shapes are dynamic after the first change.
    Needs a C++ compiler on the CPU, and Triton on a GPU.
    """
    for part in (model.vision_backbone, model.projector, model.language_model.model):
        part.compile()
