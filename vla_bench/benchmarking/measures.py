"""The registry of measures. A new one is one new module in `vla_bench/benchmarking/kinds/`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vla_bench.benchmarking.figures import Figure
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.registry import Registry


class NotRunError(VlaBenchError):
    """A measure that this machine cannot take; its text says why."""


@dataclass(frozen=True)
class Setting:
    """How thoroughly a measure is taken, and what it finds on the machine."""

    turns: int = 5
    seconds: float = 2.0  # of work in a turn of one subject
    scale: float = 1.0  # of everything that is counted instead: episodes, steps, demonstrations
    workers: int = 2  # processes of what runs in several
    full: bool = False  # take what is projected otherwise
    rehearse: bool = False  # take what needs a GPU on the processor, at a size that it can run
    peers: Mapping[str, str] = field(default_factory=dict)  # name -> Python that has the peer installed
    workspace: Path = Path()  # for what a measure writes; removed afterwards
    note: Callable[[str], None] = lambda text: None  # hears what a reader of the figures must know

    def quick(self) -> "Setting":
        """Return a setting for a look of about a minute."""
        return replace(self, turns=2, seconds=0.4, scale=0.2)

    def note_versions(self, versions: Mapping[str, str]) -> None:
        """Note the versions of what a peer brought along."""
        if versions:
            self.note("Versions of the peers: " + ", ".join(f"{name} {text}" for name, text in versions.items()) + ".")

    def scaled(self, count: int, least: int = 1) -> int:
        """Return how many of what the default run takes `count` of."""
        return max(least, round(count * self.scale))


Take = Callable[[Setting], Sequence[Figure]]


@dataclass(frozen=True)
class Measure:
    """One thing that is measured."""

    title: str
    take: Take  # raises `NotRunError` where it cannot be taken
    in_quick: bool = True  # whether a quick look takes it without being asked to


measures: Registry[Measure] = Registry("measure", package="vla_bench.benchmarking.kinds")


def measure(name: str, title: str, *, in_quick: bool = True) -> Callable[[Take], Measure]:
    """Return a decorator that registers a function as the measure `name`."""
    return lambda take: measures.register(Measure(title, take, in_quick), name=name)
