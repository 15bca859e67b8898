"""Error rates and power of fixed tests: McNemar, Holm, ranks and planned episodes."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from simulated_studies.common import ALPHA, Array, Table, exact_p, outcomes, percent, points
from simulated_studies.sequences import NULLS
from vla_bench.results.statistics.multiple_comparisons import Rank, holm, rank
from vla_bench.results.statistics.sample_size import paired_episodes, paired_power


def mcnemar_errors(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate the exact McNemar test of policies that are equal in each task or only on average."""
    rows = []
    for name, wins, losses in NULLS:
        for pairs in (20, 50, 200):
            kinds = outcomes(wins, losses, pairs, repetitions, generator)
            rejected = (exact_p(kinds[..., 0].sum(axis=1), kinds[..., 1].sum(axis=1)) <= ALPHA).mean()
            rows.append((name, str(len(wins)), str(pairs), percent(rejected)))
    return ("policies", "tasks", "pairs each", "rejected %"), rows


def holm_errors(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate tests of several tasks at once: false positives and detected differences."""
    rows = []
    for tasks, different in ((5, 0), (10, 0), (30, 0), (10, 5), (30, 15)):
        wins = np.where(np.arange(tasks) < different, 0.5, 0.2)
        losses = np.where(np.arange(tasks) < different, 0.1, 0.2)
        kinds = outcomes(wins, losses, 50, repetitions, generator)
        p = exact_p(kinds[..., 0], kinds[..., 1])
        adjusted = _holm(p)
        assert np.allclose(adjusted[:5], [holm(row) for row in p[:5]])
        false = [(values[:, different:] <= ALPHA).any(axis=1).mean() for values in (p, adjusted)]
        found = [(values[:, :different] <= ALPHA).mean() if different else np.nan for values in (p, adjusted)]
        rows.append((str(tasks), str(different), *map(percent, (false[0], false[1], found[0], found[1]))))
    names = (
        "any false positive, unadjusted %",
        "any false positive, Holm %",
        "differences found, unadjusted %",
        "found, Holm %",
    )
    return ("tasks", "different tasks", *names), rows


def rank_errors(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate the ranks of five policies in descending order of success rates."""
    rows, episodes = [], 200
    for rates in ((0.6,) * 5, (0.7, 0.7, 0.7, 0.5, 0.5), (0.9, 0.8, 0.7, 0.6, 0.5)):
        hits = generator.random((repetitions // 10, episodes, 5)) < np.array(rates)
        pairs = list(combinations(range(5), 2))
        wins = np.stack([(hits[..., one] & ~hits[..., other]).sum(axis=1) for one, other in pairs], axis=-1)
        losses = np.stack([(hits[..., other] & ~hits[..., one]).sum(axis=1) for one, other in pairs], axis=-1)
        significant = _holm(exact_p(wins, losses)) <= ALPHA
        wrong, width = [], []
        for study in range(len(hits)):
            better = {
                (str(one), str(other)) if wins[study, at] > losses[study, at] else (str(other), str(one))
                for at, (one, other) in enumerate(pairs)
                if significant[study, at]
            }
            found = rank(list("01234"), better)
            wrong.append(any(not _holds(found[str(number)], number, rates) for number in range(5)))
            width.append(np.mean([place.last - place.first + 1 for place in found.values()]))
        rows.append((", ".join(map(str, rates)), percent(float(np.mean(wrong))), f"{np.mean(width):.2f}"))
    return ("success rates", "any wrong %", "mean width of a range of ranks"), rows


def planned_power(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate the power of planned comparisons."""
    rows = []
    for difference, discordance in ((0.2, 0.4), (0.1, 0.3), (0.1, 0.12), (0.05, 0.2)):
        pairs = paired_episodes(difference, discordance)
        wins, losses = (discordance + difference) / 2, (discordance - difference) / 2
        kinds = generator.multinomial(pairs, [wins, losses, 1 - wins - losses], repetitions)
        power = (exact_p(kinds[:, 0], kinds[:, 1]) <= ALPHA).mean()
        computed = paired_power(pairs, difference, discordance)
        rows.append((points(difference), percent(discordance), str(pairs), percent(computed), percent(power)))
    return ("difference, points", "discordant %", "planned pairs", "power computed %", "power simulated %"), rows


def _holds(found: Rank, number: int, rates: Sequence[float]) -> bool:
    """Return whether a range of ranks contains every rank that the rate of a policy allows."""
    better = sum(rate > rates[number] for rate in rates)
    worse = sum(rate < rates[number] for rate in rates)
    return found.first <= better + 1 and found.last >= len(rates) - worse


def _holm(p: Array) -> Array:
    """Return Holm's adjusted p-values of each row, vectorized, unlike `holm` of the package."""
    order = np.argsort(p, axis=1)
    steps = np.arange(p.shape[1], 0, -1)
    stepped = np.minimum(np.maximum.accumulate(np.take_along_axis(p, order, 1) * steps, axis=1), 1.0)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, stepped, axis=1)
    return adjusted
