"""Compare images of both qualities with the original: complete meshes and textures, MuJoCo's renderer and flags.

The original of a robosuite scene is stock robosuite's model; its render is bit-identical to stock robosuite's image.
Each scene is rendered at its start and after one second of random motion, by both cameras.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

import vla_bench
from vla_bench.core.files import written_whole
from vla_bench.core.types import FloatArray, ImageArray
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.envs.rendering.backend import load_mujoco

_STEPS = 20  # of random motion
_SEED = 1
_REPEATS = 3  # timed renders per state; the original, which is slow, is timed once


@dataclass(frozen=True)
class Scene:
    """A rendered task with its robot."""

    task_id: str
    robot: str = "panda"


SCENES = (
    *(
        Scene(f"tabletop_{name}")
        for name in ("pick.pick_red_cube", "object.red_cube_in_basket", "goal.open_top_drawer")
    ),
    *(Scene(f"tabletop_{name}") for name in ("spatial.between_plate_and_ramekin", "long.bowl_in_drawer_and_close")),
    *(Scene(f"tabletop_{name}", "ur5e") for name in ("object.red_cube_in_basket", "goal.open_top_drawer")),
    *(
        Scene(f"robosuite.{name}")
        for name in ("lift", "stack", "pick_place_can", "nut_assembly_square", "door", "wipe")
    ),
    Scene("robosuite_two_arm.two_arm_lift"),
)
QUALITIES = ("fast", "faithful")


@dataclass(frozen=True)
class Comparison:
    """One quality of one scene compared with the original, worst and mean over states and cameras."""

    scene: Scene
    quality: str
    size: int
    psnr_db: tuple[float, float]  # lowest, mean
    ssim: tuple[float, float]
    faces: tuple[int, int]  # of the rendered meshes: ours, original
    time_ms: tuple[float, float]  # CPU time per camera: ours, original


def psnr_db(image: ImageArray, original: ImageArray) -> float:
    """Return the peak signal-to-noise ratio of two images, infinite for equal images."""
    error = float(((image.astype(np.float64) - original) ** 2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255.0**2 / error))


def ssim(image: ImageArray, original: ImageArray) -> float:
    """Return the structural similarity of two images, averaged over pixels and colors.

    Wang et al., Image quality assessment: from error visibility to structural similarity, 2004: Gaussian windows of
    1.5 pixels, K1 = 0.01, K2 = 0.03.
    """
    x, y = image.astype(np.float64), original.astype(np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variances = _blurred(x * x) - mean_x**2 + _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + first) * (2 * covariance + second)
    return float((similarity / ((mean_x**2 + mean_y**2 + first) * (variances + second))).mean())


def _blurred(image: FloatArray) -> FloatArray:
    blurred: FloatArray = gaussian_filter(image, (1.5, 1.5, 0), truncate=3.5)
    return blurred


def compare(scene: Scene, size: int, *, repeats: int = _REPEATS) -> list[Comparison]:
    """Return the comparison of every quality with the original."""
    load_mujoco()
    ours = {quality: _TimedEnvironment(scene, size, quality, repeats) for quality in QUALITIES}
    original = _Original(ours["faithful"].environment, size)
    scores: dict[str, list[tuple[float, float]]] = {quality: [] for quality in QUALITIES}
    for expected in _compared_states(ours, original):
        for quality, images in expected.items():
            scores[quality] += images
    return [
        Comparison(
            scene,
            quality,
            size,
            _worst_and_mean([psnr for psnr, _ in scores[quality]]),
            _worst_and_mean([similarity for _, similarity in scores[quality]]),
            (ours[quality].faces(), original.faces()),
            (statistics.median(ours[quality].times_ms), statistics.median(original.times_ms)),
        )
        for quality in QUALITIES
    ]


def _compared_states(
    ours: Mapping[str, "_TimedEnvironment"], original: "_Original"
) -> Iterator[dict[str, list[tuple[float, float]]]]:
    generator = np.random.default_rng(_SEED)
    actions = generator.uniform(-1, 1, (_STEPS, ours["fast"].environment.action_dim))
    for moves in ((), actions):
        for timed in ours.values():
            for action in moves:
                timed.environment.advance(action)
        expected = original.images()
        yield {
            quality: [
                (psnr_db(image, expected[name]), ssim(image, expected[name])) for name, image in timed.images().items()
            ]
            for quality, timed in ours.items()
        }


def _worst_and_mean(values: Sequence[float]) -> tuple[float, float]:
    return min(values), statistics.mean(min(value, 99.0) for value in values)


def _faces(model: "mujoco.MjModel") -> int:  # noqa: F821  # loaded late
    from vla_bench.envs.mjcf import VISUAL_GROUP

    meshes = model.geom_dataid[(model.geom_group == VISUAL_GROUP) & (model.geom_type == 7)]
    return int(model.mesh_facenum[meshes].sum())


class _TimedEnvironment:
    """An environment of vla_bench whose rendering is timed."""

    def __init__(self, scene: Scene, size: int, quality: str, repeats: int) -> None:
        self.environment: VlaBenchEnv = vla_bench.make(scene.task_id, size, quality, robot=scene.robot)
        self.environment.reset(seed=_SEED)
        self.times_ms: list[float] = []
        self._repeats = repeats

    def images(self) -> dict[str, ImageArray]:
        images = self.environment.observe()["images"]
        for _ in range(self._repeats):
            begin = time.process_time()
            images = self.environment.observe()["images"]
            self.times_ms.append(1000 * (time.process_time() - begin) / len(images))
        return images

    def faces(self) -> int:
        return _faces(self.environment.simulation.models()[-1])


class _Original:
    """The complete scene of an environment, rendered by MuJoCo's renderer with default geometry and flags."""

    def __init__(self, environment: VlaBenchEnv, size: int) -> None:
        import mujoco

        self._simulation, self._cameras = environment.simulation, environment.simulation._cameras
        self._model, self._data = _complete_model(self._simulation)
        self._model.vis.global_.offwidth = self._model.vis.global_.offheight = size
        self._renderer = mujoco.Renderer(self._model, size, size)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[0] = 0  # as in stock robosuite: collision geometry is not rendered
        self._option.sitegroup[:] = 0
        self.times_ms: list[float] = []

    def images(self) -> dict[str, ImageArray]:
        if self._data is not self._simulation.data:
            _copy_state(self._simulation, self._model, self._data)
        if not self.times_ms:
            self._image(next(iter(self._cameras.values())))  # warm-up
        begin = time.process_time()
        images = {name: self._image(camera) for name, camera in self._cameras.items()}
        self.times_ms.append(1000 * (time.process_time() - begin) / len(images))
        return images

    def _image(self, camera: str) -> ImageArray:
        self._renderer.update_scene(self._data, camera=camera, scene_option=self._option)
        return np.asarray(self._renderer.render()).copy()

    def faces(self) -> int:
        return _faces(self._model)


