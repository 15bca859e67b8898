"""The benchmark record `performance.json`: metrics with targets, step profiles and scaling curves."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import written_whole
from vla_bench.performance.hardware import Machine

MetricKind = Literal["ratio", "share", "memory", "time"]
Direction = Literal["higher", "lower"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Model):
    """A bound that a metric should satisfy."""

    bound: float
    better: Direction = "higher"

    def met(self, value: float) -> bool:
        """Return whether `value` satisfies the bound."""
        return value >= self.bound if self.better == "higher" else value <= self.bound

    def __str__(self) -> str:
        return f"{'at least' if self.better == 'higher' else 'at most'} {format_number(self.bound)}"


class Metric(_Model):
    """A measured quantity with one value per turn."""

    name: str  # unique within its measure
    title: str
    unit: str  # `x` for a ratio, `%`, `steps/s`, `ms`, `MB`, ...
    turns: tuple[float, ...] = Field(min_length=1)
    kind: MetricKind  # `time` is comparable on equal hardware only, the others everywhere
    better: Direction = "higher"
    aim: Target | None = None

    @property
    def median(self) -> float:
        """Median over the turns."""
        return statistics.median(self.turns)

    @property
    def low(self) -> float:
        """Smallest value over the turns."""
        return min(self.turns)

    @property
    def high(self) -> float:
        """Largest value over the turns."""
        return max(self.turns)

    @property
    def spread(self) -> float:
        """Range over the turns as a fraction of their median."""
        return (self.high - self.low) / abs(self.median) if self.median else 0.0

    def __str__(self) -> str:
        return f"{format_number(self.median)} {self.unit}".strip()


def speed_metric(name: str, title: str, speeds: Iterable[float]) -> Metric:
    """Return the metric of speeds in steps/s, one per turn."""
    return Metric(name=name, title=title, unit="steps/s", kind="time", turns=tuple(speeds))


class MeasureResult(_Model):
    """The metrics of one measure, or the reason why it has none."""

    measure: str
    title: str
    figures: tuple[Metric, ...] = ()
    not_run: str = ""  # reason
    failed: bool = False  # an error, rather than a missing requirement of this machine
    notes: tuple[str, ...] = ()
    elapsed_s: float = 0.0


def strip_code_marks(text: str) -> str:
    """Return a title without the backquotes of Markdown code, which table cells would show literally."""
    return text.replace("`", "")


def format_number(value: float) -> str:
    """Return a number with three significant digits; integers and numbers from 100 on without decimals."""
    if value == 0 or abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"


class ScalingPoint(BaseModel):
    """The measured cost at one size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: float
    cost: float
    memory_mb: float | None = None  # proportional set size of all processes


class ScalingExponent(BaseModel):
    """The slope of log cost against log size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float  # 95 % interval, Student's t
    high: float


class ScalingCurve(BaseModel):
    """A cost as a function of one size, with a fitted power law."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    size: str  # axis label with unit
    cost: str  # axis label with unit
    points: tuple[ScalingPoint, ...] = Field(min_length=3)
    exponent: ScalingExponent
    memory_exponent: ScalingExponent | None = None


class ProfilePart(BaseModel):
    """The time of one part of a control step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    milliseconds: float
    low: float  # smallest value over the turns
    high: float


class StepProfile(BaseModel):
    """The parts of a control step of one task; they add up to the whole step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: str
    task_id: str
    image_size: int
    parts: tuple[ProfilePart, ...]

    @property
    def total_ms(self) -> float:
        """Sum of all parts [ms]."""
        return sum(part.milliseconds for part in self.parts)


RECORD_NAME = "performance.json"


class RecordError(VlaBenchError):
    """A `performance.json` that is missing or invalid."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}. Run `vla-bench benchmark` to write a new record.")


class BenchmarkRecord(BaseModel):
    """The results of one benchmark run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: str
    command: str
    machine: Machine
    software: str
    how: str  # number and length of turns
    outcomes: tuple[MeasureResult, ...]
    profiles: tuple[StepProfile, ...] = ()
    growths: tuple[ScalingCurve, ...] = ()

    def figures(self) -> dict[str, Metric]:
        """Return every metric by `measure.metric`."""
        return {f"{outcome.measure}.{metric.name}": metric for outcome in self.outcomes for metric in outcome.figures}

    def write(self, folder: Path) -> Path:
        """Write `performance.json` and return its path."""
        with written_whole(folder / RECORD_NAME) as path:
            path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return folder / RECORD_NAME


def read_record(path: Path) -> BenchmarkRecord:
    """Read a record; raise `RecordError` where the file is missing or invalid."""
    try:
        return BenchmarkRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(path, f"the file cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "(whole file)"
        raise RecordError(path, f"field `{where}` is invalid: {first['msg']}") from None
