"""Measure the smoothness of the experts: end-effector acceleration, and change between consecutive actions.

The acceleration is the second difference of the end-effector position at the control rate of 20 Hz. Every task is
run twice on the same scenes: by the planner alone, and by the expert, which smooths the planner with `SmoothMotion`.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from provenance import command
from task_options import add_task_options, selected_tasks

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.files import written_whole
from vla_bench.core.types import CONTROL_HZ, FloatArray
from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.experts import Expert, make_expert, make_planner
from vla_bench.tasks import Task

_VARIANT = "expert_success"  # of the episode identities; the same scenes as in `expert_success.py`
_KINDS: dict[str, Callable[[Task], Expert]] = {"planner alone": make_planner, "expert": make_expert}
_HEADER = "| task | motion | success | mean steps | acceleration max [m/s²] | 99th percentile | largest change |"


@dataclass(frozen=True)
class Motion:
    """The episodes of one task by one kind of expert."""

    success: float
    mean_steps: float
    accelerations: FloatArray  # (all steps,) [m/s^2]
    largest_change: float  # of the translation between consecutive actions


def main() -> None:
    """Run the episodes and write the page."""
    options = _parse(sys.argv[1:])
    tasks = selected_tasks(options)
    rows = [_row(task, kind, measure(task, kind, options.seeds)) for task in tasks for kind in _KINDS]
    rule = "|---|---|---|---|---|---|---|"
    page = "\n".join(["# Motion of the experts", "", _HEADER, rule, *rows, "", f"`{command()}`"])
    with written_whole(options.output) as path:
        path.write_text(page + "\n", encoding="utf-8")
    print(page)


def measure(task_id: str, kind: str, seeds: int) -> Motion:
    """Run `seeds` episodes of a task and return their motion."""
    environment = make(task_id, image_size=16, cameras=())
    episodes = [_episode(environment, _KINDS[kind], index) for index in range(seeds)]
    environment.close()
    return Motion(
        success=float(np.mean([success for success, _, _ in episodes])),
        mean_steps=float(np.mean([len(actions) for _, _, actions in episodes])),
        accelerations=np.concatenate([accelerations(positions) for _, positions, _ in episodes]),
        largest_change=max(float(_changes(actions).max()) for _, _, actions in episodes),
    )


def accelerations(positions: FloatArray) -> FloatArray:
    """Return the length of the second difference of (T + 1, 3) positions that begin at rest, (T,) [m/s^2]."""
    from_rest = np.concatenate([positions[:1], positions])
    lengths: FloatArray = np.linalg.norm(np.diff(from_rest, 2, axis=0), axis=1) * CONTROL_HZ**2
    return lengths


def _episode(
    environment: VlaBenchEnv, kind: Callable[[Task], Expert], index: int
) -> tuple[bool, FloatArray, FloatArray]:
    identity = EpisodeIdentity(environment.task.suite, environment.task.name, index, variant=_VARIANT)
    _, info = environment.reset(seed=identity.scene_seed())
    expert, world = kind(environment.task), environment.simulation.world
    expert.reset(world, identity.generator("expert"))
    positions, actions, ended = [info["end_effector_position"]], [], False
    while not ended:
        actions.append(expert.act(world))
        _, terminated, truncated, info = environment.advance(actions[-1])
        positions.append(info["end_effector_position"])
        ended = terminated or truncated
    return bool(info["success"]), np.stack(positions), np.stack(actions)


def _changes(actions: FloatArray) -> FloatArray:
    from_rest = np.concatenate([np.zeros((1, actions.shape[1])), actions])
    changes: FloatArray = np.linalg.norm(np.diff(from_rest[:, :3], axis=0), axis=1)
    return changes


def _row(task: str, kind: str, motion: Motion) -> str:
    largest, usual = motion.accelerations.max(), np.percentile(motion.accelerations, 99)
    values = f"{largest:.2f} | {usual:.2f} | {motion.largest_change:.2f} |"
    return f"| `{task}` | {kind} | {motion.success:.1%} | {motion.mean_steps:.1f} | {values}"


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/expert_motion.md"))
    parser.add_argument("--seeds", type=int, default=20, help="episodes per task and expert")
    add_task_options(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
