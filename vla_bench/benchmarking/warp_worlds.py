"""A moment of a tabletop task of ours in files, for MuJoCo Warp in a Python of its own to go on from.

MuJoCo is imported once an environment is made, which chooses its OpenGL.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import CONTROL_HZ, MAX_DELTA_POSITION_M, MAX_DELTA_ROTATION_RAD
from vla_bench.envs.environment import make

if TYPE_CHECKING:
    from vla_bench.envs.engines.tabletop import TabletopSimulation

IMAGE_SIZE = 224  # pixels
_STEPS = 30  # before the moment
_SPARE = 4  # times the contacts and constraints of the moment


def write_moment(task_id: str, folder: Path) -> tuple[Path, Path]:
    """Write the model (.mjb) and a moment (.npz) after some random actions into `folder` and return their paths."""
    env = make(task_id, image_size=IMAGE_SIZE)
    import mujoco

    from vla_bench.envs.engines.tabletop import TabletopSimulation

    env.reset(seed=1)
    generator = np.random.default_rng(0)
    for _ in range(_STEPS):
        env.step(generator.uniform(-0.3, 0.3, env.action_dim).astype(np.float32))
    simulation = env.simulation
    assert isinstance(simulation, TabletopSimulation)
    model, moment = folder / "model.mjb", folder / "moment.npz"
    mujoco.mj_saveModel(simulation.models()[0], str(model), None)
    np.savez(moment, **_moment(simulation, generator))
    env.close()
    return model, moment


def _moment(simulation: "TabletopSimulation", generator: np.random.Generator) -> dict[str, Any]:
    import mujoco

    from vla_bench.envs.controller import (
        _KP,
        _NULL_KP,
    )  # its file stays as it is: certificates and results name its hash
    from vla_bench.envs.mjcf import VISUAL_GROUP

    model, data, controller = simulation.models()[0], simulation.data, simulation._controller
    state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    pictures = simulation.images()
    controller.set_goal(data, generator.uniform(-0.3, 0.3, 6))
    controller.apply(data)
    drawn = [model.camera(number).name for number in range(model.ncam)]
    cameras = sorted(simulation._cameras.items(), key=lambda pair: drawn.index(pair[1]))
    return {
        "mujoco": mujoco.__version__,
        "state": state,
        "ctrl": data.ctrl.copy(),
        "substeps": round(1.0 / CONTROL_HZ / model.opt.timestep),
        "contacts": _SPARE * data.ncon,
        "constraints": _SPARE * data.nefc,
        "site": controller._site,
        "dof": controller._dof,
        "qpos": controller._qpos,
        "actuators": controller._actuators,
        "limits": controller._limits,
        "rest": controller._rest,
        "gains": (_KP, _NULL_KP),
        "goal_position": controller._goal_position,
        "goal_matrix": controller._goal_matrix,
        "most_m": MAX_DELTA_POSITION_M,
        "most_rad": MAX_DELTA_ROTATION_RAD,
        "image_size": IMAGE_SIZE,
        "group": VISUAL_GROUP,
        "cameras": _drawn(drawn, [camera for _, camera in cameras]),
        "camera_names": [name for name, _ in cameras],
        "pictures": np.stack([pictures[name] for name, _ in cameras]),
    }


def _drawn(names: list[str], wanted: list[str]) -> NDArray[np.bool_]:
    return np.array([name in wanted for name in names])
