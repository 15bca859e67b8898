"""Coverage of the intervals of a success rate, a suite average and a paired difference."""

from collections.abc import Callable

import numpy as np
from scipy.stats import binom, t
from statsmodels.stats.proportion import proportion_confint

from simulated_studies.common import ALPHA, RESAMPLES, Array, Counts, Table, coverage, percent, points
from vla_bench.results.statistics.paired import adjusted_difference
from vla_bench.results.statistics.proportions import stratified_wilson, task_clustered

PROFILES: dict[str, Callable[[int], Array]] = {  # success rates of a suite's tasks
    "all 0.8": lambda tasks: np.full(tasks, 0.8),
    "0.1 to 0.95": lambda tasks: np.linspace(0.1, 0.95, tasks),
    "all 0.98": lambda tasks: np.full(tasks, 0.98),
    "0.99 or 0.01": lambda tasks: np.where(np.arange(tasks) % 3 < 2, 0.99, 0.01),
}
TASK_DRAWS = {
    "alike: Beta(14, 6)": (14.0, 6.0),
    "unlike: Beta(2.1, 0.9)": (2.1, 0.9),
    "0 or 1: Beta(0.35, 0.15)": (0.35, 0.15),
}
PAIRED = {  # probability that only the first, only the second succeeds
    "no difference, 20 % discordant": (0.10, 0.10),
    "5 points, 15 % discordant": (0.10, 0.05),
    "20 points, 40 % discordant": (0.30, 0.10),
    "2 % discordant": (0.01, 0.01),
}


def one_task(repetitions: int, generator: np.random.Generator) -> Table:
    """Compute the coverage of intervals of one success rate, exactly, over a grid of rates."""
    rates = np.linspace(0.01, 0.99, 197)
    rows = []
    for trials in (10, 20, 50, 100):
        hits = np.arange(trials + 1)
        chances = binom.pmf(hits[None], trials, rates[:, None])
        for name, method in (("Wilson", "wilson"), ("Wald (rate ± 1.96 SE)", "normal"), ("Clopper-Pearson", "beta")):
            low, high = proportion_confint(hits, trials, alpha=ALPHA, method=method)
            holds = (low[None] <= rates[:, None]) & (rates[:, None] <= high[None])
            coverage = (chances * holds).sum(axis=1)
            width = (chances * (high - low)[None]).sum(axis=1).mean()
            rows.append((str(trials), name, percent(coverage.mean()), percent(coverage.min()), points(width)))
    return ("episodes", "interval", "mean coverage %", "minimum coverage %", "mean width, points"), rows


def fixed_suite(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate intervals of a suite average over fixed tasks."""
    rows = []
    for profile, rates_of in PROFILES.items():
        for tasks in (3, 10, 30):
            for trials in (10, 50):
                rates = rates_of(tasks)
                hits = generator.binomial(trials, rates, (repetitions, tasks))
                _, low, high = stratified_wilson(hits, np.full_like(hits, trials))
                pooled = proportion_confint(hits.sum(axis=1), tasks * trials, alpha=ALPHA, method="wilson")
                drawn = _stratified_bootstrap(hits[: repetitions // 10], trials, generator)
                cells = [coverage(limits, rates.mean()) for limits in ((low, high), pooled, drawn)]
                rows.append((profile, str(tasks), str(trials), *(cell for pair in cells for cell in pair)))
    names = [
        f"{name} {what}" for name in ("stratified Wilson", "pooled Wilson", "bootstrap") for what in ("%", "width")
    ]
    return ("rates of the tasks", "tasks", "episodes each", *names), rows


def sampled_suite(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate intervals of a suite average over randomly sampled tasks."""
    rows, trials = [], 20
    for name, (a, b) in TASK_DRAWS.items():
        for tasks in (3, 5, 10, 30):
            rates = generator.beta(a, b, (repetitions // 10, tasks))
            hits = generator.binomial(trials, rates)
            observed, truth = hits / trials, a / (a + b)
            _, fixed_low, fixed_high = stratified_wilson(hits, np.full_like(hits, trials))
            half = t.ppf(1 - ALPHA / 2, tasks - 1) * observed.std(axis=1, ddof=1) / np.sqrt(tasks)
            limits = {
                "used": _task_clustered(observed, fixed_low, fixed_high),
                "plain": _percentile_bootstrap(observed, generator),
                "student": (observed.mean(axis=1) - half, observed.mean(axis=1) + half),
                "fixed": (fixed_low, fixed_high),
            }
            rows.append((name, str(tasks), *(cell for pair in limits.values() for cell in coverage(pair, truth))))
    names = ["clustered, as used", "clustered percentile", "Student's t", "tasks taken as fixed"]
    return ("rates of the tasks", "tasks", *(f"{name} {what}" for name in names for what in ("%", "width"))), rows


def paired_difference(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate intervals of the paired difference."""
    rows = []
    for name, (first, second) in PAIRED.items():
        for tasks, pairs in ((1, 10), (1, 20), (1, 50), (5, 20), (10, 20), (10, 50)):
            kinds = generator.multinomial(pairs, [first, second, 1 - first - second], (repetitions, tasks))
            wins, losses = kinds[..., 0].astype(float), kinds[..., 1].astype(float)
            _, low, high = adjusted_difference(wins, losses, np.full_like(wins, pairs))
            drawn = _paired_bootstrap(kinds[: repetitions // 10], pairs, generator)
            cells = [coverage(limits, first - second) for limits in ((low, high), drawn)]
            rows.append((name, str(tasks), str(pairs), *(cell for pair in cells for cell in pair)))
    names = [f"{name} {what}" for name in ("stratified Bonett-Price", "paired bootstrap") for what in ("%", "width")]
    return ("policies", "tasks", "pairs each", *names), rows


def _stratified_bootstrap(hits: Counts, trials: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Resample the episodes of each task, as binomial numbers of successes."""
    means = np.stack([generator.binomial(trials, hits / trials).mean(axis=1) for _ in range(RESAMPLES)]) / trials
    return _percentiles(means)


def _paired_bootstrap(kinds: Counts, pairs: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Resample the pairs of each task, as multinomial numbers of wins, losses and ties."""
    shares = kinds / pairs
    draws = (generator.multinomial(np.full(kinds.shape[:-1], pairs), shares) for _ in range(RESAMPLES))
    return _percentiles(np.stack([(draw[..., 0] - draw[..., 1]).mean(axis=1) / pairs for draw in draws]))


def _percentile_bootstrap(observed: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    places = generator.integers(0, observed.shape[1], (RESAMPLES, *observed.shape))
    return _percentiles(np.stack([np.take_along_axis(observed, sample, 1).mean(axis=1) for sample in places]))


def _percentiles(draws: Array) -> tuple[Array, Array]:
    low, high = np.quantile(draws, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return low, high


def _task_clustered(rates: Array, fixed_low: Array, fixed_high: Array, size: int = 50) -> tuple[Array, Array]:
    """Return the intervals of the package, computed in parts with different seeds to limit memory."""
    parts = [
        task_clustered(rates[part], fixed_low[part], fixed_high[part], resamples=RESAMPLES, seed=part.start)
        for part in (slice(at, at + size) for at in range(0, len(rates), size))
    ]
    low, high = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    return low, high
