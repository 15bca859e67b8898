"""How the policy's arithmetic is done, and whether that makes the same ledger every time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vla_bench.core.machine import usable_cores
from vla_bench.results.run_info import Numerics

_GPU = "a GPU does not promise the same sums for the same batch"
_THREADS = "several threads, and a batch shape that is not a power of two: a row's place in its batch counts"


def numerics_of(batch_shape: int | None) -> Numerics:
    """Describe the arithmetic of a policy that computes `batch_shape` rows together, and is loaded."""
    if batch_shape is None:
        return Numerics(device="any", batch_shape=None, bit_equal=True)
    device = accelerator() or "cpu"
    odd = batch_shape & (batch_shape - 1) != 0 and policy_threads() > 1
    why_not = _GPU if device != "cpu" else _THREADS if odd else ""
    return Numerics(device=device, batch_shape=batch_shape, bit_equal=not why_not, why_not=why_not)


def accelerator() -> str:
    """Return the GPU's name where the policy brought torch with it and torch sees one."""
    torch = sys.modules.get("torch")
    return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else ""


def policy_threads() -> int:
    """Return on how many threads torch computes, 0 where the policy did not bring it along."""
    torch = sys.modules.get("torch")
    return 0 if torch is None else int(torch.get_num_threads())


@contextmanager
def cores_left_to_workers(workers: int) -> Iterator[None]:
    """Keep torch, where the policy brought it along, off the workers' cores.

    Its threads wait for each other in busy loops: with more of them than free cores, a forward pass of openvla-nano
    took 13 to 40 times the processor time.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, usable_cores() - workers)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
