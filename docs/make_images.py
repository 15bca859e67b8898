"""Render the image of the tasks in the README: `python docs/make_images.py`."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import vla_bench
from vla_bench.experts import make_expert
from vla_bench.tasks import get_task

TASKS = (
    "tabletop_object.red_cube_in_basket",
    "tabletop_object.blue_can_on_plate",
    "tabletop_pick.pick_orange_mug",
    "robosuite.lift",
    "robosuite.stack",
    "robosuite.pick_place_can",
)
SHARE_DONE = 0.75  # of the expert's episode, where the image is rendered
SEED = 4


def render_task(task_id: str) -> np.ndarray:
    """Return the images of both cameras side by side, late in the episode of the expert."""
    env = vla_bench.make(task_id, image_size=256, rendering="faithful")
    length = len(list(frames(env, task_id)))
    for number, observe in enumerate(frames(env, task_id)):
        if number == int(length * SHARE_DONE):
            images = observe()["images"]
            return np.concatenate([images["agentview"], images["wrist"]], axis=1)
    raise AssertionError("the episode was shorter the second time")


def frames(env, task_id):
    """Execute the actions of the expert and yield a function that returns the observation after each step."""
    env.reset(seed=SEED)
    expert = make_expert(get_task(task_id))
    expert.reset(env.simulation.world, np.random.default_rng(SEED))
    ended = False
    while not ended:
        _, terminated, truncated, _ = env.advance(expert.act(env.simulation.world))
        ended = terminated or truncated
        yield env.observe


def main() -> None:
    """Write docs/images/tasks.png."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 5.0))
    for axis, task_id in zip(axes.flat, TASKS, strict=True):
        axis.imshow(render_task(task_id))
        axis.set_title(f"“{get_task(task_id).instruction}”", fontsize=10)
        axis.set_xlabel(task_id, fontsize=8, color="0.4")
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
    figure.tight_layout(h_pad=1.6)
    figure.savefig(Path(__file__).parent / "images" / "tasks.png", dpi=110)


if __name__ == "__main__":
    main()
