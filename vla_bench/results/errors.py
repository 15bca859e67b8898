"""Errors of ledgers, run folders and comparisons of runs."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from vla_bench.core.errors import VlaBenchError


class LedgerError(VlaBenchError):
    """A ledger that cannot be read or written.

    For a damaged ledger the message names the command that runs its episodes again, as recorded in `run.json`.
    """

    def __init__(self, path: Path, problem: str, *, damaged: bool = False, advice: str = "") -> None:
        self.problem = problem
        advice = advice or (_rerun_advice(path) if damaged else "Use another --output, or restore a copy of the file.")
        super().__init__(
            f"Ledger {path}: {problem}. {advice if advice.startswith('Recorded') else _UNCHANGED + advice}"
        )


_UNCHANGED = "The file was not changed. "


def _rerun_advice(path: Path) -> str:
    """Return how to regenerate the episodes of a damaged ledger, with the commands of all its sessions."""
    try:
        sessions = json.loads((path.parent / "run.json").read_bytes())["sessions"]
        recorded = [[str(word) for word in session["command"]] for session in sessions]
        if any(words[0] not in _PROGRAMS for words in recorded):  # a script, or an edited file: not to be pasted
            raise ValueError
        commands = list(dict.fromkeys(shlex.join(["vla-bench", *words[1:]]) for words in recorded))
    except (OSError, ValueError, LookupError, TypeError):
        commands = [f"vla-bench run ... --output {shlex.quote(str(path.parent))}"]
    # With its write-ahead log, which may hold intact episodes and which SQLite deletes if it stays behind.
    kept = shlex.quote(str(path.with_name("damaged")))
    moved = f"mkdir {kept} && mv {shlex.quote(str(path))}* {kept}"
    then = "` and `".join(commands)
    verb = "run" if len(commands) > 1 else "runs"
    return f"Episodes can be regenerated: `{moved}`, then `{then}` {verb} them again; or restore a copy of the file."


_PROGRAMS = ("vla-bench", "__main__.py")  # the latter for `python -m vla_bench`


class RunFolderError(VlaBenchError):
    """A folder that does not hold a readable run."""

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(
            f"{folder} is not a readable run: {problem}. `vla-bench run ... --output {folder}` creates one."
        )


class IncomparableRunsError(VlaBenchError):
    """Runs that cannot be compared in one table."""

    def __init__(self, first: Path, second: Path, reason: str, differences: Sequence[str], advice: str) -> None:
        shown = [*differences[:_SHOWN_DIFFERENCES]]
        if hidden := len(differences) - len(shown):
            shown.append(f"and {hidden} more")
        super().__init__(f"{first} and {second} {reason}: {'; '.join(shown)}. {advice}")


_SHOWN_DIFFERENCES = 8
