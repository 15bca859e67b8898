"""Measure the CPU time of processes, shared memory, scheduling and ledger per control step.

The same episodes run in a plain loop in this process, and as in `vla-bench run` with one worker of eight environments;
both render two cameras at every step. The CPU time of the worker is included. An idle environment gives the difference
without the noise of a renderer.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import FloatArray, Observation, ProprioceptionField
from vla_bench.envs.environment import CAMERAS
from vla_bench.evaluation.environment_slots import EnvironmentSpec
from vla_bench.evaluation.messages import EpisodeResult
from vla_bench.evaluation.plan import plan_episodes
from vla_bench.evaluation.rollout import FinishedEpisode, Rollout
from vla_bench.evaluation.run_folder import RunFolder
from vla_bench.evaluation.session import RunSession
from vla_bench.evaluation.worker_pool import WorkerPool
from vla_bench.experts import make_expert
from vla_bench.policies import PolicyBase
from vla_bench.results.run_info import describe_run

SUITE, TASK, SEED = "tabletop_object", "red_cube_on_plate", 7
ROWS = 8
_IDLE_STEPS = 75  # per episode: about as many as the expert needs


@dataclass(frozen=True)
class Overhead:
    """Medians of the CPU time of a control step [s]."""

    plain_s: float  # plain loop with the real environment and two images
    scheduled_s: float  # the same episodes in a worker
    cost_s: float  # everything except the environment, measured with an idle one; includes the ledger
    recording_s: float  # ledger entry of one episode

    @property
    def share(self) -> float:
        """The cost as a fraction of the plain step."""
        return self.cost_s / self.plain_s


def measured(episodes: int, repeats: int) -> Overhead:
    """Measure the plain loop and the worker alternately and return their costs."""
    plan = plan_episodes(SUITE, (TASK,), episodes=episodes, seed=SEED)
    spec = EnvironmentSpec(cameras=CAMERAS, expert="expert")
    loop, still = _PlainLoop(spec, plan[0].task_id), [EpisodeIdentity("still", "wait", index) for index in range(16)]
    plain: list[float] = []
    scheduled_times: list[float] = []
    cost: list[float] = []
    with _Scheduled(spec, plan) as scheduled, _Scheduled(IdleSpec(), still) as idle:
        for _ in range(repeats + 1):
            plain.append(loop.step_s(plan))
            scheduled_times.append(scheduled.step_s())
            cost.append(idle.step_s() - _environments_only_s(still))
    # the first is a warm-up
    step_s, scheduled_s, cost_s = (statistics.median(values[1:]) for values in (plain, scheduled_times, cost))
    return Overhead(step_s, scheduled_s, cost_s, _ledger_s())


def main() -> None:
    """Measure and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(sys.argv[1:])
    print(described(measured(options.episodes, options.repeats)))


def described(found: Overhead) -> str:
    """Return a description of the result."""
    return (
        f"A control step of `{SUITE}.{TASK}` with two images of 224 px takes {1e3 * found.plain_s:.2f} ms of "
        f"CPU time in a plain loop and {1e3 * found.scheduled_s:.2f} ms with a worker of {ROWS} environments. "
        f"Processes, shared memory, scheduling and ledger take {1e6 * found.cost_s:.0f} us of it, "
        f"{100 * found.share:.1f} % (measured with an idle environment). Recording an episode takes "
        f"{1e6 * found.recording_s:.0f} us."
    )