def _complete_model(simulation: Any) -> tuple[Any, Any]:
    """Return the model with all visual geometry, and its data; robosuite's simulated model has none."""
    import mujoco

    from vla_bench.envs.robosuite.simulation import RobosuiteSimulation

    if not isinstance(simulation, RobosuiteSimulation):
        return simulation.models()[0], simulation.data
    model = mujoco.MjModel.from_xml_string(simulation.model_xml())
    return model, mujoco.MjData(model)


def _copy_state(simulation: Any, model: Any, data: Any) -> None:
    import mujoco

    simulated = simulation.models()[0]
    for name in ("body_pos", "body_quat", "geom_rgba"):  # set by robosuite in the compiled model
        getattr(model, name)[:] = getattr(simulated, name)
    data.qpos[:] = simulation.data.qpos
    mujoco.mj_forward(model, data)


def main() -> None:
    """Compare all scenes and write the table."""
    options = _parse(sys.argv[1:])
    os.environ.setdefault("LP_NUM_THREADS", "0")  # so that the CPU time includes all of the rendering
    rows = [
        comparison
        for size in options.sizes
        for scene in SCENES
        if scene.task_id.startswith(options.only)
        for comparison in compare(scene, size)
    ]
    command = "python studies/rendering_quality.py " + " ".join(sys.argv[1:])
    existing = _rows_of(options.output) if options.only else {}
    with written_whole(options.output) as path:
        path.write_text(report(rows, command=command, existing=existing), encoding="utf-8")


def report(rows: Sequence[Comparison], *, command: str, existing: Mapping[str, str] | None = None) -> str:
    """Return the page as Markdown: `rows` replace the rows `existing` of an earlier page with the same key."""
    table = dict(existing or {}) | {_key(line): line for line in map(_row, rows)}
    existing_count = len(table) - len(rows)
    others = f"; {existing_count} other rows are from an earlier run" if existing_count else ""
    return "\n".join(
        [
            "# Rendering quality",
            "",
            "| scene | robot | size | quality | PSNR [dB] lowest, mean | SSIM lowest, mean | faces: ours, original "
            "| ms per camera: ours, original |",
            "|---|---|---|---|---|---|---|---|",
            *table.values(),
            "",
            "Images compared with the original: complete meshes and textures, default flags of MuJoCo's renderer, "
            "four samples",
            "per pixel. For a robosuite scene the original is bit-identical to stock robosuite's image. Lowest and "
            "mean",
            f"over two cameras and two states, seed {_SEED}: the start, and the state after {_STEPS} random actions.",
            "Times are medians of CPU time of one thread, averaged over the two cameras; faces are those of the "
            "rendered",
            "meshes.",
            "",
            f"- Hardware: {_cpu_model()}, {os.cpu_count()} cores, {platform.machine()}, software OpenGL",
            f"- Software: mujoco {version('mujoco')}, robosuite {version('robosuite')}",
            f"- Date: {datetime.now(UTC):%Y-%m-%d}",
            f"- Command: `{command.strip()}`{others}",
            "",
        ]
    )


def _row(row: Comparison) -> str:
    return (
        f"| `{row.scene.task_id}` | {row.scene.robot} | {row.size} | {row.quality} "
        f"| {row.psnr_db[0]:.1f}, {row.psnr_db[1]:.1f} | {row.ssim[0]:.3f}, {row.ssim[1]:.3f} "
        f"| {row.faces[0]}, {row.faces[1]} | {row.time_ms[0]:.2f}, {row.time_ms[1]:.1f} |"
    )


def _rows_of(page: Path) -> dict[str, str]:
    """Return the rows of an earlier page's table by what they compare."""
    lines = page.read_text(encoding="utf-8").splitlines() if page.exists() else []
    return {_key(line): line for line in lines if line.startswith("| `")}


def _key(row: str) -> str:
    """Return a row's scene, robot, size and quality."""
    return "|".join(row.split("|")[1:5])


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/rendering_quality.md"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 256], help="pixels")
    parser.add_argument(
        "--only", default="", help="prefix of the task names to measure; other rows of the page are kept"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
