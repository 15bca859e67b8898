"""Coverage, error rates and power of the statistics, by simulation of policies whose success rates are known.

Example: `python studies/statistics_simulation.py --output results/statistics_simulation.md`
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from provenance import command, hardware, software, today
from simulated_studies.differences import holm_errors, mcnemar_errors, planned_power, rank_errors
from simulated_studies.intervals import fixed_suite, one_task, paired_difference, sampled_suite
from simulated_studies.sequences import sequence_coverage, sequential_errors, sequential_savings
from simulated_studies.common import ALPHA, Table, markdown

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
    page = "\n\n".join(["# The statistics, simulated", _introduction(options, time.process_time()), *parts])
    with written_whole(options.output) as path:
        path.write_text(page + "\n", encoding="utf-8")


def _introduction(options: argparse.Namespace, processor_s: float) -> str:
    error = 100 * np.sqrt(0.05 * 0.95 / options.repetitions)
    return (
        f"Every number is a share of {options.repetitions} simulated studies ({options.repetitions // 10} where a "
        f"bootstrap or a ranking is made in each) of policies whose rates are known, seed {options.seed}; a share of "
        f"95 % has a standard error of {error:.2f} points ({error * np.sqrt(10):.2f} with a bootstrap). Nominal: "
        f"coverage 95 %, level {ALPHA}. Widths are means, in points.\n\n"
        f"- Hardware: {hardware()}, one used, shared\n"
        f"- Software: {software('numpy', 'scipy', 'statsmodels')}\n"
        f"- Date: {today()}; {processor_s:.0f} s of processor time\n"
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
        "Exact, no simulation: over 197 rates from 0.01 to 0.99. Tables use Wilson's interval. The familiar ± "
        "interval has no width at 0 or 100 %.",
        one_task,
    ),
    (
        "Suite average, these tasks",
        "Tables use Wilson's interval with the effective number of episodes (stratified Wilson). The pooled Wilson "
        "interval ignores that tasks differ and is too wide where they do; the bootstrap, which draws each task's "
        "episodes anew, has no width where everything succeeded.",
        fixed_suite,
    ),
    (
        "Suite average, tasks like these",
        "Tasks are drawn, 20 episodes of each; the truth is the mean over all tasks that could have been drawn. As "
        "used: the task-clustered bootstrap with percentiles as far out as Student's t asks for, below ten tasks "
        "at least Student's interval, never narrower than the interval for fixed tasks, within 0 and 100 %. Where "
        "tasks are all or nothing, a handful of them often look alike, and no interval can know better.",
        sampled_suite,
    ),
    (
        "Paired difference",
        "Tables use Bonett and Price's interval with the effective number of pairs; the CSV holds the paired "
        "bootstrap beside it.",
        paired_difference,
    ),
    (
        "Exact McNemar test of equal policies",
        "On the pooled pairs of the tasks, looked at once. It is conservative, as exact tests are.",
        mcnemar_errors,
    ),
    (
        "Many tasks at once: Holm",
        "50 pairs a task. Equal tasks: 40 % discordant; tasks that differ: 40 points, 60 % discordant.",
        holm_errors,
    ),
    (
        "Ranks of five policies",
        "Pairs of policies tested with Holm over all ten, 200 episodes each. Wrong: any two policies that are "
        "equal told apart, or any range of ranks that does not hold the true ones.",
        rank_errors,
    ),
    ("Planned episodes", "For power 0.8 at level 0.05.", planned_power),
    (
        "Sequential comparison of equal policies",
        "Up to 200 episodes a task, looked at after every batch of about 16. A decision for either policy is an "
        "error, at most 5 % by construction. Beside it, what comes of looking at a fixed test in the same way.",
        sequential_errors,
    ),
    (
        "Limits that hold at all times",
        "Whether the true difference was inside at every look, up to 200 episodes a task, without stopping.",
        sequence_coverage,
    ),
    (
        "What stopping saves",
        "Episodes available: twice those of the fixed test with power 0.95. Evenly: without giving more pairs to "
        "tasks in which the policies differ.",
        sequential_savings,
    ),
)


if __name__ == "__main__":
    main()
