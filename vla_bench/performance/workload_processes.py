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
_ERROR_LINES = 6  # last lines of standard error in a message


class WorkloadError(VlaBenchError):
    """A workload that could not be created or failed during a turn."""

    def __init__(self, title: str, python: str, error: str) -> None:
        last = "\n".join(error.strip().splitlines()[-_ERROR_LINES:])
        super().__init__(f"{title} failed in {python}:\n{last}")


@dataclass(frozen=True)
class Workload:
    """Measured code and the Python interpreter that runs it."""

    title: str
    module: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    distributions: tuple[str, ...] = ()  # packages whose versions are reported
    variables: Mapping[str, str] = field(default_factory=dict)  # additional environment variables
    function: str = "make"  # function of the module that takes the options and returns the workload

    @property
    def is_ours(self) -> bool:
        """True for code of this package, False for a peer."""
        return self.module.parent.name == "workloads"


@dataclass(frozen=True)
class TurnResult:
    """Measurements of one turn of one workload."""

    steps: int
    seconds: float
    process_s: float  # CPU time
    resets_s: tuple[float, ...]
    memory_mb: float  # proportional set size

    @property
    def steps_per_s(self) -> float:
        """Units of work per second."""
        return self.steps / max(self.seconds, 1e-9)

    @property
    def step_s(self) -> float:
        """Time per unit of work [s]."""
        return self.seconds / max(self.steps, 1)


class WorkloadProcess:
    """The process of one workload."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self._stderr: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        script = [str(_SERVER_SCRIPT), str(workload.module), workload.function, json.dumps(dict(workload.options))]
        command = [workload.python, *script]
        try:
            self._process = subprocess.Popen(
                [*command, *workload.distributions],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
                env=_process_environment(workload),
            )
        except OSError as error:
            self._stderr.close()
            raise WorkloadError(workload.title, workload.python, f"{error.strerror}: {workload.python}") from None
        self.versions: dict[str, str] = {}

    def wait_ready(self) -> None:
        """Wait until the workload is created; raise `WorkloadError` on failure."""
        self.versions = self._answer()["versions"]

    def turn(self, *, seconds: float = 0.0, steps: int = 0, warm_up: int = 0, resets: int = 0) -> TurnResult:
        """Run one turn and return its measurements; `workload_server.take_turn` describes the arguments."""
        self.begin(seconds=seconds, steps=steps, warm_up=warm_up, resets=resets)
        return self.finished()

    def begin(self, *, seconds: float = 0.0, steps: int = 0, warm_up: int = 0, resets: int = 0) -> None:
        """Start a turn; `finished` waits for its end."""
        assert self._process.stdin is not None
        request = {"seconds": seconds, "steps": steps, "warm_up": warm_up, "resets": resets}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # `finished` reports the reason

    def finished(self) -> TurnResult:
        """Wait for the end of the turn and return its measurements."""
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
        self._stderr.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._stderr_text()}
        if "error" in answer:
            raise WorkloadError(self.workload.title, self.workload.python, answer["error"])
        return answer

    def _stderr_text(self) -> str:
        code = self._process.wait()
        self._stderr.seek(0)
        return f"{self._stderr.read()}\nThe process ended with exit code {code}."


class WorkloadTurns:
    """Context manager of several workloads, each in its own process."""

    def __init__(self, workloads: Mapping[str, Workload]) -> None:
        self._workloads = workloads
        self._processes: dict[str, WorkloadProcess] = {}
        self.versions: dict[str, str] = {}  # of the packages of peers

    def __enter__(self) -> Self:
        try:
            for name, workload in self._workloads.items():
                self._processes[name] = process = WorkloadProcess(workload)
                process.wait_ready()  # one after another, because creation loads the CPU
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
        """Return the turns of each workload; the workloads alternate, so that their i-th turns are adjacent in time."""
        taken: dict[str, list[TurnResult]] = {name: [] for name in self._processes}
        for _ in range(turns):
            for name, process in self._processes.items():
                taken[name].append(process.turn(seconds=seconds, steps=steps, warm_up=warm_up, resets=resets))
        return taken

    def one(self, name: str, *, seconds: float = 0.0, steps: int = 0, warm_up: int = 0, resets: int = 0) -> TurnResult:
        """Run one turn of a single workload."""
        return self._processes[name].turn(seconds=seconds, steps=steps, warm_up=warm_up, resets=resets)

    def together(self, *, seconds: float, warm_up: int = 3, first: int | None = None) -> dict[str, TurnResult]:
        """Run a turn of all workloads, or of the `first` ones, at the same time."""
        working = dict(islice(self._processes.items(), first))
        for process in working.values():
            process.begin(seconds=seconds, steps=1, warm_up=warm_up)
        return {name: process.finished() for name, process in working.items()}


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the ratio of each turn."""
    return [above / max(below, 1e-12) for above, below in zip(numerators, denominators, strict=True)]


def _process_environment(workload: Workload) -> dict[str, str]:
    variables = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if backend := opengl_backend():
        variables[BACKEND_VARIABLE] = backend  # some workloads import MuJoCo directly
    if workload.is_ours:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    else:
        variables.pop("PYTHONPATH", None)  # a peer's Python has its own packages
    return {**variables, **workload.variables}
