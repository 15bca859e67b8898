"""Measure MuJoCo Warp's batched worlds of a tabletop task against processes of this package."""

import json
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.machine import usable_cores
from vla_bench.core.process_environment import process_variables
from vla_bench.core.types import CONTROL_HZ, MAX_DELTA_POSITION_M, MAX_DELTA_ROTATION_RAD
from vla_bench.envs.environment import make
from vla_bench.performance.hardware import gpu_name
from vla_bench.performance.peers import peers
from vla_bench.performance.record import Metric, format_number, speed_metric
from vla_bench.performance.registry import MeasureSettings, NotRunError, measure
from vla_bench.performance.workload_processes import Workload, WorkloadTurns
from vla_bench.performance.workloads import IMAGE_SIZE, TABLETOP, own_workload

if TYPE_CHECKING:
    from vla_bench.envs.tabletop.simulation import TabletopSimulation

_NAME, _PACKAGE = "mujoco-warp", "mujoco_warp"
_GPU_WORLDS, _CPU_WORLDS = (16, 256, 2048), (1, 2)  # worlds
_WITHOUT_CAMERAS, _WITH_CAMERAS = "physics and control", f"two cameras of {IMAGE_SIZE} px"


@measure(
    "mujoco-warp", "MuJoCo Warp: worlds of a tabletop task in one batch, against processes of vla_bench", in_quick=False
)
def mujoco_warp(setting: MeasureSettings) -> list[Metric]:
    """Return control steps/s by the number of worlds and of vla_bench's processes, and the ratio of the best to
    them.
    """
    python = _warp_python(setting)
    files = _write_snapshot_in_process(setting)
    agreement = setting.workspace / "agreement.json"
    speeds: dict[str, dict[int, list[float]]] = {what: {} for what in (_WITHOUT_CAMERAS, _WITH_CAMERAS)}
    counts = _GPU_WORLDS if gpu_name() else _CPU_WORLDS
    for count in counts:
        for what, of_one in speeds.items():
            first = count == counts[0] and what == _WITH_CAMERAS
            options = {**files, "worlds": count, "cameras": what == _WITH_CAMERAS, "agreement": str(agreement) * first}
            peer = peers[_NAME]
            workload = Workload(
                f"MuJoCo Warp, {count} worlds, {what}", peer.module, options, python, peer.distributions
            )
            of_one[count] = _worlds_speed(setting, workload)
    setting.note(agreement_text(json.loads(agreement.read_text(encoding="utf-8"))))
    setting.note(
        f"mujoco-warp: `{TABLETOP}`, vla_bench's controller as Warp kernels, random actions, no success checks, "
        f"resets or copies to the host; on {gpu_name() or 'the CPU, where Warp runs one thread and is not optimized'}."
    )
    return [
        metric for what, of_one in speeds.items() for metric in _warp_metrics(what, of_one, _own_speed(setting, what))
    ]


def agreement_text(found: Mapping[str, Any]) -> str:
    """Return a sentence on the differences between Warp and MuJoCo from the same simulation state."""
    states = "; ".join(
        f"after {steps} physics steps joints {format_number(apart['arm_rad'])} rad, objects "
        f"{format_number(apart['objects'])} (m or "
        f"of a quaternion) and {format_number(apart['objects_per_s'])} m/s or rad/s"
        for steps, apart in found["states"].items()
    )
    contacts = ", ".join(f"{pair} {ours} and {theirs}" for pair, (ours, theirs) in sorted(found["contacts"].items()))
    images = ", ".join(f"{format_number(value)} dB" for value in found["images_db"])
    return (
        "mujoco-warp against MuJoCo from one simulation state: torques of the controller differ by "
        f"{format_number(found['torque_nm'])} N m "
        f"at most; {states}. Pairs with different numbers of contacts (MuJoCo, Warp): {contacts or 'none'}. "
        f"Images against quality `fast`: PSNR {images}."
    )


def _warp_python(setting: MeasureSettings) -> str:
    """Return the Python interpreter that has MuJoCo Warp; raise `NotRunError` where none is known."""
    if _NAME in setting.peers:
        return setting.peers[_NAME]
    if find_spec(_PACKAGE) is not None:
        return sys.executable
    raise NotRunError(
        "mujoco_warp is not installed. In a separate environment, run `pip install mujoco==3.9.0 mujoco-warp==3.9.0.1 "
        f"warp-lang==1.13.0`, then pass --peer {_NAME}=/path/bin/python."
    )


