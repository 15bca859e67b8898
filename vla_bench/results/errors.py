"""Errors of ledgers, run folders and comparisons of runs."""

from collections.abc import Sequence
from pathlib import Path

from vla_bench.core.errors import VlaBenchError


class LedgerError(VlaBenchError):
    """A ledger that cannot be read or written as one."""

    def __init__(self, path: Path, problem: str, *, recoverable: bool = False, advice: str = "") -> None:
        self.problem, self.recoverable = problem, recoverable
        if advice:
            super().__init__(f"Ledger {path}: {problem}. {advice}")
            return
        mending = f"`vla-bench ledger recover {path.parent}` saves what is whole of it; or " if recoverable else ""
        super().__init__(
            f"Ledger {path}: {problem}. It was left as it is; {mending}use another --output, or restore a copy."
        )


class RunFolderError(VlaBenchError):
    """A folder that does not hold a readable run."""

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(f"{folder} is not a readable run: {problem}. `vla-bench run ... --output {folder}` makes one.")


class IncomparableRunsError(VlaBenchError):
    """Runs that must not stand in one table."""

    def __init__(self, first: Path, second: Path, reason: str, differences: Sequence[str], advice: str) -> None:
        shown = [*differences[:_SHOWN_DIFFERENCES]]
        if hidden := len(differences) - len(shown):
            shown.append(f"and {hidden} more")
        super().__init__(f"{first} and {second} {reason}: {'; '.join(shown)}. {advice}")


_SHOWN_DIFFERENCES = 8
