"""What the physics of an episode follows from, as a hash: equal hashes, the same course under the same actions.

It covers every field of the simulated model but those that only draw, the state, and what comes between an action and
the robot. An expert acts on these alone, so what it does under one hash it does wherever the hash is the same.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import array_hash
from vla_bench.envs.perturbations.simulation import PerturbedSimulation

if TYPE_CHECKING:
    import mujoco

    from vla_bench.envs.simulation import Simulation

# Of MuJoCo's model, what its engine reads for drawing alone (mjmodel.h). Whatever is not named here counts as physics.
_DRAWN_KINDS = ("cam_", "light_", "mat_", "tex_", "skin_", "text_")
_DRAWN_FIELDS = {
    *(f"{kind}_{what}" for kind in ("geom", "site", "tendon") for what in ("rgba", "matid")),
    *(f"{kind}_group" for kind in ("geom", "site")),
}


def physics_hash(simulation: "Simulation") -> str:
    """Return the hash of a simulation as it stands, such as after a reset."""
    model = simulation.models()[0]
    acting = simulation.acting() if isinstance(simulation, PerturbedSimulation) else ()
    return array_hash(*_fields(model), *_options(model), simulation.state(), np.array(acting, dtype=str))


def _fields(model: "mujoco.MjModel") -> Iterator[NDArray[np.generic]]:
    for name in sorted(dir(model)):
        if name.startswith(("_", *_DRAWN_KINDS)) or name in _DRAWN_FIELDS:
            continue
        value = getattr(model, name)
        if isinstance(value, np.ndarray):
            yield np.array([name])
            yield value


def _options(model: "mujoco.MjModel") -> Iterator[NDArray[np.generic]]:
    for name in sorted(dir(model.opt)):
        value = getattr(model.opt, name)
        if not name.startswith("_") and isinstance(value, np.ndarray | float | int):
            yield np.array([name])
            yield np.asarray(value)
