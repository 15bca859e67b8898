"""Data-parallel training on the processes of torchrun or `accelerate launch`; one process needs no setup."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed

from vla_bench.core.errors import VlaBenchError

T = TypeVar("T")


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a data-parallel run, as seen by one of them, with the collective operations that it needs."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """True for the process that writes files and logs."""
        return self.rank == 0

    def run_on_main(self, work: Callable[[], T]) -> T:
        """Run `work` on the main process, and return its result or raise its exception on every process."""
        if self.count == 1:
            return work()
        outcome: list[Any] = [None, None]
        if self.is_main:
            try:
                outcome[0] = work()
            except (VlaBenchError, OSError) as error:
                outcome[1] = error
        distributed.broadcast_object_list(outcome, src=0, device=self.device)
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum the gradients over all processes; a missing gradient counts as zero."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)

    def all_reduce_sum(self, values: Iterable[float]) -> list[float]:
        """Return the sum of each value over all processes."""
        if self.count == 1:
            return [float(value) for value in values]
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        sums: list[float] = tensor.tolist()
        return sums

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all processes in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def broadcast_weights(self, tensors: Iterable[torch.Tensor]) -> None:
        """Copy the tensors of the main process to every process."""
        if self.count > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.data, src=0)


SINGLE_PROCESS = ProcessGroup(0, 1, torch.device("cpu"))


@contextmanager
def join_process_group() -> Iterator[ProcessGroup]:
    """Join the process group that a launcher described in the environment, if any, and yield it.

    Each process uses the GPU of its local rank if there is one. Every process holds all weights; gradients are summed
    once per step.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    begun_here = count > 1 and not distributed.is_initialized()
    if begun_here:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield ProcessGroup(rank, count, device)
    finally:
        if begun_here:
            distributed.destroy_process_group()
