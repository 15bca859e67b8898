"""Workloads in separate processes that are measured in alternating turns.

Alternating turns expose all workloads to the same load of the machine. Separate processes keep OpenGL contexts
apart and allow each peer its own Python.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Self

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.process_environment import BACKEND_VARIABLE, opengl_backend

_SERVER_SCRIPT = Path(__file__).with_name("workload_server.py")
_ROOT = Path(__file__).resolve().parents[2]  # of the package
_EXIT_TIMEOUT_S = 10.0
_ERROR_LINES = 6  # of a subject's last words


class WorkloadError(VlaBenchError):
    """A subject that could not be made, or failed at its work."""

    def __init__(self, title: str, python: str, error: str) -> None:
        last = "\n".join(error.strip().splitlines()[-_ERROR_LINES:])
        super().__init__(f"{title} failed in {python}:\n{last}")


@dataclass(frozen=True)
class Workload:
    """What is measured, and the Python that runs it."""

    title: str
    module: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    distributions: tuple[str, ...] = ()  # whose versions are asked for
    variables: Mapping[str, str] = field(default_factory=dict)  # of its environment
    function: str = "make"  # of the module; it takes the options and returns the workload

    @property
    def is_ours(self) -> bool:
        """Whether it is code of this package that runs."""
        return self.module.parent.name == "workloads"


@dataclass(frozen=True)
class TurnResult:
    """What one turn of one subject gave."""

    steps: int
    seconds: float
    process_s: float
    resets_s: tuple[float, ...]
    memory_mb: float  # proportional share

    @property
    def steps_per_s(self) -> float:
        """Units of work a second."""
        return self.steps / max(self.seconds, 1e-9)

    @property
    def step_s(self) -> float:
        """Time of a unit of work."""
        return self.seconds / max(self.steps, 1)


class WorkloadProcess:
    """One subject at work."""

    def __init__(self, subject: Workload) -> None:
        self.subject = subject
        self._words: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        script = [str(_SERVER_SCRIPT), str(subject.module), subject.function, json.dumps(dict(subject.options))]
        command = [subject.python, *script]
        try:
            self._process = subprocess.Popen(
                [*command, *subject.distributions],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                text=True,
                env=_process_environment(subject),
            )
        except OSError as error:
            self._words.close()
            raise WorkloadError(subject.title, subject.python, f"{error.strerror}: {subject.python}") from None
        self.versions: dict[str, str] = {}

    def wait_ready(self) -> None:
        """Wait until it is made; raise `WorkloadError` where it cannot be."""
        self.versions = self._answer()["versions"]

    def turn(self, *, seconds: float = 0.0, steps: int = 0, warm_up: int = 0, resets: int = 0) -> TurnResult:
        """Let it work, as `serving.take_turn` says."""
        self.begin(seconds=seconds, steps=steps, warm_up=warm_up, resets=resets)
        return self.finished()

    def begin(self, *, seconds: float = 0.0, steps: int = 0, warm_up: int = 0, resets: int = 0) -> None:
        """Let it begin a turn; `finished` waits for the end."""
        assert self._process.stdin is not None
        asked = {"seconds": seconds, "steps": steps, "warm_up": warm_up, "resets": resets}
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # `finished` tells why

    def finished(self) -> TurnResult:
        """Wait for the end of the turn."""
        answer = self._answer()
        return TurnResult(**{**answer, "resets_s": tuple(answer["resets_s"])})

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._stderr_text()}
        if "error" in answer:
            raise WorkloadError(self.subject.title, self.subject.python, answer["error"])
        return answer

    def _stderr_text(self) -> str:
        code = self._process.wait()
        self._words.seek(0)
        return f"{self._words.read()}\nThe process ended with exit code {code}."


class WorkloadTurns:
    """Some subjects, each in a process of its own; a context manager that ends them."""

    def __init__(self, subjects: Mapping[str, Workload]) -> None:
        self._subjects = subjects
        self._processes: dict[str, WorkloadProcess] = {}
        self.versions: dict[str, str] = {}  # of what the subjects brought along

    def __enter__(self) -> Self:
        try:
            for name, subject in self._subjects.items():
                self._processes[name] = process = WorkloadProcess(subject)
                process.wait_ready()  # one after the other: making them is work, too
                self.versions.update(process.versions)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes.values():
            process.close()

    def take(
        self, turns: int, *, seconds: float, steps: int = 1, warm_up: int = 3, resets: int = 0
    ) -> dict[str, list[TurnResult]]:
        """Return each subject's turns; turn i of all subjects lies next to each other in time."""
        taken: dict[str, list[TurnResult]] = {name: [] for name in self._processes}
        for _ in range(turns):
            for name, process in self._processes.items():
                taken[name].append(process.turn(seconds=seconds, steps=steps, warm_up=warm_up, resets=resets))
        return taken

    def one(self, name: str, *, seconds: float = 0.0, steps: int = 0, warm_up: int = 0, resets: int = 0) -> TurnResult:
        """Let one subject alone take a turn."""
        return self._processes[name].turn(seconds=seconds, steps=steps, warm_up=warm_up, resets=resets)

    def together(self, *, seconds: float, warm_up: int = 3, first: int | None = None) -> dict[str, TurnResult]:
        """Let all subjects work at the same time, or the `first` of them, while the others wait."""
        working = dict(islice(self._processes.items(), first))
        for process in working.values():
            process.begin(seconds=seconds, steps=1, warm_up=warm_up)
        return {name: process.finished() for name, process in working.items()}


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratio within each turn."""
    return [ours / max(theirs, 1e-12) for ours, theirs in zip(numerators, denominators, strict=True)]


def _process_environment(subject: Workload) -> dict[str, str]:
    variables = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if backend := opengl_backend():
        variables[BACKEND_VARIABLE] = backend  # some workloads import MuJoCo themselves
    if subject.is_ours:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    else:
        variables.pop("PYTHONPATH", None)  # a peer's Python has packages of its own
    return {**variables, **subject.variables}
