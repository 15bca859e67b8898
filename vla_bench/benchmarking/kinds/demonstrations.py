"""Demonstrations a minute, as `vla-bench generate-demos` makes them."""

import time

from vla_bench.benchmarking.figures import Aim, Figure
from vla_bench.benchmarking.measures import Setting, measure
from vla_bench.demos import CollectOptions, CollectProgress, collect
from vla_bench.tasks import tasks_of

_SUITE, _IMAGE_SIZE = "tabletop_object", 224
_SAMPLE = 4  # successes of each task
_AIM = Aim(bound=60.0)


@measure("demonstrations", "Demonstrations with images, two cameras of 224 px")
def demonstrations(setting: Setting) -> list[Figure]:
    """Return successes a minute from the first of each worker on, with the writing of the file; and their size."""
    paces, sizes = [], []
    for turn in range(1 if setting.scale < 1.0 else 2):
        options = CollectOptions(
            suites=(_SUITE,),
            output=setting.workspace / f"{turn}.hdf5",
            episodes=setting.scaled(_SAMPLE),
            seed=turn,
            workers=setting.workers,
            image_size=_IMAGE_SIZE,
        )
        moments: list[tuple[float, int]] = []

        def note(progress: CollectProgress, moments: list[tuple[float, int]] = moments) -> None:
            moments.append((time.perf_counter(), progress.finished))

        report = collect(options, note)
        ended = time.perf_counter()
        began, before = next(moment for moment in moments if moment[1] >= setting.workers)
        paces.append(60.0 * (report.demonstrations - before) / max(ended - began, 1e-9))
        sizes.append(report.size_bytes / 1e6 / report.demonstrations)
    setting.note(
        f"demonstrations: {setting.scaled(_SAMPLE)} successes of each of the {len(tasks_of(_SUITE))} tasks of "
        f"`{_SUITE}` with {setting.workers} workers; their start is not in the time, the file's writing is."
    )
    return [
        Figure(
            name="per-minute", title="demonstrations a minute", unit="/min", kind="time", turns=tuple(paces), aim=_AIM
        ),
        Figure(
            name="size", title="a demonstration's size", unit="MB", kind="memory", better="lower", turns=tuple(sizes)
        ),
    ]
