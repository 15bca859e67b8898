"""Forces at contacts, from what the solver has left."""

from collections.abc import Iterable

import mujoco
import numpy as np


def largest_normal_force_n(model: mujoco.MjModel, data: mujoco.MjData, bodies: Iterable[int]) -> float:
    """Return the largest normal force at any contact of the bodies with others, now [N]; 0 where they touch nothing."""
    contact = data.contact
    if not len(contact.geom):
        return 0.0
    own = np.zeros(model.nbody, dtype=bool)
    own[list(bodies)] = True
    touches = own[model.geom_bodyid[contact.geom]]  # (contacts, 2)
    chosen = (touches[:, 0] != touches[:, 1]) & (contact.efc_address >= 0)
    # The first constraint of an elliptic contact is its normal force; of a pyramidal one it is a part of it.
    forces = np.asarray(data.efc_force)[contact.efc_address[chosen]]
    return float(forces.max(initial=0.0))
