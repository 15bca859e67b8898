"""Forces at contacts, from what the solver has left."""

from collections.abc import Iterable

import mujoco
import numpy as np


class NormalForce:
    """The normal force at the contacts of some bodies of a model with others."""

    def __init__(self, model: mujoco.MjModel, bodies: Iterable[int]) -> None:
        own = np.zeros(model.nbody, dtype=bool)
        own[list(bodies)] = True
        self._own_geoms = own[model.geom_bodyid]

    def largest_n(self, data: mujoco.MjData) -> float:
        """Return the largest force at any contact now [N]; 0 where the bodies touch nothing."""
        if not data.ncon:
            return 0.0
        contact = data.contact
        touches = self._own_geoms[contact.geom]  # (contacts, 2)
        chosen = touches[:, 0] != touches[:, 1]
        if not chosen.any():
            return 0.0
        rows = contact.efc_address[chosen]
        # The first constraint of an elliptic contact is its normal force; of a pyramidal one it is a part of it.
        forces = np.asarray(data.efc_force)[rows[rows >= 0]]
        return float(forces.max(initial=0.0))
