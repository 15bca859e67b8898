"""How far an episode ever came, which is not always where it ended."""

from dataclasses import dataclass

from vla_bench.tasks.phases import PHASES

_UNORDERED = PHASES.index("carry")  # a phase of its own kind lies between touching a thing and letting it go


@dataclass(frozen=True)
class Furthest:
    """The most progress of an episode so far, and the furthest phase at that progress."""

    progress: float = 0.0
    phase: str = ""

    def after(self, progress: float, phase: str) -> "Furthest":
        """Return what is the furthest now that the episode is in `phase`."""
        here = Furthest(progress, phase)
        return here if here._place() > self._place() else self

    def _place(self) -> tuple[float, int]:
        """Return a key that grows with how far it is: the subgoals met, then the phase on the way to the next."""
        if not self.phase:
            return self.progress, -1
        return self.progress, PHASES.index(self.phase) if self.phase in PHASES else _UNORDERED
