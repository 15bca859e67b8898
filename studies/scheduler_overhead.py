"""Measure what processes, shared memory, bookkeeping and ledger cost a control step, in processor time.

The same episodes run in a plain loop in this process, and as `vla-bench run` runs them with one worker of eight rows;
both look through two cameras at every step. The costs of a worker count in: its processor clock is read from here. An
environment in which nothing happens gives the difference without the noise of a renderer.
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
_STILL_STEPS = 75  # of an episode: about as many as the expert needs


@dataclass(frozen=True)
class Overhead:
    """Processor time of one control step [s]; medians."""

    plain_s: float  # of a plain loop with the real environment and its two pictures
    scheduled_s: float  # of the same episodes through a worker
    cost_s: float  # of what is not the environment, the ledger included; with one in which nothing happens
    recording_s: float  # of one episode: its ledger

    @property
    def share(self) -> float:
        """The cost as a share of the plain step."""
        return self.cost_s / self.plain_s


def measured(episodes: int, repeats: int) -> Overhead:
    """Measure both, turn and turn about."""
    plan = plan_episodes(SUITE, (TASK,), episodes=episodes, seed=SEED)
    spec = EnvironmentSpec(cameras=CAMERAS, expert="expert")
    loop, still = _PlainLoop(spec, plan[0].task_id), [EpisodeIdentity("still", "wait", index) for index in range(16)]
    plain: list[float] = []
    through: list[float] = []
    cost: list[float] = []
    with _Scheduled(spec, plan) as scheduled, _Scheduled(StillSpec(), still) as idle:
        for _ in range(repeats + 1):
            plain.append(loop.step_s(plan))
            through.append(scheduled.step_s())
            cost.append(idle.step_s() - _rows_alone_s(still))
    step_s, scheduled_s, cost_s = (statistics.median(values[1:]) for values in (plain, through, cost))  # 0: warms up
    return Overhead(step_s, scheduled_s, cost_s, _ledger_s())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(sys.argv[1:])
    print(described(measured(options.episodes, options.repeats)))


def described(found: Overhead) -> str:
    """Return the finding in words."""
    return (
        f"A control step of `{SUITE}.{TASK}` with two pictures of 224 px takes {1e3 * found.plain_s:.2f} ms of "
        f"processor time in a plain loop and {1e3 * found.scheduled_s:.2f} ms with a worker of {ROWS} rows. Processes, "
        f"shared memory, bookkeeping and ledger take {1e6 * found.cost_s:.0f} us of it, {100 * found.share:.1f} % "
        "(measured with an environment in which nothing happens). To record an episode takes "
        f"{1e6 * found.recording_s:.0f} us, once."
    )


class Still:
    """An environment in which nothing happens, with pictures of the size of real ones."""

    def __init__(self) -> None:
        self.proprioception_fields, self.action_dim = (ProprioceptionField("still", 9, "nothing"),), 7
        self.task = SimpleNamespace(horizon=_STILL_STEPS, goal=(), aims=())
        self.simulation = SimpleNamespace(world=self, gripper_force_n=lambda: 0.0)
        self._images = {name: np.zeros((224, 224, 3), np.uint8) for name in CAMERAS}
        self._position, self._steps = np.zeros(3), 0

    def reset(self, seed: int) -> tuple[Observation, dict[str, Any]]:
        """Begin to wait."""
        self._steps = 0
        return self.observe(), {"success": False, "progress": 0.0, "phase": "wait", "scene_hash": f"{seed}"}

    def advance(self, action: FloatArray) -> tuple[float, bool, bool, dict[str, Any]]:
        """Wait."""
        self._steps += 1
        return 0.0, False, self._steps >= _STILL_STEPS, {"success": False, "progress": 0.0, "phase": "wait"}

    def observe(self) -> Observation:
        """Return the pictures, which are drawn already."""
        proprioception = np.zeros(9, np.float32)
        return {"images": self._images, "proprioception": proprioception, "instruction": "Wait until it is over."}

    def items(self) -> tuple[str, ...]:
        """Return nothing: there is nothing."""
        return ()

    def end_effector_position_world(self) -> FloatArray:
        """Return where the hand would be."""
        return self._position

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class StillSpec(EnvironmentSpec):
    """Makes environments in which nothing happens."""

    def make(self, task_id: str, perturbation: str = "") -> Any:
        """Return one."""
        return Still()


class Offer(PolicyBase):
    """Does what the expert offers, and waits where there is none."""

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return actions (B, 1, 7)."""
        return np.stack([seen.get("expert_action", np.zeros(7, np.float32)) for seen in observations])[:, None, :]


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
    """Episodes through a worker and into a ledger, again and again."""

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
            rollout = Rollout(Offer(), self._pool, session.finish)
            began = self._clock_s()
            rollout.run(self._plan)
            return (self._clock_s() - began) / session.progress().steps

    def _clock_s(self) -> float:
        return time.process_time() + sum(_clock_s(pid) for pid in self._pool.pids)


def _rows_alone_s(plan: Sequence[EpisodeIdentity]) -> float:
    """Return what a step of the environment takes in which nothing happens, without its processes."""
    rows, action, began = [Still() for _ in range(ROWS)], np.zeros(7, np.float32), time.process_time()
    for episode in plan:
        environment = rows[episode.index % ROWS]
        environment.reset(seed=0)
        while not environment.advance(action)[2]:
            environment.observe()
    return (time.process_time() - began) / (len(plan) * _STILL_STEPS)


def _ledger_s(episodes: int = 100) -> float:
    """Return the processor time of recording one episode."""
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
    """Return the processor time of another process, as clock_getcpuclockid(3) names its clock."""
    return time.clock_gettime((~pid << 3) | 2)


if __name__ == "__main__":
    main()