class IdleEnvironment:
    """An idle environment with images of the usual size."""

    def __init__(self) -> None:
        self.proprioception_fields, self.action_dim = (ProprioceptionField("still", 9, "nothing"),), 7
        self.task = SimpleNamespace(horizon=_IDLE_STEPS, goal=(), aims=())
        self.simulation = SimpleNamespace(world=self, gripper_force_n=lambda: 0.0)
        self._images = {name: np.zeros((224, 224, 3), np.uint8) for name in CAMERAS}
        self._position, self._steps = np.zeros(3), 0

    def reset(self, seed: int) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode."""
        self._steps = 0
        return self.observe(), {"success": False, "progress": 0.0, "phase": "wait", "scene_hash": f"{seed}"}

    def advance(self, action: FloatArray) -> tuple[float, bool, bool, dict[str, Any]]:
        """Count a step."""
        self._steps += 1
        return 0.0, False, self._steps >= _IDLE_STEPS, {"success": False, "progress": 0.0, "phase": "wait"}

    def observe(self) -> Observation:
        """Return the constant images."""
        proprioception = np.zeros(9, np.float32)
        return {"images": self._images, "proprioception": proprioception, "instruction": "Wait until it is over."}

    def items(self) -> tuple[str, ...]:
        """Return an empty tuple: there are no objects."""
        return ()

    def end_effector_position_world(self) -> FloatArray:
        """Return a constant end-effector position."""
        return self._position

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class IdleSpec(EnvironmentSpec):
    """A specification that creates idle environments."""

    def make(self, task_id: str, perturbation: str = "") -> Any:
        """Return an idle environment."""
        return IdleEnvironment()


class ExpertActionPolicy(PolicyBase):
    """A policy that executes the action of the expert, or zeros without an expert."""

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return actions (B, 1, 7)."""
        return np.stack([observation.get("expert_action", np.zeros(7, np.float32)) for observation in observations])[
            :, None, :
        ]


class _PlainLoop:
    def __init__(self, spec: EnvironmentSpec, task_id: str) -> None:
        self._environment = spec.make(task_id)

    def step_s(self, plan: Sequence[EpisodeIdentity]) -> float:
        environment, steps, began = self._environment, 0, time.process_time()
        for episode in plan:
            environment.reset(seed=episode.scene_seed())
            expert, world, ended = make_expert(environment.task), environment.simulation.world, False
            expert.reset(world, episode.generator("expert"))
            while not ended:
                _, terminated, truncated, _ = environment.advance(expert.act(world).astype(np.float32))
                environment.observe()
                ended, steps = terminated or truncated, steps + 1
        return (time.process_time() - began) / steps


class _Scheduled:
    """Repeated evaluations of the same episodes with a worker and a ledger."""

    def __init__(self, spec: EnvironmentSpec, plan: Sequence[EpisodeIdentity]) -> None:
        self._plan = plan
        self._pool = WorkerPool(spec, plan[0].task_id, workers=1, slots_per_worker=ROWS)

    def __enter__(self) -> "_Scheduled":
        self._pool.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.close()

    def step_s(self) -> float:
        with tempfile.TemporaryDirectory() as temporary, RunFolder(Path(temporary)) as folder:
            session = _session(folder, len(self._plan))
            rollout = Rollout(ExpertActionPolicy(), self._pool, session.finish)
            began = self._clock_s()
            rollout.run(self._plan)
            return (self._clock_s() - began) / session.progress().steps

    def _clock_s(self) -> float:
        return time.process_time() + sum(_clock_s(pid) for pid in self._pool.pids)


def _environments_only_s(plan: Sequence[EpisodeIdentity]) -> float:
    """Return the CPU time of a step of idle environments in this process [s]."""
    rows, action, began = [IdleEnvironment() for _ in range(ROWS)], np.zeros(7, np.float32), time.process_time()
    for episode in plan:
        environment = rows[episode.index % ROWS]
        environment.reset(seed=0)
        while not environment.advance(action)[2]:
            environment.observe()
    return (time.process_time() - began) / (len(plan) * _IDLE_STEPS)


def _ledger_s(episodes: int = 100) -> float:
    """Return the CPU time of recording one episode [s]."""
    with tempfile.TemporaryDirectory() as temporary, RunFolder(Path(temporary)) as folder:
        session = _session(folder, episodes)
        finished = [
            FinishedEpisode(EpisodeIdentity("still", "wait", index), EpisodeResult("failure"), 0.0, 0.0)
            for index in range(episodes)
        ]
        began = time.process_time()
        for one in finished:
            session.finish(one)
        return (time.process_time() - began) / episodes


def _session(folder: RunFolder, episodes: int) -> RunSession:
    folder.start(describe_run("offer", {}, {}, []))
    return RunSession(folder, total=episodes, resumed=0, max_errors=1, on_progress=lambda progress: None)


def _clock_s(pid: int) -> float:
    """Return the CPU time of another process; clock_getcpuclockid(3) defines its clock."""
    return time.clock_gettime((~pid << 3) | 2)


if __name__ == "__main__":
    main()
