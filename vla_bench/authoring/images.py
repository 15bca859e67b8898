"""Images of tasks for the documentation page.

Every image stores the fingerprint of its scene as a comment.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from vla_bench.authoring.fingerprint import scene_fingerprint
from vla_bench.core.env_options import EnvOptions
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import written_whole
from vla_bench.core.types import ImageArray
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.experts import make_expert
from vla_bench.tasks import Task

_SIZE = 224  # pixels of each half
_QUALITY = 80
_COMMENT = "vla_bench task "  # followed by the fingerprint
_EPISODES = 5  # tried until the expert succeeds


class NoTaskImageError(VlaBenchError):
    """A task whose expert succeeded in no tried episode."""

    def __init__(self, task: Task) -> None:
        super().__init__(f"The expert of {task.id} succeeded in none of {_EPISODES} episodes: see `vla-bench check`.")


def is_current(task: Task, path: Path) -> bool:
    """Return whether `path` is an image of the current version of the task."""
    return path.is_file() and _comment(path) == _COMMENT + scene_fingerprint(task, EnvOptions.robot)


def is_ours(path: Path) -> bool:
    """Return whether this module rendered the image at `path`."""
    return _comment(path).startswith(_COMMENT)


def render_task_image(task: Task, path: Path) -> None:
    """Write a JPEG of the first episode in which the expert succeeds; raise `NoTaskImageError` if there is none."""
    environment = VlaBenchEnv(task, EnvOptions(image_size=_SIZE, rendering="faithful", cameras=("agentview",)))
    try:
        halves = next(filter(None, (_halves(environment, index) for index in range(_EPISODES))), None)
    finally:
        environment.close()
    if halves is None:
        raise NoTaskImageError(task)
    with written_whole(path) as temporary:
        image = Image.fromarray(np.concatenate(halves, axis=1))
        comment = _COMMENT + scene_fingerprint(task, EnvOptions.robot)
        image.save(temporary, "JPEG", quality=_QUALITY, optimize=True, comment=comment)


def _comment(path: Path) -> str:
    with Image.open(path) as image:
        comment: bytes = image.info.get("comment", b"")
    return comment.decode(errors="replace")


def _halves(environment: VlaBenchEnv, index: int) -> tuple[ImageArray, ImageArray] | None:
    identity = EpisodeIdentity(environment.task.suite, environment.task.name, index, variant="picture")
    observation, _ = environment.reset(seed=identity.scene_seed())
    expert, world = make_expert(environment.task), environment.simulation.world
    expert.reset(world, identity.generator("expert"))
    ended, info = False, {"success": False}
    while not ended:
        _, terminated, truncated, info = environment.advance(expert.act(world))
        ended = terminated or truncated
    return (observation["images"]["agentview"], environment.render()) if info["success"] else None
