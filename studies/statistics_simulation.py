"""Simulate coverage, error rates and power of the statistics for policies with known success rates.

Example: `python studies/statistics_simulation.py --output results/statistics_simulation.md`
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from provenance import command, hardware, software, today
from simulated_studies.common import ALPHA, Table, markdown
from simulated_studies.differences import holm_errors, mcnemar_errors, planned_power, rank_errors
from simulated_studies.intervals import fixed_suite, one_task, paired_difference, sampled_suite
from simulated_studies.sequences import sequence_coverage, sequential_errors, sequential_savings

from vla_bench.core.files import written_whole


def main() -> None:
    """Simulate and write the page."""
    options = _parse(sys.argv[1:])
    parts = []
    for title, text, simulate in _SECTIONS:
        section_began = time.process_time()
        header, rows = simulate(options.repetitions, np.random.default_rng(options.seed))
        parts += [f"## {title}", text, markdown(header, rows)]
        print(f"{title}: {time.process_time() - section_began:.0f} s", file=sys.stderr)
    page = "\n\n".join(["# Simulation of the statistics", _introduction(options, time.process_time()), *parts])
    with written_whole(options.output) as path:
        path.write_text(page + "\n", encoding="utf-8")


def _introduction(options: argparse.Namespace, cpu_s: float) -> str:
    error = 100 * np.sqrt(0.05 * 0.95 / options.repetitions)
    return (
        f"Every number is a fraction of {options.repetitions} simulated studies ({options.repetitions // 10} with a "
        f"bootstrap or ranking in each) of policies with known success rates, seed {options.seed}; a fraction of "
        f"95 % has a standard error of {error:.2f} points ({error * np.sqrt(10):.2f} with a bootstrap). Nominal: "
        f"coverage 95 %, level {ALPHA}. Widths are means in percentage points.\n\n"
        f"- Hardware: {hardware()}, one used, shared\n"
        f"- Software: {software('numpy', 'scipy', 'statsmodels')}\n"
        f"- Date: {today()}; {cpu_s:.0f} s of CPU time\n"
        f"- Command: `{command()}`"
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/statistics_simulation.md"))
    parser.add_argument("--repetitions", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


_SECTIONS: tuple[tuple[str, str, Callable[[int, np.random.Generator], Table]], ...] = (
    (
        "Success rate of one task",
        "Computed exactly, without simulation, over 197 rates from 0.01 to 0.99. Tables use Wilson's interval. The "
        "Wald interval has zero width at 0 or 100 %.",
        one_task,
    ),
    (
        "Suite average, fixed tasks",
        "Tables use Wilson's interval with the effective number of episodes (stratified Wilson). The pooled Wilson "
        "interval ignores differences between tasks and is too wide where they differ; the bootstrap, which "
        "resamples the episodes of each task, has zero width where everything succeeded.",
        fixed_suite,
    ),
    (
        "Suite average, tasks as a sample",
        "Tasks are a random sample, 20 episodes of each; the truth is the mean over the distribution of tasks. As "
        "used: "
        "the task-clustered bootstrap with percentiles widened according to Student's t, below ten tasks at least "
        "Student's interval, never narrower than the interval for fixed tasks, within 0 and 100 %. Where each task "
        "either always or never succeeds, few tasks often have equal rates, and every interval is too narrow.",
        sampled_suite,
    ),
    (
        "Paired difference",
        "Tables use Bonett and Price's interval with the effective number of pairs; the CSV also has the "
        "paired bootstrap.",
        paired_difference,
    ),
    (
        "Exact McNemar test of equal policies",
        "On the pooled pairs of the tasks, tested once. Exact tests are conservative.",
        mcnemar_errors,
    ),
    (
        "Several tasks at once: Holm",
        "50 pairs per task. Equal tasks: 40 % discordant; tasks that differ: 40 points, 60 % discordant.",
        holm_errors,
    ),
    (
        "Ranks of five policies",
        "Pairs of policies tested with Holm over all ten, 200 episodes each. Wrong: a "
        "significant difference between equal policies, or a range of ranks without the true ones.",
        rank_errors,
    ),
    ("Planned episodes", "For power 0.8 at level 0.05.", planned_power),
    (
        "Sequential comparison of equal policies",
        "Up to 200 episodes per task, tested after every batch of about 16. A decision for either policy is an "
        "error, at most 5 % by construction. For comparison, a fixed test that is repeated in the same way.",
        sequential_errors,
    ),
    (
        "Confidence sequences",
        "Fraction of studies in which the interval contains the true difference at every test, up to 200 episodes per "
        "task, without stopping.",
        sequence_coverage,
    ),
    (
        "Savings by early stopping",
        "Episodes available: twice those of the fixed test with power 0.95. Evenly: without more pairs for "
        "tasks in which the policies differ.",
        sequential_savings,
    ),
)


if __name__ == "__main__":
    main()
