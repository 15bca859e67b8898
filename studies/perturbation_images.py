"""Render the first image of a task under each axis, as one sheet per task.

A sheet has one row per axis with the unperturbed image and severities 1 to 3, for two seeds.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vla_bench.core.types import ImageArray
from vla_bench.envs.environment import make
from vla_bench.envs.perturbations import perturbation_axes
from vla_bench.envs.perturbations.perturbation import SEVERITIES
from vla_bench.evaluation.plan import PerturbationSupport

_TASKS = ("tabletop_object.red_cube_in_basket", "tabletop_goal.open_top_drawer", "robosuite.stack")
_SEEDS = (1, 2)
_INVISIBLE = {"action", "dynamics", "instruction"}  # axes without effect on the first image


def main() -> None:
    """Write `<output>/<task>.png`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/perturbation_images"))
    parser.add_argument("--task", action="append", help="may be given several times")
    parser.add_argument("--size", type=int, default=160, help="image size [pixels]")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for task in options.task or _TASKS:
        sheet = np.concatenate(list(_rows(task, options.size)), axis=0)
        Image.fromarray(sheet).save(options.output / f"{task}.png")
        print(options.output / f"{task}.png")


def _rows(task: str, size: int) -> Iterator[ImageArray]:
    with PerturbationSupport("panda") as support:
        axes = [
            axis
            for axis in sorted(set(perturbation_axes) - _INVISIBLE)
            if not support.unsupported_reason(task, f"{axis}=1")
        ]
    for axis in axes:
        yield _row(task, axis, size)


def _row(task: str, axis: str, size: int) -> ImageArray:
    """Return the unperturbed image and those of the severities, for each seed."""
    columns: list[ImageArray] = []
    environments = [
        make(task, image_size=size, perturb=text) for text in (None, *(f"{axis}={level}" for level in SEVERITIES))
    ]
    for seed in _SEEDS:
        columns += [environment.reset(seed=seed)[0]["images"]["agentview"] for environment in environments]
    for environment in environments:
        environment.close()
    image = Image.fromarray(np.concatenate(columns, axis=1))
    ImageDraw.Draw(image).text((3, 2), f"{axis}: clean, 1, 2, 3", fill=(255, 0, 0))
    return np.asarray(image)


if __name__ == "__main__":
    main()
