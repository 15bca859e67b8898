"""Actions a second of a policy of the published size on a GPU, by batch."""

from vla_bench.benchmarking.figures import Figure
from vla_bench.benchmarking.machine import gpu
from vla_bench.benchmarking.measures import NotRunError, Setting, measure
from vla_bench.benchmarking.processes import Turns
from vla_bench.benchmarking.subjects import ours

_BATCHES = (1, 4, 8, 16, 32)


@measure("gpu-inference", "Actions a second of OpenVLA 7B by batch, random weights in bf16, on the GPU")
def gpu_inference(setting: Setting) -> list[Figure]:
    """Return actions/s for each batch, each in a process of its own: the weights fill the GPU."""
    if not gpu():
        raise NotRunError("no GPU.")
    figures = []
    for batch in _BATCHES:
        with Turns({"7b": ours("network_7b", "OpenVLA 7B", batch=batch)}) as turns:
            taken = turns.take(setting.turns, seconds=setting.seconds)["7b"]
        figures.append(
            Figure(name=f"batch-{batch}", title=f"OpenVLA 7B, batch of {batch}", unit="actions/s", kind="time",
                   turns=tuple(batch * turn.steps_per_s for turn in taken))
        )  # fmt: skip
    return figures
