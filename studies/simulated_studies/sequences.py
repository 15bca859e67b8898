"""Sequential comparisons: error rates, coverage of confidence sequences, and savings by early stopping."""

from collections.abc import Sequence

import numpy as np

from simulated_studies.common import ALPHA, Counts, Table, exact_p, outcomes, percent
from vla_bench.results.statistics.e_process import STAKES, log_mean_exp
from vla_bench.results.statistics.sample_size import paired_episodes
from vla_bench.results.statistics.sequential import BATCH, next_batch

NULLS: tuple[tuple[str, list[float], list[float]], ...] = (
    ("equal in each of 5 tasks, 40 % discordant", [0.2] * 5, [0.2] * 5),
    ("equal in each of 5 tasks, 4 % discordant", [0.02] * 5, [0.02] * 5),
    ("equal in one task, 40 % discordant", [0.2], [0.2]),
    ("equal on average: +30, -30, +10, -10, 0 points", [0.35, 0.05, 0.15, 0.05, 0.0], [0.05, 0.35, 0.05, 0.15, 0.0]),
    ("equal on average: +60, four times -15 points", [0.6, 0.0, 0.0, 0.0, 0.0], [0.0, 0.15, 0.15, 0.15, 0.15]),
)
EFFECTS: tuple[tuple[str, list[float], list[float]], ...] = (
    ("better in each of 5 tasks", [0.25] * 5, [0.1] * 5),
    ("better in 3 of 5, the others always solved", [0.3, 0.3, 0.3, 0.0, 0.0], [0.15, 0.15, 0.15, 0.0, 0.0]),
    ("better in 2 of 10, the others nearly always solved", [0.5, 0.5] + [0.01] * 8, [0.1, 0.1] + [0.01] * 8),
    ("better in 1 of 5", [0.55, 0.05, 0.05, 0.05, 0.05], [0.05] * 5),
    ("a little better in each of 5 tasks", [0.15] * 5, [0.1] * 5),
    ("far better in each of 5 tasks", [0.6] * 5, [0.05] * 5),
)


def sequential_errors(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate sequential comparisons of equal policies, and a fixed test that is repeated as often."""
    rows = []
    for name, wins, losses in NULLS:
        found = _sequential(wins, losses, 200, repetitions, generator)
        peeking = _peeking(wins, losses, 200, repetitions, generator)
        rows.append((name, str(len(wins)), percent((found.finding != 0).mean()), percent(peeking)))
    return (
        "policies",
        "tasks",
        "sequential: ever decided %",
        "McNemar repeated after each batch: ever p ≤ 0.05 %",
    ), rows


def sequence_coverage(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate how often a confidence sequence contains the true difference at all times."""
    rows = []
    for name, wins, losses in (*NULLS, *EFFECTS):
        truth = round(float(np.mean(np.subtract(wins, losses))), 9) + 0.0  # never -0
        found = _sequential(wins, losses, 200, repetitions, generator, null=truth, stops=False)
        rows.append((name, str(len(wins)), f"{100 * truth:+.1f}", percent((found.finding == 0).mean())))
    return ("policies", "tasks", "difference, points", "held at all times %"), rows


def sequential_savings(repetitions: int, generator: np.random.Generator) -> Table:
    """Simulate the pairs that sequential comparisons need, compared with fixed tests of power 0.8 and 0.95."""
    rows = []
    for name, wins, losses in EFFECTS:
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
                percent((found.finding == 1).mean()),
                f"{found.pairs.mean():.0f}",
                f"{np.median(found.pairs):.0f}",
                f"{np.quantile(found.pairs, 0.9):.0f}",
                f"{even.pairs.mean():.0f}",
                percent((found.finding == -1).mean()),
            )
        )
    names = ("fixed pairs, power 0.8", "power 0.95", "sequential finds %", "mean pairs", "median", "90th percentile")
    return ("policies", "difference, points", *names, "mean pairs, tasks evenly", "wrong policy %"), rows


class Sequential:
    """The state of vectorized sequential comparisons: findings (1, -1 or 0 for none) and used pairs."""

    def __init__(self, repetitions: int, tasks: int) -> None:
        self.finding = np.zeros(repetitions, dtype=np.int64)
        self.wins, self.losses, self.played = (np.zeros((repetitions, tasks), dtype=np.int64) for _ in range(3))
        self.log = np.zeros((2, repetitions, len(STAKES)))

    @property
    def pairs(self) -> Counts:
        """Used pairs of each comparison."""
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
    """Run vectorized comparisons like `SequentialComparison`, with the null hypothesis of an average difference "
    "`null`.
    """
    state = Sequential(repetitions, len(wins))
    chances = np.stack([wins, losses, 1 - np.add(wins, losses)], axis=-1)
    active = np.arange(repetitions)
    while active.size:
        left = available - state.played[active]
        discordant = state.wins[active] + state.losses[active]
        counts, rounds = next_batch(discordant if most is None else 0 * discordant, state.played[active], left, BATCH)
        active, counts, rounds = active[rounds > 0], counts[rounds > 0], rounds[rounds > 0]
        count = counts * rounds[:, None]
        kinds = generator.multinomial(count, np.broadcast_to(chances, (*count.shape, 3)))
        state.wins[active] += kinds[..., 0]
        state.losses[active] += kinds[..., 1]
        state.played[active] += count
        for side, (sign, limit) in enumerate(((1, 1 + null), (-1, 1 - null))):
            stakes = STAKES / limit / counts[..., None]
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
    """Return the fraction of studies in which an exact McNemar test, repeated after each batch, is ever significant."""
    each = -(-BATCH // len(wins))
    ever = np.zeros(repetitions, dtype=bool)
    totals = np.zeros((repetitions, 2), dtype=np.int64)
    for _ in range(available // each):
        totals += outcomes(wins, losses, each, repetitions, generator)[..., :2].sum(axis=1)
        ever |= exact_p(totals[:, 0], totals[:, 1]) <= ALPHA
    return float(ever.mean())
