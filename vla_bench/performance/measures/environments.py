"""Measures of environment speed: images, physics, resets, other peers, and GPU rendering by number of processes."""

import statistics
from collections.abc import Mapping

from vla_bench.core.machine import usable_cores
from vla_bench.core.process_environment import process_variables
from vla_bench.performance.peers import peers
from vla_bench.performance.record import Metric, Target, speed_metric
from vla_bench.performance.registry import MeasureSettings, NotRunError, measure, require_rendering_gpu
from vla_bench.performance.workload_processes import TurnResult, Workload, WorkloadError, WorkloadTurns, ratios
from vla_bench.performance.workloads import ENGINES, IMAGE_SIZE, ROBOSUITE, TABLETOP, own_workload


@measure(
    "tabletop-images", f"Tabletop suites: 2 cameras of {IMAGE_SIZE} px, one process, against stock robosuite `Lift`"
)
def tabletop_images(setting: MeasureSettings) -> list[Metric]:
    """Return steps/s of a tabletop task and of stock robosuite, and their ratio."""
    return compare_speeds(
        setting,
        peers["robosuite"].workload(image_size=IMAGE_SIZE, cameras=2),
        {"tabletop": own_workload("task", f"`{TABLETOP}`", task_id=TABLETOP, image_size=IMAGE_SIZE)},
        {"tabletop": Target(bound=15.0)},
    )


_ROBOSUITE_IMAGE_SIZE = 256  # pixels; the default image size of robosuite
_ROBOSUITE_TARGETS = {"fast": Target(bound=10.0), "faithful": Target(bound=4.0)}


@measure(
    "robosuite-images",
    f"vla_bench's robosuite suite: 2 cameras of {_ROBOSUITE_IMAGE_SIZE} px, against stock robosuite `Lift`",
)
def robosuite_images(setting: MeasureSettings) -> list[Metric]:
    """Return steps/s for both rendering qualities and of stock robosuite, and their ratios."""
    workloads = {
        quality: own_workload(
            "task", f"`{ROBOSUITE}`, {quality}", task_id=ROBOSUITE, image_size=_ROBOSUITE_IMAGE_SIZE, rendering=quality
        )
        for quality in _ROBOSUITE_TARGETS
    }
    return compare_speeds(
        setting, peers["robosuite"].workload(image_size=_ROBOSUITE_IMAGE_SIZE, cameras=2), workloads, _ROBOSUITE_TARGETS
    )


_PHYSICS_TARGET = Target(bound=70.0)
_PHYSICS_PARTS = {"simulate": "physics and control", "advance": "physics, control, success, progress and info"}


@measure("physics", "Physics and control without cameras, against `mj_step` alone")
def physics(setting: MeasureSettings) -> list[Metric]:
    """Return control steps/s, also as a percentage of `mj_step` alone."""
    metrics: list[Metric] = []
    for engine, task_id in ENGINES.items():
        workloads = {
            part: own_workload("task", part, task_id=task_id, part=part, cameras=()) for part in _PHYSICS_PARTS
        }
        with WorkloadTurns({"alone": own_workload("physics", "alone", task_id=task_id), **workloads}) as turns:
            metrics += _physics_metrics(engine, task_id, turns.take(setting.turns, seconds=setting.seconds / 2))
    setting.note(
        "`mj_step` alone replays recorded states of an episode under the same random actions, with one call per "
        "control "
        "step and the last torques of the controller in that step; warm start and contacts are those of the episode."
    )
    return metrics


def _physics_metrics(engine: str, task_id: str, taken: dict[str, list[TurnResult]]) -> list[Metric]:
    speeds = {part: [turn.steps_per_s for turn in turns] for part, turns in taken.items()}
    shares = [
        Metric(
            name=f"{engine}-{part}-share",
            title=f"`{task_id}`: {what}, fraction of `mj_step` alone",
            unit="%",
            turns=tuple(100 * ratio for ratio in ratios(speeds[part], speeds["alone"])),
            kind="ratio",
            aim=_PHYSICS_TARGET if part == "simulate" else None,
        )
        for part, what in _PHYSICS_PARTS.items()
    ]
    titles = {"alone": "`mj_step` alone", **_PHYSICS_PARTS}
    absolute = [
        speed_metric(f"{engine}-{part}-speed", f"`{task_id}`: {titles[part]}", values)
        for part, values in speeds.items()
    ]
    return [*shares, *absolute]


_RESETS_PER_TURN = 20  # of vla_bench; stock is reset once per turn
_RESET_TARGET = Target(bound=100.0)


@measure("resets", f"Reset with images: 2 cameras of {IMAGE_SIZE} px, against stock robosuite `Lift`")
def resets(setting: MeasureSettings) -> list[Metric]:
    """Return reset times, and the ratios of stock robosuite's to those of vla_bench."""
    stock = peers["robosuite"].workload(image_size=IMAGE_SIZE, cameras=2)
    workloads = {
        name: own_workload("task", f"`{task_id}`", task_id=task_id, image_size=IMAGE_SIZE)
        for name, task_id in ENGINES.items()
    }
    with WorkloadTurns({"stock": stock, **workloads}) as turns:
        setting.note_versions(turns.versions)
        setting.note(
            "A reset in vla_bench always renders; stock robosuite compiles its model again, which is its default."
        )
        times: dict[str, list[float]] = {"stock": [], **{name: [] for name in workloads}}
        for _ in range(setting.turns):
            for name, taken in times.items():
                count = 1 if name == "stock" else setting.scaled(_RESETS_PER_TURN, 3)
                taken.append(1000.0 * statistics.median(turns.one(name, resets=count).resets_s))
    titles = {"stock": stock.title, **{name: workload.title for name, workload in workloads.items()}}
    relative = [
        Metric(
            name=f"{name}-ratio",
            title=f"reset of {titles[name]} against {stock.title}",
            unit="x",
            turns=tuple(ratios(times["stock"], times[name])),
            kind="ratio",
            aim=_RESET_TARGET,
        )
        for name in workloads
    ]
    absolute = [
        Metric(
            name=f"{name}-reset",
            title=f"reset of {titles[name]}",
            unit="ms",
            turns=tuple(taken),
            kind="time",
            better="lower",
        )
        for name, taken in times.items()
    ]
    return [*relative, *absolute]