def _write_snapshot_in_process(setting: MeasureSettings) -> dict[str, str]:
    """Write model and snapshot in a separate process, because the import of MuJoCo sets environment variables."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        model, snapshot = process.submit(write_snapshot, TABLETOP, setting.workspace).result()
    return {"model": str(model), "snapshot": str(snapshot)}


def _worlds_speed(setting: MeasureSettings, workload: Workload) -> list[float]:
    """Return control steps/s of all worlds together."""
    with WorkloadTurns({"warp": workload}) as turns:
        setting.note_versions(turns.versions)
        taken = turns.take(setting.turns, seconds=setting.seconds, warm_up=1)["warp"]
    return [workload.options["worlds"] * turn.steps_per_s for turn in taken]


def _own_speed(setting: MeasureSettings, what: str) -> list[float]:
    """Return the total control steps/s of one vla_bench process per core."""
    part, cameras = ("whole", ("agentview", "wrist")) if what == _WITH_CAMERAS else ("simulate", ())
    count = usable_cores()
    workloads = {
        str(index): own_workload(
            "task",
            f"process {index}",
            task_id=TABLETOP,
            part=part,
            cameras=cameras,
            image_size=IMAGE_SIZE,
            variables=process_variables(count, index),
        )
        for index in range(count)
    }
    with WorkloadTurns(workloads) as turns:
        together = [turns.together(seconds=setting.seconds) for _ in range(setting.turns)]
    return [sum(turn.steps_per_s for turn in one.values()) for one in together]


def _warp_metrics(what: str, speeds: Mapping[int, list[float]], own: list[float]) -> list[Metric]:
    name = "pictures" if what == _WITH_CAMERAS else "physics"
    most = max(speeds, key=lambda count: max(speeds[count]))
    ratios = tuple(theirs / max(mine, 1e-12) for theirs, mine in zip(speeds[most], own, strict=True))
    return [
        Metric(
            name=f"{name}-ratio",
            title=f"MuJoCo Warp, {most} worlds, against {usable_cores()} processes of vla_bench: {what}",
            unit="x",
            kind="ratio",
            turns=ratios,
        ),
        *(
            speed_metric(f"{name}-{count}", f"MuJoCo Warp, {count} world{'s' * (count > 1)}: {what}", values)
            for count, values in speeds.items()
        ),
        speed_metric(f"{name}-ours", f"{usable_cores()} processes of vla_bench: {what}", own),
    ]


_STEPS_BEFORE_SNAPSHOT = 30  # control steps
_CONTACT_HEADROOM = 4  # times the contacts and constraints of the snapshot


def write_snapshot(task_id: str, folder: Path) -> tuple[Path, Path]:
    """Write a model (.mjb) and a snapshot (.npz) after random actions into `folder` and return their paths."""
    env = make(task_id, image_size=IMAGE_SIZE)
    import mujoco  # after `make`, which chooses the OpenGL backend

    from vla_bench.envs.tabletop.simulation import TabletopSimulation

    env.reset(seed=1)
    generator = np.random.default_rng(0)
    for _ in range(_STEPS_BEFORE_SNAPSHOT):
        env.step(generator.uniform(-0.3, 0.3, env.action_dim).astype(np.float32))
    simulation = env.simulation
    assert isinstance(simulation, TabletopSimulation)
    model, snapshot = folder / "model.mjb", folder / "snapshot.npz"
    mujoco.mj_saveModel(simulation.models()[0], str(model), None)
    np.savez(snapshot, **_snapshot(simulation, generator))
    env.close()
    return model, snapshot


def _snapshot(simulation: "TabletopSimulation", generator: np.random.Generator) -> dict[str, Any]:
    import mujoco

    from vla_bench.envs.control.operational_space import POSTURE_KP
    from vla_bench.envs.mjcf import VISUAL_GROUP

    model, data, controller = simulation.models()[0], simulation.data, simulation._controller
    state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    images = simulation.images()
    controller.set_goal(generator.uniform(-0.3, 0.3, 6))
    controller.apply()
    arm = controller.arm
    names = [model.camera(number).name for number in range(model.ncam)]
    cameras = sorted(simulation._cameras.items(), key=lambda pair: names.index(pair[1]))
    return {
        "mujoco": mujoco.__version__,
        "state": state,
        "ctrl": data.ctrl.copy(),
        "substeps": round(1.0 / CONTROL_HZ / model.opt.timestep),
        "contacts": _CONTACT_HEADROOM * data.ncon,
        "constraints": _CONTACT_HEADROOM * data.nefc,
        "site": arm.site,
        "dof": arm.dof_addresses,
        "qpos": arm.qpos_addresses,
        "actuators": arm.actuators,
        "limits": arm.limits,
        "rest": arm.rest,
        "gains": (arm.kp[0], POSTURE_KP),
        "goal_position": arm.goal_position,
        "goal_matrix": arm.goal_matrix,
        "most_m": MAX_DELTA_POSITION_M,
        "most_rad": MAX_DELTA_ROTATION_RAD,
        "image_size": IMAGE_SIZE,
        "group": VISUAL_GROUP,
        "cameras": _is_rendered(names, [camera for _, camera in cameras]),
        "camera_names": [name for name, _ in cameras],
        "images": np.stack([images[name] for name, _ in cameras]),
    }


def _is_rendered(names: list[str], wanted: list[str]) -> NDArray[np.bool_]:
    return np.array([name in wanted for name in names])
