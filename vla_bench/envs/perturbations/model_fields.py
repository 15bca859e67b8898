"""The fields of a compiled model that perturbations may change: kept as compiled, brought back, compared."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import mujoco

_FIELDS = (
    *("cam_pos", "cam_quat", "cam_fovy"),
    *("light_pos", "light_dir", "light_ambient", "light_diffuse", "light_specular"),
    *("mat_rgba", "mat_texrepeat", "mat_specular", "geom_rgba"),
    *("geom_size", "geom_pos", "geom_rbound", "geom_aabb", "bvh_aabb", "geom_friction"),
    *("body_pos", "body_quat", "body_ipos", "body_mass", "body_inertia", "body_subtreemass"),
    *("site_pos", "site_size"),
)
_HEADLIGHT = ("ambient", "diffuse", "specular")


class ModelFields:
    """A model's changeable fields as they were when this was made."""

    def __init__(self, model: "mujoco.MjModel") -> None:
        self._model = model
        self._compiled = {name: getattr(model, name).copy() for name in _FIELDS}
        self._headlight = {name: getattr(model.vis.headlight, name).copy() for name in _HEADLIGHT}

    def restore(self) -> None:
        """Bring everything back."""
        for name, values in self._compiled.items():
            getattr(self._model, name)[:] = values
        for name, values in self._headlight.items():
            getattr(self._model.vis.headlight, name)[:] = values

    def changed(self) -> list[NDArray[np.float64]]:
        """Return the present values of the fields that differ from the compiled ones."""
        now = [(getattr(self._model, name), values) for name, values in self._compiled.items()]
        now += [(getattr(self._model.vis.headlight, name), values) for name, values in self._headlight.items()]
        return [np.array(value, dtype=np.float64) for value, compiled in now if not np.array_equal(value, compiled)]
