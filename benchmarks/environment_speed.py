"""Measure how fast `tabletop_object` steps, renders and resets, beside stock robosuite `Lift`, in the same run.

Each environment lives in a process of its own (several OpenGL contexts in one process disturb each other); the
processes take turns, so that a busy moment of the machine hits all of them alike.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import numpy as np

from vla_bench.core.paths import written_whole
from vla_bench.core.types import FloatArray

_IMAGE_SIZE = 224  # pixels, two cameras
_TASK = "tabletop_object.red_cube_in_basket"
_WARM_UP_STEPS = 5


class Subject(Protocol):
    """One environment under measurement."""

    def step(self, action: FloatArray) -> None:
        """Take one control step, rendering where the case says so; start again when the episode ends."""

    def reset(self) -> None:
        """Begin the next episode."""


class VlaBench:
    """A task of ours."""

    def __init__(self, cameras: bool, task_id: str) -> None:
        import vla_bench

        self._env = vla_bench.make(task_id, image_size=_IMAGE_SIZE)
        self._take = self._env.step if cameras else self._env.advance
        self._seed = 0

    def step(self, action: FloatArray) -> None:
        """Take one control step."""
        *_, terminated, truncated, _ = self._take(action.astype(np.float32))
        if terminated or truncated:
            self.reset()

    def reset(self) -> None:
        """Begin the next episode; this renders in any case."""
        self._seed += 1
        self._env.reset(seed=self._seed)


class StockRobosuite:
    """robosuite's `Lift`, made as its documentation makes it."""

    def __init__(self, cameras: bool) -> None:
        import robosuite

        self._env = robosuite.make(
            "Lift",
            robots="Panda",
            has_renderer=False,
            has_offscreen_renderer=cameras,
            use_camera_obs=cameras,
            camera_names=["agentview", "robot0_eye_in_hand"],
            camera_heights=_IMAGE_SIZE,
            camera_widths=_IMAGE_SIZE,
            control_freq=20,
            horizon=400,
        )

    def step(self, action: FloatArray) -> None:
        """Take one control step."""
        *_, done, _ = self._env.step(action)
        if done:
            self.reset()

    def reset(self) -> None:
        """Begin the next episode."""
        self._env.reset()


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    label: str
    make: Callable[[bool], Subject]
    cameras: bool

    @property
    def title(self) -> str:
        """What the table calls it."""
        return f"{self.label}, " + (f"two cameras of {_IMAGE_SIZE} px" if self.cameras else "no cameras")


_SUBJECTS: Mapping[str, Callable[[bool], Subject]] = {
    f"stock robosuite {version('robosuite')} `Lift`": StockRobosuite,
    "`robosuite.lift` of vla_bench": partial(VlaBench, task_id="robosuite.lift"),
    "`tabletop_object` of vla_bench": partial(VlaBench, task_id=_TASK),
}
CASES = tuple(Case(label, make, cameras) for cameras in (True, False) for label, make in _SUBJECTS.items())


def main() -> None:
    """Measure all cases in turns and write the table."""
    options = _parse(sys.argv[1:])
    os.environ.setdefault("MUJOCO_GL", "egl")
    measured = measure(seconds=options.seconds, turns=options.turns)
    table = report(measured, command="python benchmarks/environment_speed.py " + " ".join(sys.argv[1:]))
    with written_whole(options.output) as path:
        path.write_text(table, encoding="utf-8")
    print(table)


@dataclass(frozen=True)
class Measurement:
    """What one turn of one case gave."""

    steps_per_second: float
    reset_s: float


def measure(*, seconds: float, turns: int) -> dict[Case, list[Measurement]]:
    """Let the cases take turns of `seconds` seconds each."""
    context = get_context("spawn")
    connections: dict[Case, Connection] = {}
    for index, case in enumerate(CASES):
        connections[case], there = context.Pipe()
        context.Process(target=_serve, args=(index, there), daemon=True).start()
        connections[case].recv()  # made and warm
    results: dict[Case, list[Measurement]] = {case: [] for case in CASES}
    for _ in range(turns):
        for case, connection in connections.items():
            connection.send(seconds)
            results[case].append(connection.recv())
    for connection in connections.values():
        connection.send(None)
    return results


def _serve(index: int, connection: Connection) -> None:
    subject = CASES[index].make(CASES[index].cameras)
    generator = np.random.default_rng(0)
    _take_turn(subject, generator, seconds=0.0)
    connection.send("ready")
    while (seconds := connection.recv()) is not None:
        connection.send(_take_turn(subject, generator, seconds))


def _take_turn(subject: Subject, generator: np.random.Generator, seconds: float) -> Measurement:
    began = time.perf_counter()
    subject.reset()
    reset_s = time.perf_counter() - began
    for _ in range(_WARM_UP_STEPS):
        subject.step(generator.uniform(-0.3, 0.3, 7))
    steps, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds or steps == 0:
        subject.step(generator.uniform(-0.3, 0.3, 7))
        steps += 1
    return Measurement(steps / max(elapsed, 1e-9), reset_s)


def report(measured: Mapping[Case, Sequence[Measurement]], *, command: str) -> str:
    """Return the Markdown page."""
    turns = len(next(iter(measured.values())))
    baselines = {case.cameras: measured[case] for case in CASES if case.make is StockRobosuite}
    return "\n".join(
        [
            "# Speed of the environments",
            "",
            "| environment | steps/s | lowest to highest | times stock | reset [ms] | times stock |",
            "|---|---|---|---|---|---|",
            *(_row(case, measured[case], baselines[case.cameras]) for case in CASES),
            "",
            f"Medians of {turns} turns; *times stock* is the median of the ratios within the same turn. Each",
            "environment has a process of its own; they take turns. A step is a control step of 50 ms with a random",
            "action; with cameras, it renders both. A reset in vla_bench always renders; stock compiles the",
            "model anew, which is its default.",
            "",
            f"- Hardware: {_hardware()}",
            f"- Software: {_software()}",
            f"- Date: {datetime.now(UTC):%Y-%m-%d}",
            f"- Command: `{command.strip()}`",
            "",
        ]
    )


def _row(case: Case, turns: Sequence[Measurement], stock: Sequence[Measurement]) -> str:
    speeds, pairs = [turn.steps_per_second for turn in turns], list(zip(turns, stock, strict=True))
    faster = statistics.median(ours.steps_per_second / theirs.steps_per_second for ours, theirs in pairs)
    reset_ms = 1000 * statistics.median(turn.reset_s for turn in turns)
    sooner = statistics.median(theirs.reset_s / ours.reset_s for ours, theirs in pairs)
    return (
        f"| {case.title} | {statistics.median(speeds):.1f} | {min(speeds):.1f} to {max(speeds):.1f} | {faster:.1f} "
        f"| {reset_ms:.0f} | {sooner:.1f} |"
    )


def _hardware() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {platform.machine()}"


def _software() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("mujoco", "robosuite", "numpy"))
    settings = ", ".join(f"{name}={os.environ.get(name, '(not set)')}" for name in ("MUJOCO_GL", "LP_NUM_THREADS"))
    return f"Python {platform.python_version()}, {packages}; {settings}"


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/environment_speed.md"))
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each turn steps")
    parser.add_argument("--turns", type=int, default=7, help="turns of each environment")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
