"""Episodes of an expert without rendering."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vla_bench.core.env_options import EnvOptions
from vla_bench.core.types import FloatArray
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.experts import Expert, make_expert
from vla_bench.tasks import Task

Disturbance = Callable[[TabletopSimulation, Expert], None]


def undisturbed(simulation: TabletopSimulation, expert: Expert) -> None:
    """Do nothing between two steps."""


def environment_of(task: Task, horizon: int | None = None) -> VlaBenchEnv:
    """Return the task's environment without cameras."""
    return VlaBenchEnv(replace(task, horizon=horizon or task.horizon), EnvOptions(image_size=32, cameras=()))


def run(environment: VlaBenchEnv, seed: int, disturb: Disturbance = undisturbed) -> tuple[bool, FloatArray]:
    """Return whether the expert succeeded, and its actions (T, 7); `disturb` is called before every step."""
    environment.reset(seed=seed)
    simulation = environment.simulation
    assert isinstance(simulation, TabletopSimulation)
    expert = make_expert(environment.task)
    expert.reset(simulation.world, np.random.default_rng(seed))
    actions = []
    while True:
        disturb(simulation, expert)
        actions.append(expert.act(simulation.world))
        _, terminated, truncated, info = environment.advance(actions[-1])
        if terminated or truncated:
            return bool(info["success"]), np.stack(actions)
