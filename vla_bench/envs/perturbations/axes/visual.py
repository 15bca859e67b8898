"""Axes that change how the scene looks: camera, lighting, texture and color (registered as `colour`)."""

import colorsys
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_multiply
from vla_bench.core.types import FloatArray
from vla_bench.envs.perturbations.perturbation import Effect, perturbation_axes

if TYPE_CHECKING:
    from vla_bench.envs.simulation import Simulation

_WRIST_SHIFT = 0.15  # factor on the shift of a camera on the robot's hand, which is nearer to the scene
_ROBOT_BODY_PREFIXES = ("robot", "fixed_mount", "gripper")
_MAX_HUE_CHANGE = 0.02  # of the color circle, so that the color words of instructions stay true


@perturbation_axes.named("camera")
class CameraEffect(Effect):
    """Cameras: shift by up to 2, 5 or 10 cm, tilt by up to 2, 4 or 8 degrees, field of view by up to 2, 5 or 10 %."""

    def modify_models(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change every camera, in the same way in every model."""
        shift_m, tilt_rad = self.by_severity(0.02, 0.05, 0.10), np.radians(self.by_severity(2.0, 4.0, 8.0))
        zoom = self.by_severity(0.02, 0.05, 0.10)
        models = simulation.models()
        for camera in range(models[0].ncam):
            direction = generator.uniform(-1.0, 1.0, 3)
            tilt = tilt_rad * generator.uniform(-1.0, 1.0, 3) / np.sqrt(3.0)
            factor = 1.0 + zoom * generator.uniform(-1.0, 1.0)
            shift_factor = 1.0 if models[0].cam_bodyid[camera] == 0 else _WRIST_SHIFT
            for model in models:
                model.cam_pos[camera] += shift_factor * shift_m * direction / np.sqrt(3.0)
                model.cam_quat[camera] = quat_wxyz_multiply(model.cam_quat[camera], axis_angle_to_quat_wxyz(tilt))
                model.cam_fovy[camera] *= factor


@perturbation_axes.named("lighting")
class LightingEffect(Effect):
    """Lights: brightness by up to 15, 35 or 60 %, tint by 5, 12 or 25 %, direction by 10, 25 or 45 degrees."""

    def modify_models(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change all lights and the headlight."""
        brightness, tint = self.by_severity(0.15, 0.35, 0.6), self.by_severity(0.05, 0.12, 0.25)
        tilt = np.tan(np.radians(self.by_severity(10.0, 25.0, 45.0)))
        # Uniform on a logarithmic scale: dimming to 2/3 is as likely as brightening to 3/2.
        factor = (1.0 - brightness) ** generator.uniform(-1.0, 1.0)
        color = factor * (1.0 + tint * generator.uniform(-1.0, 1.0, 3))
        sideways = tilt * generator.uniform(-1.0, 1.0, 3)
        for model in simulation.models():
            model.light_ambient[:] = np.clip(model.light_ambient * color, 0.0, 1.0)
            model.light_diffuse[:] = np.clip(model.light_diffuse * color, 0.0, 1.0)
            directions = model.light_dir + sideways * np.linalg.norm(model.light_dir, axis=1, keepdims=True)
            model.light_dir[:] = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
            headlight = model.vis.headlight
            headlight.ambient[:] = np.clip(headlight.ambient * color, 0.0, 1.0)
            headlight.diffuse[:] = np.clip(headlight.diffuse * color, 0.0, 1.0)


@perturbation_axes.named("texture")
class TextureEffect(Effect):
    """Table, floor and walls: colors mixed with a random color (15, 40 or 80 %); patterns scaled from severity 2 on."""

    def modify_models(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change the materials of the scenery's geoms, or the colors of geoms without a material."""
        share, models = self.by_severity(0.15, 0.4, 0.8), simulation.models()
        scenery = _scenery(simulation)
        materials = sorted({int(models[0].geom_matid[geom]) for geom in scenery} - {-1})
        plain = [geom for geom in scenery if models[0].geom_matid[geom] < 0]
        draws = {("mat_rgba", material): generator.uniform(0.1, 1.0, 3) for material in materials}
        draws |= {("geom_rgba", geom): generator.uniform(0.1, 1.0, 3) for geom in plain}
        stretch = 2.0 ** generator.uniform(-1.0, 1.0, len(materials))
        for model in models:
            for (field, number), color in draws.items():
                rgb = getattr(model, field)[number, :3]
                rgb[:] = (1.0 - share) * rgb + share * color
            if self.severity > 1:
                for material, factor in zip(materials, stretch, strict=True):
                    model.mat_texrepeat[material] *= factor


def _scenery(simulation: "Simulation") -> list[int]:
    """Return the geoms of fixed bodies that belong neither to an item nor to a robot."""
    model = simulation.models()[0]
    items = {body for bodies in simulation.item_bodies().values() for body in bodies}
    fixed = [
        body
        for body in range(model.nbody)
        if model.body_weldid[body] == 0 and model.body_mocapid[body] < 0 and body not in items
        if not model.body(body).name.startswith(_ROBOT_BODY_PREFIXES)
    ]
    return [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) in fixed]


@perturbation_axes.named("colour")
class ColorEffect(Effect):
    """Objects: brightness and saturation by up to 10, 20 or 35 %; the hue hardly changes."""

    def modify_models(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change the colors of all geoms of an item, and of their materials, in the same way."""
        share, models = self.by_severity(0.1, 0.2, 0.35), simulation.models()
        model = models[0]
        for bodies in simulation.item_bodies().values():
            value, saturation = 1.0 + share * generator.uniform(-1.0, 1.0, 2)
            hue = _MAX_HUE_CHANGE * share / 0.35 * generator.uniform(-1.0, 1.0)
            geoms = np.flatnonzero(np.isin(model.geom_bodyid, list(bodies)))
            materials = sorted({int(model.geom_matid[geom]) for geom in geoms} - {-1})
            for changed in models:
                for geom in geoms:
                    changed.geom_rgba[geom, :3] = _shifted(changed.geom_rgba[geom, :3], hue, saturation, value)
                for material in materials:
                    changed.mat_rgba[material, :3] = _shifted(changed.mat_rgba[material, :3], hue, saturation, value)


def _shifted(rgb: FloatArray, hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    h, s, v = colorsys.rgb_to_hsv(*(float(part) for part in rgb))
    return colorsys.hsv_to_rgb((h + hue) % 1.0, min(1.0, s * saturation), min(1.0, v * value))
