"""MuJoCo Warp's batched worlds of a tabletop task, with our controller and its pictures, beside processes of ours."""

import json
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

from vla_bench.benchmarking.figures import Figure, number
from vla_bench.benchmarking.machine import cores, gpu
from vla_bench.benchmarking.measures import NotRunError, Setting, measure
from vla_bench.benchmarking.processes import Subject, Turns
from vla_bench.benchmarking.stock import peers
from vla_bench.benchmarking.subjects import ours
from vla_bench.benchmarking.tasks_measured import TABLETOP
from vla_bench.envs.vector.processes import process_variables

_NAME, _PACKAGE = "mujoco-warp", "mujoco_warp"
_ON_GPU, _ON_PROCESSOR = (16, 256, 2048), (1, 2)  # worlds
_WITHOUT, _WITH = "physics and control", "two cameras of 224 px"


@measure("mujoco-warp", "MuJoCo Warp: worlds of a tabletop task in one batch, against processes of ours",
         in_quick=False)  # fmt: skip
def mujoco_warp(setting: Setting) -> list[Figure]:
    """Return control steps/s of all worlds together by their number, ours, and how many times ours the best has."""
    python = _python(setting)
    files = _moment(setting)
    agreement = setting.workspace / "agreement.json"
    speeds: dict[str, dict[int, list[float]]] = {what: {} for what in (_WITHOUT, _WITH)}
    counts = _ON_GPU if gpu() else _ON_PROCESSOR
    for count in counts:
        for what, of_one in speeds.items():
            first = count == counts[0] and what == _WITH
            options = {**files, "worlds": count, "cameras": what == _WITH, "agreement": str(agreement) * first}
            peer = peers[_NAME]
            subject = Subject(f"MuJoCo Warp, {count} worlds, {what}", peer.module, options, python, peer.distributions)
            of_one[count] = _worlds_speed(setting, subject)
    setting.note(agreement_text(json.loads(agreement.read_text(encoding="utf-8"))))
    setting.note(
        f"mujoco-warp: `{TABLETOP}`, our controller in Warp's kernels, random actions, no success checks, resets or "
        f"copies to the host; on {gpu() or 'the processor, where Warp runs one thread and is not meant to be fast'}."
    )
    return [figure for what, of_one in speeds.items() for figure in _figures(what, of_one, _own(setting, what))]


def agreement_text(found: Mapping[str, Any]) -> str:
    """Return in words how Warp's world differs from MuJoCo's at the same moment."""
    states = "; ".join(
        f"after {steps} physics steps joints {number(apart['arm_rad'])} rad, objects {number(apart['objects'])} (m or "
        f"of a quaternion) and {number(apart['objects_per_s'])} m/s or rad/s"
        for steps, apart in found["states"].items()
    )
    contacts = ", ".join(f"{pair} {ours} and {theirs}" for pair, (ours, theirs) in sorted(found["contacts"].items()))
    pictures = ", ".join(f"{number(value)} dB" for value in found["pictures_db"])
    return (
        f"mujoco-warp against MuJoCo, one moment: torques of the controller differ by {number(found['torque_nm'])} N m "
        f"at most; {states}. Contacts that differ in number (MuJoCo, Warp): {contacts or 'none'}. Pictures against "
        f"ours at quality `fast`: PSNR {pictures}."
    )


def _python(setting: Setting) -> str:
    """Return the Python that has MuJoCo Warp; raise `NotRunError` where none is known."""
    if _NAME in setting.peers:
        return setting.peers[_NAME]
    if find_spec(_PACKAGE) is not None:
        return sys.executable
    raise NotRunError(
        "mujoco_warp is not installed. In an environment of its own: pip install mujoco==3.9.0 mujoco-warp==3.9.0.1 "
        f"warp-lang==1.13.0, then --peer {_NAME}=/path/bin/python."
    )


def _moment(setting: Setting) -> dict[str, str]:
    """Write model and moment in a process of its own: MuJoCo sets variables that later measures would inherit."""
    from vla_bench.benchmarking.warp_worlds import write_moment

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        model, moment = process.submit(write_moment, TABLETOP, setting.workspace).result()
    return {"model": str(model), "moment": str(moment)}


def _worlds_speed(setting: Setting, subject: Subject) -> list[float]:
    """Return control steps/s of all worlds together."""
    with Turns({"warp": subject}) as turns:
        setting.note_versions(turns.versions)
        taken = turns.take(setting.turns, seconds=setting.seconds, warm_up=1)["warp"]
    return [subject.options["worlds"] * turn.steps_per_s for turn in taken]


def _own(setting: Setting, what: str) -> list[float]:
    """Return control steps/s of one process of ours on each core, together."""
    part, cameras = ("whole", ("agentview", "wrist")) if what == _WITH else ("simulate", ())
    count = cores()
    subjects = {
        str(index): ours("task", f"process {index}", task_id=TABLETOP, part=part, cameras=cameras, image_size=224,
                         variables=process_variables(count, index))
        for index in range(count)
    }  # fmt: skip
    with Turns(subjects) as turns:
        together = [turns.together(seconds=setting.seconds) for _ in range(setting.turns)]
    return [sum(turn.steps_per_s for turn in one.values()) for one in together]


def _figures(what: str, speeds: Mapping[int, list[float]], own: list[float]) -> list[Figure]:
    name = "pictures" if what == _WITH else "physics"
    most = max(speeds, key=lambda count: max(speeds[count]))
    ratios = tuple(theirs / max(mine, 1e-12) for theirs, mine in zip(speeds[most], own, strict=True))
    return [
        Figure(name=f"{name}-ratio", title=f"MuJoCo Warp, {most} worlds, against {cores()} processes of ours: {what}",
               unit="x", kind="ratio", turns=ratios),
        *(
            Figure(name=f"{name}-{count}", title=f"MuJoCo Warp, {count} world{'s' * (count > 1)}: {what}",
                   unit="steps/s", kind="time", turns=tuple(values))
            for count, values in speeds.items()
        ),
        Figure(name=f"{name}-ours", title=f"{cores()} processes of ours: {what}", unit="steps/s", kind="time",
               turns=tuple(own)),
    ]  # fmt: skip
