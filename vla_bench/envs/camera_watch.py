"""Where a camera of a simulation stands, computed anew only when it has moved."""

import mujoco

from vla_bench.core.cameras import CameraGeometry
from vla_bench.envs.views import camera_geometry


class CameraWatch:
    """One camera of a model. Most stand still, and every step's info says where they are."""

    def __init__(self, model: mujoco.MjModel, name: str) -> None:
        self._model, self._name, self._camera = model, name, int(model.camera(name).id)
        self._seen: tuple[bytes, bytes, float] | None = None
        self._geometry: CameraGeometry | None = None

    def geometry(self, data: mujoco.MjData) -> CameraGeometry:
        """Return where the camera stands now; positions in `data` must be computed."""
        camera = self._camera
        seen = data.cam_xpos[camera].tobytes(), data.cam_xmat[camera].tobytes(), float(self._model.cam_fovy[camera])
        if self._geometry is None or seen != self._seen:
            self._seen, self._geometry = seen, camera_geometry(self._model, data, self._name)
        return self._geometry
