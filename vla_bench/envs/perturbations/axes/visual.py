"""Axes that change how the scene looks: camera, lighting, texture and colour."""

import colorsys
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_multiply
from vla_bench.core.types import FloatArray
from vla_bench.envs.perturbations.perturbation import Effect, perturbation_axes

if TYPE_CHECKING:
    from vla_bench.envs.simulation import Simulation


# ~ Cameras stand elsewhere, are tilted and have another field of view.

_ON_THE_ROBOT = 0.15  # share of the shift for a camera that is nearer to the scene: on the hand


@perturbation_axes.named("camera")
class CameraEffect(Effect):
    """Shift by up to 2, 5 or 10 cm, tilt by up to 2, 4 or 8 degrees, field of view by up to 2, 5 or 10 %."""

    def change(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change every camera; the same draw in every model."""
        shift_m, tilt_rad = self.scaled(0.02, 0.05, 0.10), np.radians(self.scaled(2.0, 4.0, 8.0))
        zoom = self.scaled(0.02, 0.05, 0.10)
        models = simulation.models()
        for camera in range(models[0].ncam):
            direction = generator.uniform(-1.0, 1.0, 3)
            tilt = tilt_rad * generator.uniform(-1.0, 1.0, 3) / np.sqrt(3.0)
            factor = 1.0 + zoom * generator.uniform(-1.0, 1.0)
            nearness = 1.0 if models[0].cam_bodyid[camera] == 0 else _ON_THE_ROBOT
            for model in models:
                model.cam_pos[camera] += nearness * shift_m * direction / np.sqrt(3.0)
                model.cam_quat[camera] = quat_wxyz_multiply(model.cam_quat[camera], axis_angle_to_quat_wxyz(tilt))
                model.cam_fovy[camera] *= factor


# ~ Light is brighter or dimmer, of another tint, and falls from elsewhere.


@perturbation_axes.named("lighting")
class LightingEffect(Effect):
    """Brightness by up to 15, 35 or 60 %, tint by up to 5, 12 or 25 %, direction by up to 10, 25 or 45 degrees."""

    def change(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change all lights and the one at the camera."""
        brightness, tint = self.scaled(0.15, 0.35, 0.6), self.scaled(0.05, 0.12, 0.25)
        swing = np.tan(np.radians(self.scaled(10.0, 25.0, 45.0)))
        # Both ends are as likely: a third dimmer is as far from the usual as half as bright again.
        factor = (1.0 - brightness) ** generator.uniform(-1.0, 1.0)
        colour = factor * (1.0 + tint * generator.uniform(-1.0, 1.0, 3))
        sideways = swing * generator.uniform(-1.0, 1.0, 3)
        for model in simulation.models():
            model.light_ambient[:] = np.clip(model.light_ambient * colour, 0.0, 1.0)
            model.light_diffuse[:] = np.clip(model.light_diffuse * colour, 0.0, 1.0)
            directions = model.light_dir + sideways * np.linalg.norm(model.light_dir, axis=1, keepdims=True)
            model.light_dir[:] = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
            headlight = model.vis.headlight
            headlight.ambient[:] = np.clip(headlight.ambient * colour, 0.0, 1.0)
            headlight.diffuse[:] = np.clip(headlight.diffuse * colour, 0.0, 1.0)


# ~ Table, floor and walls have other colours and patterns.

_ROBOT_PARTS = ("robot", "fixed_mount", "gripper")  # what names of a robot's bodies begin with


@perturbation_axes.named("texture")
class TextureEffect(Effect):
    """Colours of what never moves go 15, 40 or 80 % of the way to a random one; from 2 on patterns change in size."""

    def change(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change the materials, or the plain colours, of the scenery's geoms."""
        share, models = self.scaled(0.15, 0.4, 0.8), simulation.models()
        scenery = _scenery(simulation)
        materials = sorted({int(models[0].geom_matid[geom]) for geom in scenery} - {-1})
        plain = [geom for geom in scenery if models[0].geom_matid[geom] < 0]
        draws = {("mat_rgba", material): generator.uniform(0.1, 1.0, 3) for material in materials}
        draws |= {("geom_rgba", geom): generator.uniform(0.1, 1.0, 3) for geom in plain}
        stretch = 2.0 ** generator.uniform(-1.0, 1.0, len(materials))
        for model in models:
            for (field, number), colour in draws.items():
                rgb = getattr(model, field)[number, :3]
                rgb[:] = (1.0 - share) * rgb + share * colour
            if self.severity > 1:
                for material, factor in zip(materials, stretch, strict=True):
                    model.mat_texrepeat[material] *= factor


def _scenery(simulation: "Simulation") -> list[int]:
    """Return the geoms of what hangs on the world without a joint and is no item's and no robot's."""
    model = simulation.models()[0]
    items = {body for bodies in simulation.item_bodies().values() for body in bodies}
    fixed = [
        body
        for body in range(model.nbody)
        if model.body_weldid[body] == 0 and model.body_mocapid[body] < 0 and body not in items
        if not model.body(body).name.startswith(_ROBOT_PARTS)
    ]
    return [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) in fixed]


# ~ Objects are lighter or darker and more or less colourful; their hue hardly changes, so that instructions hold.

_HUE_TURN = 0.02  # of a whole turn


@perturbation_axes.named("colour")
class ColorEffect(Effect):
    """Brightness and saturation of every item by up to 10, 20 or 35 %."""

    def change(self, simulation: "Simulation", generator: np.random.Generator) -> None:
        """Change the colours of all geoms of an item alike, and of the materials that only items have."""
        share, models = self.scaled(0.1, 0.2, 0.35), simulation.models()
        model = models[0]
        for bodies in simulation.item_bodies().values():
            value, saturation = 1.0 + share * generator.uniform(-1.0, 1.0, 2)
            hue = _HUE_TURN * share / 0.35 * generator.uniform(-1.0, 1.0)
            geoms = np.flatnonzero(np.isin(model.geom_bodyid, list(bodies)))
            materials = sorted({int(model.geom_matid[geom]) for geom in geoms} - {-1})
            for changed in models:
                for geom in geoms:
                    changed.geom_rgba[geom, :3] = _shaded(changed.geom_rgba[geom, :3], hue, saturation, value)
                for material in materials:
                    changed.mat_rgba[material, :3] = _shaded(changed.mat_rgba[material, :3], hue, saturation, value)


def _shaded(rgb: FloatArray, hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    h, s, v = colorsys.rgb_to_hsv(*(float(part) for part in rgb))
    return colorsys.hsv_to_rgb((h + hue) % 1.0, min(1.0, s * saturation), min(1.0, v * value))
