"""Actions a second of a policy of the published size on a GPU, by batch."""

from vla_bench.benchmarking.accelerated import accelerated
from vla_bench.benchmarking.figures import Figure
from vla_bench.benchmarking.measures import Setting, measure
from vla_bench.benchmarking.processes import Turns
from vla_bench.benchmarking.subjects import ours


@measure("gpu-inference", "Predictions a second of OpenVLA 7B by batch, random weights in bf16, on the GPU")
def gpu_inference(setting: Setting) -> list[Figure]:
    """Return predictions/s for each batch, each in a process of its own: the weights fill the GPU."""
    on = accelerated(setting)
    figures = []
    for batch in on.batches:
        subject = ours(
            "network",
            on.title,
            network=on.network,
            device=on.device,
            dtype=on.dtype,
            batch=batch,
            variables={"OMP_NUM_THREADS": "1"},
        )
        with Turns({"network": subject}) as turns:
            taken = turns.take(setting.turns, seconds=setting.seconds)["network"]
        figures.append(
            Figure(
                name=f"batch-{batch}",
                title=f"{on.title}, batch of {batch}",
                unit="predictions/s",
                kind="time",
                turns=tuple(batch * turn.steps_per_s for turn in taken),
            )
        )
    setting.note("gpu-inference: prepared tensors; one prediction is one action of the 7B, a chunk of 4 of the nano.")
    return figures
