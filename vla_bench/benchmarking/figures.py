"""What a measure yields: figures with their turns, and the aim that some of them have."""

import statistics
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["ratio", "share", "memory", "time"]
Better = Literal["higher", "lower"]


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Aim(_Plain):
    """A bound that a figure is to keep."""

    bound: float
    better: Better = "higher"

    def met(self, value: float) -> bool:
        """Whether `value` keeps it."""
        return value >= self.bound if self.better == "higher" else value <= self.bound

    def __str__(self) -> str:
        return f"{'at least' if self.better == 'higher' else 'at most'} {number(self.bound)}"


class Figure(_Plain):
    """One quantity: a value from each turn."""

    name: str  # unique within its measure
    title: str
    unit: str  # `x` for a ratio, `%`, `steps/s`, `ms`, `MB`, ...
    turns: tuple[float, ...] = Field(min_length=1)
    kind: Kind  # two machines can compare ratios, shares [%] and memory; times only machines of one class
    better: Better = "higher"
    aim: Aim | None = None

    @property
    def median(self) -> float:
        """The middle of the turns."""
        return statistics.median(self.turns)

    @property
    def low(self) -> float:
        """The lowest turn."""
        return min(self.turns)

    @property
    def high(self) -> float:
        """The highest turn."""
        return max(self.turns)

    @property
    def spread(self) -> float:
        """How far the turns lie apart, as a share of their median."""
        return (self.high - self.low) / abs(self.median) if self.median else 0.0

    def __str__(self) -> str:
        return f"{number(self.median)} {self.unit}".strip()


class Outcome(_Plain):
    """What one measure gave, or why it gave nothing."""

    measure: str
    title: str
    figures: tuple[Figure, ...] = ()
    not_run: str = ""  # why
    failed: bool = False  # as against one that this machine cannot take
    notes: tuple[str, ...] = ()
    elapsed_s: float = 0.0


def plain(text: str) -> str:
    """Return a title without the marks of Markdown's code, which cells of a table would show."""
    return text.replace("`", "")


def number(value: float) -> str:
    """Return a number with three digits that mean something; whole where it is, and from 100 on."""
    if value == 0 or abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"
