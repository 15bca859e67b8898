"""Simulate the coverage of the intervals of language use and vision use for policies with known success rates."""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
from provenance import command, hardware, today

from vla_bench.core.files import written_whole
from vla_bench.results.statistics.paired import fraction_lost

_STUDIES = ((1, 20), (1, 60), (3, 20), (10, 20))  # tasks, episodes per task
_RATES = (  # own success, success without, floor
    (0.98, 0.0, 0.0),
    (0.8, 0.0, 0.0),
    (0.8, 0.05, 0.0),
    (0.8, 0.4, 0.0),
    (0.8, 0.8, 0.0),
    (0.5, 0.25, 0.1),
    (0.3, 0.1, 0.02),
)
_HEADER = "| tasks | episodes per task | success % | control % | floor % | true fraction | coverage % | mean width |"


def main() -> None:
    """Run the simulation and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/fraction_lost_coverage.md"))
    options = parser.parse_args()
    began = time.process_time()
    generator = np.random.default_rng(options.seed)
    rows = [
        _row(tasks, episodes, rates, options.repetitions, generator)
        for (tasks, episodes), rates in itertools.product(_STUDIES, _RATES)
    ]
    text = "\n".join(
        [
            "# Coverage of the intervals of language use and vision use",
            "",
            f"Each row is {options.repetitions} simulated studies of a policy with known success rates, seed "
            f"{options.seed}; nominal coverage 95 %. The control succeeds in a subset of the policy's successes, "
            "the floor independently. Studies without success above the floor have no score and are excluded.",
            "",
            f"- Hardware: {hardware()}, one core used, shared with other work",
            f"- Date: {today()}; {time.process_time() - began:.0f} s of CPU time",
            f"- Command: `{command()}`",
            "",
            _HEADER,
            "| --: | --: | --: | --: | --: | --: | --: | --: |",
            *rows,
            "",
        ]
    )
    with written_whole(options.output) as path:
        path.write_text(text, encoding="utf-8")
    print(text)


def _row(
    tasks: int, episodes: int, rates: tuple[float, float, float], repetitions: int, generator: np.random.Generator
) -> str:
    own, without, floor = rates
    truth = (own - without) / (own - floor)
    covered, widths = 0, []
    for _ in range(repetitions):
        draws = generator.random((3, tasks, episodes))
        hits = draws[0] < own
        retained = hits & (draws[1] < without / own)
        found = fraction_lost(list(np.stack([hits, retained, draws[2] < floor], axis=-1)), without=1)
        if not np.isnan(found.value):
            covered += found.low - 1e-9 <= truth <= found.high + 1e-9
            widths.append(found.high - found.low)
    percents = " | ".join(f"{100 * rate:g}" for rate in rates)
    share = f"{100 * covered / len(widths):.1f}"
    return f"| {tasks} | {episodes} | {percents} | {truth:.2f} | {share} | {np.mean(widths):.2f} |"


if __name__ == "__main__":
    main()
