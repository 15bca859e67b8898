"""Compare images of both qualities with the original's: whole meshes and textures, MuJoCo's own renderer and flags.

The original of a robosuite scene is stock robosuite's model; drawn so, it gives stock robosuite's image bit for bit.
Each scene is looked at as it begins and after a second of random motion, by both cameras.
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
_REPEATS = 3  # of ours in each state; the original, which is slow, is timed once in each


@dataclass(frozen=True)
class Scene:
    """What is looked at."""

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
    """One quality of one scene beside the original, worst and mean over states and cameras."""

    scene: Scene
    quality: str
    size: int
    psnr_db: tuple[float, float]  # lowest, mean
    ssim: tuple[float, float]
    faces: tuple[int, int]  # of the meshes that are drawn: ours, the original's
    time_ms: tuple[float, float]  # processor time for a camera: ours, the original's


def psnr_db(image: ImageArray, original: ImageArray) -> float:
    """Return the peak signal-to-noise ratio of two images, infinite where they are the same."""
    error = float(((image.astype(np.float64) - original) ** 2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255.0**2 / error))


def ssim(image: ImageArray, original: ImageArray) -> float:
    """Return the structural similarity of two images, the mean over pixels and colours.

    Wang et al., Image quality assessment: from error visibility to structural similarity, 2004: Gaussian windows of
    1.5 pixels, K1 = 0.01, K2 = 0.03.
    """
    x, y = image.astype(np.float64), original.astype(np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variances = _blurred(x * x) - mean_x**2 + _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    alike = (2 * mean_x * mean_y + first) * (2 * covariance + second)
    return float((alike / ((mean_x**2 + mean_y**2 + first) * (variances + second))).mean())


def _blurred(image: FloatArray) -> FloatArray:
    blurred: FloatArray = gaussian_filter(image, (1.5, 1.5, 0), truncate=3.5)
    return blurred


def compare(scene: Scene, size: int, *, repeats: int = _REPEATS) -> list[Comparison]:
    """Return the comparison of every quality with the original."""
    load_mujoco()
    ours = {quality: _Looked(scene, size, quality, repeats) for quality in QUALITIES}
    original = _Original(ours["faithful"].environment, size)
    scores: dict[str, list[tuple[float, float]]] = {quality: [] for quality in QUALITIES}
    for wanted in _looks(ours, original):
        for quality, images in wanted.items():
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


def _looks(ours: Mapping[str, "_Looked"], original: "_Original") -> Iterator[dict[str, list[tuple[float, float]]]]:
    generator = np.random.default_rng(_SEED)
    actions = generator.uniform(-1, 1, (_STEPS, ours["fast"].environment.action_dim))
    for moves in ((), actions):
        for looked in ours.values():
            for action in moves:
                looked.environment.advance(action)
        wanted = original.images()
        yield {
            quality: [
                (psnr_db(image, wanted[name]), ssim(image, wanted[name])) for name, image in looked.images().items()
            ]
            for quality, looked in ours.items()
        }


def _worst_and_mean(values: Sequence[float]) -> tuple[float, float]:
    return min(values), statistics.mean(min(value, 99.0) for value in values)


def _faces(model: "mujoco.MjModel") -> int:  # noqa: F821  # loaded late
    from vla_bench.envs.mjcf import VISUAL_GROUP

    meshes = model.geom_dataid[(model.geom_group == VISUAL_GROUP) & (model.geom_type == 7)]
    return int(model.mesh_facenum[meshes].sum())


class _Looked:
    """An environment of ours, whose drawing is timed."""

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
    """The whole scene of an environment, drawn by MuJoCo's own renderer, geometry and flags as they come."""

    def __init__(self, environment: VlaBenchEnv, size: int) -> None:
        import mujoco

        self._simulation, self._cameras = environment.simulation, environment.simulation._cameras
        self._model, self._data = _whole(self._simulation)
        self._model.vis.global_.offwidth = self._model.vis.global_.offheight = size
        self._renderer = mujoco.Renderer(self._model, size, size)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[0] = 0  # as stock robosuite: what is solid is not drawn
        self._option.sitegroup[:] = 0
        self.times_ms: list[float] = []

    def images(self) -> dict[str, ImageArray]:
        if self._data is not self._simulation.data:
            _copy_state(self._simulation, self._model, self._data)
        if not self.times_ms:
            self._image(next(iter(self._cameras.values())))  # the first is slower
        begin = time.process_time()
        images = {name: self._image(camera) for name, camera in self._cameras.items()}
        self.times_ms.append(1000 * (time.process_time() - begin) / len(images))
        return images

    def _image(self, camera: str) -> ImageArray:
        self._renderer.update_scene(self._data, camera=camera, scene_option=self._option)
        return np.asarray(self._renderer.render()).copy()

    def faces(self) -> int:
        return _faces(self._model)


def _whole(simulation: Any) -> tuple[Any, Any]:
    """Return the model with all that is drawn, and its data; robosuite's simulated model is without pictures."""
    import mujoco

    if not hasattr(simulation, "_drawn"):
        return simulation.models()[0], simulation.data
    model = mujoco.MjModel.from_xml_string(simulation.model_xml())
    return model, mujoco.MjData(model)


def _copy_state(simulation: Any, model: Any, data: Any) -> None:
    import mujoco

    simulated = simulation.models()[0]
    for name in ("body_pos", "body_quat", "geom_rgba"):  # which robosuite sets in the compiled model
        getattr(model, name)[:] = getattr(simulated, name)
    data.qpos[:] = simulation.data.qpos
    mujoco.mj_forward(model, data)


def main() -> None:
    """Compare all scenes and write the table."""
    options = _parse(sys.argv[1:])
    os.environ.setdefault("LP_NUM_THREADS", "0")  # so that processor time is the drawing's
    rows = [
        comparison
        for size in options.sizes
        for scene in SCENES
        if scene.task_id.startswith(options.only)
        for comparison in compare(scene, size)
    ]
    command = "python studies/rendering_quality.py " + " ".join(sys.argv[1:])
    kept = _rows_of(options.output) if options.only else {}
    with written_whole(options.output) as path:
        path.write_text(report(rows, command=command, kept=kept), encoding="utf-8")


def report(rows: Sequence[Comparison], *, command: str, kept: Mapping[str, str] | None = None) -> str:
    """Return the Markdown page: `rows`, in the place of those `kept` from an earlier page that are of the same."""
    table = dict(kept or {}) | {_key(line): line for line in map(_row, rows)}
    kept_rows = len(table) - len(rows)
    others = f"; other rows are those of the page before, {kept_rows}" if kept_rows else ""
    return "\n".join(
        [
            "# Quality of rendering",
            "",
            "| scene | robot | size | quality | PSNR [dB] lowest, mean | SSIM lowest, mean | faces, original's "
            "| ms a camera, original's |",
            "|---|---|---|---|---|---|---|---|",
            *table.values(),
            "",
            "Images against the original's: whole meshes and textures, every flag of MuJoCo's renderer as it comes,",
            "four samples a pixel. Of a robosuite scene this is stock robosuite's own image, bit for bit. Lowest and",
            f"mean over two cameras and two states, seed {_SEED}: as the scene begins, and after {_STEPS} random",
            "actions. Times are medians of processor time, one thread, the two cameras' mean; faces are those of the",
            "meshes that are drawn.",
            "",
            f"- Hardware: {_processor()}, {os.cpu_count()} cores, {platform.machine()}, software OpenGL",
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


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/rendering_quality.md"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 256], help="pixels")
    parser.add_argument("--only", default="", help="scenes whose task's name begins so; the page's other rows stay")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
