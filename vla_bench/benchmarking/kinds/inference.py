"""Actions a second of the committed policy, by batch."""

from vla_bench.benchmarking.figures import Figure
from vla_bench.benchmarking.measures import Setting, measure
from vla_bench.benchmarking.processes import Turns, ratios
from vla_bench.benchmarking.subjects import ours

_POLICY = "openvla-nano"
_BATCHES = (1, 4, 8, 16)
_REFERENCE = 4  # what a run computes together, of its own


@measure("inference", f"Actions a second of {_POLICY} by batch, one thread", in_quick=False)
def inference(setting: Setting) -> list[Figure]:
    """Return actions/s for each batch, preprocessing included, and their ratios to a batch of one."""
    subjects = {
        str(batch): ours("policy", f"batch {batch}", policy=_POLICY, batch=batch, threads=1) for batch in _BATCHES
    }
    with Turns(subjects) as turns:
        taken = turns.take(setting.turns, seconds=setting.seconds / 2)
    speeds = {batch: [int(batch) * turn.steps_per_s for turn in of_one] for batch, of_one in taken.items()}
    setting.note(
        f"inference: {_POLICY} as its card says, on real observations, preprocessing included, on one thread as in a "
        "run on two cores; an action is a row's prediction, whatever the length of its chunk."
    )
    return [
        Figure(
            name="batching-ratio",
            title=f"a batch of {_REFERENCE} against one row",
            unit="x",
            kind="ratio",
            turns=tuple(ratios(speeds[str(_REFERENCE)], speeds["1"])),
        ),
        *(
            Figure(
                name=f"batch-{batch}",
                title=f"{_POLICY}, batch of {batch}",
                unit="predictions/s",
                kind="time",
                turns=tuple(values),
            )
            for batch, values in speeds.items()
        ),
    ]
