"""Coverage, error rates and power of the statistics, by simulation of policies whose success rates are known.

Example: `python benchmarks/statistics_simulation.py --output results/statistics_simulation.md`
"""

import argparse
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, t
from statsmodels.stats.proportion import proportion_confint

from vla_bench.core.paths import written_whole
from vla_bench.results.statistics.e_process import STAKES, log_mean_exp
from vla_bench.results.statistics.multiplicity import holm
from vla_bench.results.statistics.pairs import PairCounts, adjusted_difference, mcnemar_exact
from vla_bench.results.statistics.ranks import Rank, rank
from vla_bench.results.statistics.sample_size import paired_episodes, paired_power
from vla_bench.results.statistics.sequential import BATCH, next_batch
from vla_bench.results.statistics.suite_average import stratified_wilson, task_clustered

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # header, rows

ALPHA = 0.05
RESAMPLES = 999  # of a bootstrap inside the simulation; tables use 9999
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
PAIRED = {  # chance that only the first, only the second succeeds
    "no difference, 20 % discordant": (0.10, 0.10),
    "5 points, 15 % discordant": (0.10, 0.05),
    "20 points, 40 % discordant": (0.30, 0.10),
    "2 % discordant": (0.01, 0.01),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate and write the page."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    parts = []
    for title, text, simulate in _SECTIONS:
        section_began = time.process_time()
        header, rows = simulate(options.repetitions, np.random.default_rng(options.seed))
        parts += [f"## {title}", text, _markdown(header, rows)]
        print(f"{title}: {time.process_time() - section_began:.0f} s", file=sys.stderr)
    command = shlex.join(["python", "benchmarks/statistics_simulation.py", *(arguments or sys.argv[1:])])
    page = "\n\n".join(["# The statistics, simulated", _introduction(options, time.process_time(), command), *parts])
    with written_whole(options.output) as path:
        path.write_text(page + "\n", encoding="utf-8")


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
            rows.append((str(trials), name, _percent(coverage.mean()), _percent(coverage.min()), _points(width)))
    return ("episodes", "interval", "mean coverage %", "least coverage %", "mean width, points"), rows


def fixed_suite(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate intervals of a suite average whose tasks stay the same."""
    rows = []
    for profile, rates_of in PROFILES.items():
        for tasks in (3, 10, 30):
            for trials in (10, 50):
                rates = rates_of(tasks)
                hits = generator.binomial(trials, rates, (repetitions, tasks))
                _, low, high = stratified_wilson(hits, np.full_like(hits, trials))
                pooled = proportion_confint(hits.sum(axis=1), tasks * trials, alpha=ALPHA, method="wilson")
                drawn = _stratified_bootstrap(hits[: repetitions // 10], trials, generator)
                cells = [_coverage(limits, rates.mean()) for limits in ((low, high), pooled, drawn)]
                rows.append((profile, str(tasks), str(trials), *(cell for pair in cells for cell in pair)))
    names = [
        f"{name} {what}" for name in ("stratified Wilson", "pooled Wilson", "bootstrap") for what in ("%", "width")
    ]
    return ("rates of the tasks", "tasks", "episodes each", *names), rows


def sampled_suite(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate intervals of a suite average whose tasks are drawn from many."""
    rows, trials = [], 20
    for name, (a, b) in TASK_DRAWS.items():
        for tasks in (3, 5, 10, 30):
            rates = generator.beta(a, b, (repetitions // 10, tasks))
            hits = generator.binomial(trials, rates)
            seen, truth = hits / trials, a / (a + b)
            _, fixed_low, fixed_high = stratified_wilson(hits, np.full_like(hits, trials))
            half = t.ppf(1 - ALPHA / 2, tasks - 1) * seen.std(axis=1, ddof=1) / np.sqrt(tasks)
            limits = {
                "used": _task_clustered(seen, fixed_low, fixed_high),
                "plain": _percentile_bootstrap(seen, generator),
                "student": (seen.mean(axis=1) - half, seen.mean(axis=1) + half),
                "fixed": (fixed_low, fixed_high),
            }
            rows.append((name, str(tasks), *(cell for pair in limits.values() for cell in _coverage(pair, truth))))
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
            cells = [_coverage(limits, first - second) for limits in ((low, high), drawn)]
            rows.append((name, str(tasks), str(pairs), *(cell for pair in cells for cell in pair)))
    names = [f"{name} {what}" for name in ("stratified Bonett-Price", "paired bootstrap") for what in ("%", "width")]
    return ("policies", "tasks", "pairs each", *names), rows


def mcnemar_errors(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate the exact McNemar test of policies that are equal, in each task or only on average."""
    rows = []
    for name, wins, losses in _NULLS:
        for pairs in (20, 50, 200):
            kinds = _outcomes(wins, losses, pairs, repetitions, generator)
            rejected = (_exact_p(kinds[..., 0].sum(axis=1), kinds[..., 1].sum(axis=1)) <= ALPHA).mean()
            rows.append((name, str(len(wins)), str(pairs), _percent(rejected)))
    return ("policies", "tasks", "pairs each", "rejected %"), rows


def holm_errors(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate the tests of many tasks at once: how often any task is wrongly said to differ."""
    rows = []
    for tasks, different in ((5, 0), (10, 0), (30, 0), (10, 5), (30, 15)):
        wins = np.where(np.arange(tasks) < different, 0.5, 0.2)
        losses = np.where(np.arange(tasks) < different, 0.1, 0.2)
        kinds = _outcomes(wins, losses, 50, repetitions, generator)
        p = _exact_p(kinds[..., 0], kinds[..., 1])
        adjusted = _holm(p)
        assert np.allclose(adjusted[:5], [holm(row) for row in p[:5]])
        false = [(values[:, different:] <= ALPHA).any(axis=1).mean() for values in (p, adjusted)]
        found = [(values[:, :different] <= ALPHA).mean() if different else np.nan for values in (p, adjusted)]
        rows.append((str(tasks), str(different), *map(_percent, (false[0], false[1], found[0], found[1]))))
    names = ("any false, unadjusted %", "any false, Holm %", "differences found, unadjusted %", "found, Holm %")
    return ("tasks", "that differ", *names), rows


def rank_errors(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate the ranks of five policies, each better than the next or as good."""
    rows, episodes = [], 200
    for rates in ((0.6,) * 5, (0.7, 0.7, 0.7, 0.5, 0.5), (0.9, 0.8, 0.7, 0.6, 0.5)):
        hits = generator.random((repetitions // 10, episodes, 5)) < np.array(rates)
        pairs = list(combinations(range(5), 2))
        wins = np.stack([(hits[..., one] & ~hits[..., other]).sum(axis=1) for one, other in pairs], axis=-1)
        losses = np.stack([(hits[..., other] & ~hits[..., one]).sum(axis=1) for one, other in pairs], axis=-1)
        told_apart = _holm(_exact_p(wins, losses)) <= ALPHA
        wrong, width = [], []
        for study in range(len(hits)):
            better = {
                (str(one), str(other)) if wins[study, at] > losses[study, at] else (str(other), str(one))
                for at, (one, other) in enumerate(pairs)
                if told_apart[study, at]
            }
            found = rank(list("01234"), better)
            wrong.append(any(not _holds(found[str(number)], number, rates) for number in range(5)))
            width.append(np.mean([place.last - place.first + 1 for place in found.values()]))
        rows.append((", ".join(map(str, rates)), _percent(float(np.mean(wrong))), f"{np.mean(width):.2f}"))
    return ("success rates", "any wrong %", "mean width of a range of ranks"), rows


def _holds(found: Rank, number: int, rates: Sequence[float]) -> bool:
    """Tell whether a range of ranks holds every rank that the policy's rate may be given."""
    better = sum(rate > rates[number] for rate in rates)
    worse = sum(rate < rates[number] for rate in rates)
    return found.first <= better + 1 and found.last >= len(rates) - worse


def planned_power(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate the power of planned comparisons."""
    rows = []
    for difference, discordance in ((0.2, 0.4), (0.1, 0.3), (0.1, 0.12), (0.05, 0.2)):
        pairs = paired_episodes(difference, discordance)
        wins, losses = (discordance + difference) / 2, (discordance - difference) / 2
        kinds = generator.multinomial(pairs, [wins, losses, 1 - wins - losses], repetitions)
        power = (_exact_p(kinds[:, 0], kinds[:, 1]) <= ALPHA).mean()
        computed = paired_power(pairs, difference, discordance)
        rows.append((_points(difference), _percent(discordance), str(pairs), _percent(computed), _percent(power)))
    return ("difference, points", "discordant %", "planned pairs", "power computed %", "power simulated %"), rows


def sequential_errors(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate sequential comparisons of equal policies, and a fixed test that is looked at as often."""
    rows = []
    for name, wins, losses in _NULLS:
        found = _sequential(wins, losses, 200, repetitions, generator)
        peeking = _peeking(wins, losses, 200, repetitions, generator)
        rows.append((name, str(len(wins)), _percent((found.finding != 0).mean()), _percent(peeking)))
    return (
        "policies",
        "tasks",
        "sequential: ever decided %",
        "McNemar looked at after each batch: ever p ≤ 0.05 %",
    ), rows


def sequence_coverage(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate whether the anytime limits hold the true difference at all times at once."""
    rows = []
    for name, wins, losses in (*_NULLS, *_EFFECTS):
        truth = round(float(np.mean(np.subtract(wins, losses))), 9) + 0.0  # never -0
        found = _sequential(wins, losses, 200, repetitions, generator, null=truth, stops=False)
        rows.append((name, str(len(wins)), f"{100 * truth:+.1f}", _percent((found.finding == 0).mean())))
    return ("policies", "tasks", "difference, points", "held at all times %"), rows


def sequential_savings(repetitions: int, generator: np.random.Generator) -> Table:
    """Compare sequential comparisons with the fixed number of pairs that has power 0.8 and 0.95."""
    rows = []
    for name, wins, losses in _EFFECTS:
        tasks, difference = len(wins), float(np.mean(np.subtract(wins, losses)))
        fixed = [
            paired_episodes(difference, float(np.mean(np.add(wins, losses))), ALPHA, power) for power in (0.8, 0.95)
        ]
        found = _sequential(wins, losses, 2 * -(-fixed[1] // tasks), repetitions, generator)
        even = _sequential(wins, losses, 2 * -(-fixed[1] // tasks), repetitions, generator, most=1)
        rows.append(
            (
                name,
                f"{100 * difference:+.1f}",
                *map(str, fixed),
                _percent((found.finding == 1).mean()),
                f"{found.pairs.mean():.0f}",
                f"{np.median(found.pairs):.0f}",
                f"{np.quantile(found.pairs, 0.9):.0f}",
                f"{even.pairs.mean():.0f}",
                _percent((found.finding == -1).mean()),
            )
        )
    names = ("fixed pairs, power 0.8", "power 0.95", "sequential finds %", "mean pairs", "median", "90th percentile")
    return ("policies", "difference, points", *names, "mean pairs, tasks evenly", "wrong policy %"), rows


class Sequential:
    """Many sequential comparisons at once: findings (1, -1, 0: none) and pairs used."""

    def __init__(self, repetitions: int, tasks: int) -> None:
        self.finding = np.zeros(repetitions, dtype=np.int64)
        self.wins, self.losses, self.played = (np.zeros((repetitions, tasks), dtype=np.int64) for _ in range(3))
        self.log = np.zeros((2, repetitions, len(STAKES)))

    @property
    def pairs(self) -> Counts:
        """Pairs that each comparison used."""
        return self.played.sum(axis=1)


def _sequential(
    wins: Sequence[float],
    losses: Sequence[float],
    available: int,
    repetitions: int,
    generator: np.random.Generator,
    *,
    null: float = 0.0,
    stops: bool = True,
    most: int | None = None,
) -> Sequential:
    """Play as `SequentialComparison` does, against "the average difference is `null`", all repetitions at once."""
    state = Sequential(repetitions, len(wins))
    chances = np.stack([wins, losses, 1 - np.add(wins, losses)], axis=-1)
    active = np.arange(repetitions)
    while active.size:
        left = available - state.played[active]
        discordant = state.wins[active] + state.losses[active]
        asked, rounds = next_batch(discordant if most is None else 0 * discordant, state.played[active], left, BATCH)
        active, asked, rounds = active[rounds > 0], asked[rounds > 0], rounds[rounds > 0]
        count = asked * rounds[:, None]
        kinds = generator.multinomial(count, np.broadcast_to(chances, (*count.shape, 3)))
        state.wins[active] += kinds[..., 0]
        state.losses[active] += kinds[..., 1]
        state.played[active] += count
        for side, (sign, limit) in enumerate(((1, 1 + null), (-1, 1 - null))):
            stakes = STAKES / limit / asked[..., None]
            for kind, outcome in enumerate((1, -1, 0)):
                factor = np.log1p(stakes * sign * (outcome - null))
                state.log[side, active] += (kinds[..., kind, None] * factor).sum(axis=1)
        above, below = (log_mean_exp(state.log[side, active]) >= np.log(2 / ALPHA) for side in (0, 1))
        state.finding[active[above]], state.finding[active[below]] = 1, -1
        if stops:
            active = active[~(above | below)]
    return state


def _peeking(
    wins: Sequence[float], losses: Sequence[float], available: int, repetitions: int, generator: np.random.Generator
) -> float:
    """Return how often an exact McNemar test, made after each round of a batch, was ever significant."""
    each = -(-BATCH // len(wins))
    ever = np.zeros(repetitions, dtype=bool)
    totals = np.zeros((repetitions, 2), dtype=np.int64)
    for _ in range(available // each):
        totals += _outcomes(wins, losses, each, repetitions, generator)[..., :2].sum(axis=1)
        ever |= _exact_p(totals[:, 0], totals[:, 1]) <= ALPHA
    return float(ever.mean())


def _outcomes(
    wins: Sequence[float] | Array,
    losses: Sequence[float] | Array,
    pairs: int,
    count: int,
    generator: np.random.Generator,
) -> Counts:
    """Return wins, losses and ties (count, tasks, 3)."""
    chances = np.stack([wins, losses, 1 - np.add(wins, losses)], axis=-1)
    return generator.multinomial(
        np.full((count, len(chances)), pairs), np.broadcast_to(chances, (count, *chances.shape))
    )


def _exact_p(wins: Counts, losses: Counts) -> Array:
    """Return the p-values of the package's test, each distinct one made once."""
    found, places = np.unique(np.stack([wins, losses], axis=-1).reshape(-1, 2), axis=0, return_inverse=True)
    values = np.array([mcnemar_exact(PairCounts(0, int(first), int(second), 0)) for first, second in found])
    return values[places.ravel()].reshape(np.shape(wins))


def _holm(p: Array) -> Array:
    """Return Holm's adjusted p-values of each row; the package's own are made one row at a time."""
    order = np.argsort(p, axis=1)
    steps = np.arange(p.shape[1], 0, -1)
    stepped = np.minimum(np.maximum.accumulate(np.take_along_axis(p, order, 1) * steps, axis=1), 1.0)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, stepped, axis=1)
    return adjusted


def _stratified_bootstrap(hits: Counts, trials: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Draw each task's episodes anew; drawing from successes and failures is drawing their number."""
    means = np.stack([generator.binomial(trials, hits / trials).mean(axis=1) for _ in range(RESAMPLES)]) / trials
    return _percentiles(means)


def _paired_bootstrap(kinds: Counts, pairs: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Draw each task's pairs anew; drawing from wins, losses and ties is drawing their numbers."""
    shares = kinds / pairs
    draws = (generator.multinomial(np.full(kinds.shape[:-1], pairs), shares) for _ in range(RESAMPLES))
    return _percentiles(np.stack([(draw[..., 0] - draw[..., 1]).mean(axis=1) / pairs for draw in draws]))


def _percentile_bootstrap(seen: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    places = generator.integers(0, seen.shape[1], (RESAMPLES, *seen.shape))
    return _percentiles(np.stack([np.take_along_axis(seen, drawn, 1).mean(axis=1) for drawn in places]))


def _percentiles(draws: Array) -> tuple[Array, Array]:
    low, high = np.quantile(draws, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return low, high


def _task_clustered(rates: Array, fixed_low: Array, fixed_high: Array, size: int = 50) -> tuple[Array, Array]:
    """Make the package's intervals, a few studies at a time, each part with a seed of its own."""
    parts = [
        task_clustered(rates[part], fixed_low[part], fixed_high[part], resamples=RESAMPLES, seed=part.start)
        for part in (slice(at, at + size) for at in range(0, len(rates), size))
    ]
    low, high = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    return low, high


def _coverage(limits: tuple[Array, Array], truth: float) -> tuple[str, str]:
    low, high = limits
    holds = (low <= truth + 1e-12) & (truth - 1e-12 <= high)
    return _percent(holds.mean()), _points((high - low).mean())


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f}"


def _points(difference: float) -> str:
    return f"{100 * difference:.1f}"


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _introduction(options: argparse.Namespace, processor_s: float, command: str) -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "statsmodels"))
    error = 100 * np.sqrt(0.05 * 0.95 / options.repetitions)
    return (
        f"Every number is a share of {options.repetitions} simulated studies ({options.repetitions // 10} where a "
        f"bootstrap or a ranking is made in each) of policies whose rates are known, seed {options.seed}; a share of "
        f"95 % has a standard error of {error:.2f} points ({error * np.sqrt(10):.2f} with a bootstrap). Nominal: "
        f"coverage 95 %, level {ALPHA}. Widths are means, in points.\n\n"
        f"- Hardware: {names[0] if names else platform.processor()}, {os.cpu_count()} cores, one used, shared\n"
        f"- Software: Python {platform.python_version()}, {packages}\n"
        f"- Date: {datetime.now(UTC):%Y-%m-%d}; {processor_s:.0f} s of processor time\n"
        f"- Command: `{command}`"
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/statistics_simulation.md"))
    parser.add_argument("--repetitions", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


_NULLS: tuple[tuple[str, list[float], list[float]], ...] = (
    ("equal in each of 5 tasks, 40 % discordant", [0.2] * 5, [0.2] * 5),
    ("equal in each of 5 tasks, 4 % discordant", [0.02] * 5, [0.02] * 5),
    ("equal in one task, 40 % discordant", [0.2], [0.2]),
    ("equal on average: +30, -30, +10, -10, 0 points", [0.35, 0.05, 0.15, 0.05, 0.0], [0.05, 0.35, 0.05, 0.15, 0.0]),
    ("equal on average: +60, four times -15 points", [0.6, 0.0, 0.0, 0.0, 0.0], [0.0, 0.15, 0.15, 0.15, 0.15]),
)
_EFFECTS: tuple[tuple[str, list[float], list[float]], ...] = (
    ("better in each of 5 tasks", [0.25] * 5, [0.1] * 5),
    ("better in 3 of 5, the others always solved", [0.3, 0.3, 0.3, 0.0, 0.0], [0.15, 0.15, 0.15, 0.0, 0.0]),
    ("better in 2 of 10, the others nearly always solved", [0.5, 0.5] + [0.01] * 8, [0.1, 0.1] + [0.01] * 8),
    ("better in 1 of 5", [0.55, 0.05, 0.05, 0.05, 0.05], [0.05] * 5),
    ("a little better in each of 5 tasks", [0.15] * 5, [0.1] * 5),
    ("far better in each of 5 tasks", [0.6] * 5, [0.05] * 5),
)
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