@measure("peers", f"Other peers, in their own Python: 2 cameras of {IMAGE_SIZE} px")
def other_peers(setting: MeasureSettings) -> list[Metric]:
    """Return steps/s and reset time of each peer, and the ratios to those of a tabletop task."""
    requested = {name: python for name, python in setting.peers.items() if peers[name].measure == "peers"}
    if not requested:
        known = ", ".join(sorted(name for name in peers if name != "robosuite" and peers[name].measure == "peers"))
        raise NotRunError(
            "no `--peer` is given. For a peer installed in /path: --peer NAME=/path/bin/python with NAME one of "
            f"{known}."
        )
    metrics: list[Metric] = []
    failure: WorkloadError | None = None
    for name, python in requested.items():
        try:
            metrics += _compare_peer(setting, name, python)
        except WorkloadError as error:
            setting.note(f"peers: {name} was not measured: {' '.join(str(error).split())}")
            failure = error
    if failure is not None and not metrics:
        raise failure
    return metrics


def _compare_peer(setting: MeasureSettings, name: str, python: str) -> list[Metric]:
    stock = peers[name].workload(image_size=IMAGE_SIZE, cameras=2, python=python)
    own = own_workload("task", f"`{TABLETOP}`", task_id=TABLETOP, image_size=IMAGE_SIZE)
    with WorkloadTurns({"stock": stock, "ours": own}) as turns:
        setting.note_versions(turns.versions)
        taken = turns.take(setting.turns, seconds=setting.seconds, resets=1)
    speeds = {one: [turn.steps_per_s for turn in of_one] for one, of_one in taken.items()}
    times = {one: [1000.0 * turn.resets_s[0] for turn in of_one] for one, of_one in taken.items()}
    return [
        Metric(
            name=f"{name}-ratio",
            title=f"{own.title} against {stock.title}",
            unit="x",
            kind="ratio",
            turns=tuple(ratios(speeds["ours"], speeds["stock"])),
        ),
        Metric(
            name=f"{name}-reset-ratio",
            title=f"reset of {own.title} against {stock.title}",
            unit="x",
            kind="ratio",
            turns=tuple(ratios(times["stock"], times["ours"])),
        ),
        speed_metric(f"{name}-speed", stock.title, speeds["stock"]),
        Metric(
            name=f"{name}-reset",
            title=f"reset of {stock.title}",
            unit="ms",
            kind="time",
            better="lower",
            turns=tuple(times["stock"]),
        ),
    ]


@measure("gpu-environments", "Environment steps/s by number of processes, EGL on the GPU")
def gpu_environments(setting: MeasureSettings) -> list[Metric]:
    """Return steps/s of all processes together, for 1, 2, 4, ... processes up to the number of cores."""
    require_rendering_gpu(setting)
    most = usable_cores()
    workloads = {
        str(number): own_workload(
            "task",
            f"process {number}",
            task_id=TABLETOP,
            image_size=IMAGE_SIZE,
            variables={**process_variables(most, number), "MUJOCO_GL": "egl"},
        )
        for number in range(most)
    }
    with WorkloadTurns(workloads) as turns:
        speeds = {
            count: [
                sum(turn.steps_per_s for turn in turns.together(seconds=setting.seconds, first=count).values())
                for _ in range(setting.turns)
            ]
            for count in process_counts(most)
        }
    return [
        speed_metric(
            f"processes-{count}", f"{count} process{'es' * (count > 1)}, two cameras of {IMAGE_SIZE} px", of_one
        )
        for count, of_one in speeds.items()
    ]


def process_counts(most: int) -> list[int]:
    """Return 1, 2, 4, ... and `most`, without duplicates."""
    counts = [1]
    while 2 * counts[-1] < most:
        counts.append(2 * counts[-1])
    return [*counts, most] if most > 1 else counts


def compare_speeds(
    setting: MeasureSettings, stock: Workload, workloads: Mapping[str, Workload], targets: Mapping[str, Target]
) -> list[Metric]:
    """Return the steps/s of `stock` and of each of `workloads`, and the ratio of each to `stock`."""
    with WorkloadTurns({"stock": stock, **workloads}) as turns:
        setting.note_versions(turns.versions)
        taken = turns.take(setting.turns, seconds=setting.seconds)
    speeds = {name: [turn.steps_per_s for turn in of_one] for name, of_one in taken.items()}
    titles = {"stock": stock.title, **{name: workload.title for name, workload in workloads.items()}}
    absolute = [speed_metric(f"{name}-speed", titles[name], values) for name, values in speeds.items()]
    relative = [
        Metric(
            name=f"{name}-ratio",
            title=f"{workload.title} against {stock.title}",
            unit="x",
            turns=tuple(ratios(speeds[name], speeds["stock"])),
            kind="ratio",
            aim=targets.get(name),
        )
        for name, workload in workloads.items()
    ]
    return [*relative, *absolute]
