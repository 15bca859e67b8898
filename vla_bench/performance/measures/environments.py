"""Measures of environment speed: images, physics, resets, other peers, and GPU rendering by number of processes."""

import statistics
from collections.abc import Mapping

from vla_bench.core.machine import usable_cores
from vla_bench.core.process_environment import process_variables
from vla_bench.performance.peers import peers
from vla_bench.performance.record import Metric, Target
from vla_bench.performance.registry import MeasureSettings, NotRunError, measure, require_rendering_gpu
from vla_bench.performance.workload_processes import TurnResult, Workload, WorkloadError, WorkloadTurns, ratios
from vla_bench.performance.workloads import ENGINES, ROBOSUITE, TABLETOP, own_workload

# ~ A tabletop task with images, beside stock robosuite.

_TABLETOP_IMAGE_SIZE = 224  # pixels


@measure("tabletop-images", "Tabletop suites: 2 cameras of 224 px, one process, against stock robosuite `Lift`")
def tabletop_images(setting: MeasureSettings) -> list[Metric]:
    """Return steps/s and their ratio."""
    return compare_speeds(
        setting,
        peers["robosuite"].subject(image_size=_TABLETOP_IMAGE_SIZE, cameras=2),
        {"tabletop": own_workload("task", f"`{TABLETOP}`", task_id=TABLETOP, image_size=_TABLETOP_IMAGE_SIZE)},
        {"tabletop": Target(bound=15.0)},
    )


# ~ The robosuite suite with images through us, beside stock robosuite.

_ROBOSUITE_IMAGE_SIZE = 256  # pixels
_ROBOSUITE_TARGETS = {"fast": Target(bound=10.0), "faithful": Target(bound=4.0)}


@measure("robosuite-images", "robosuite suite through us: 2 cameras of 256 px, against stock robosuite `Lift`")
def robosuite_images(setting: MeasureSettings) -> list[Metric]:
    """Return steps/s and their ratios, for both qualities of rendering."""
    subjects = {
        quality: own_workload(
            "task", f"`{ROBOSUITE}`, {quality}", task_id=ROBOSUITE, image_size=_ROBOSUITE_IMAGE_SIZE, rendering=quality
        )
        for quality in _ROBOSUITE_TARGETS
    }
    return compare_speeds(
        setting, peers["robosuite"].subject(image_size=_ROBOSUITE_IMAGE_SIZE, cameras=2), subjects, _ROBOSUITE_TARGETS
    )


# ~ Physics and control without cameras, beside `mj_step` alone.

_PHYSICS_TARGET = Target(bound=70.0)
_PHYSICS_PARTS = {"simulate": "physics and control", "advance": "physics, control, success, progress and info"}


@measure("physics", "Physics and control without cameras, against `mj_step` alone")
def physics(setting: MeasureSettings) -> list[Metric]:
    """Return control steps/s as a share of those that `mj_step` alone would give."""
    figures: list[Metric] = []
    for engine, task_id in ENGINES.items():
        subjects = {part: own_workload("task", part, task_id=task_id, part=part, cameras=()) for part in _PHYSICS_PARTS}
        with WorkloadTurns({"alone": own_workload("physics", "alone", task_id=task_id), **subjects}) as turns:
            figures += _physics_metrics(engine, task_id, turns.take(setting.turns, seconds=setting.seconds / 2))
    setting.note(
        "`mj_step` alone goes through recorded states of an episode under the same random actions, one call a control "
        "step, with the torques that the controller ended that step with; warm start and contacts are the episode's."
    )
    return figures


def _physics_metrics(engine: str, task_id: str, taken: dict[str, list[TurnResult]]) -> list[Metric]:
    speeds = {part: [turn.steps_per_s for turn in turns] for part, turns in taken.items()}
    shares = [
        Metric(
            name=f"{engine}-{part}-share",
            title=f"`{task_id}`: {what}, of `mj_step` alone",
            unit="%",
            turns=tuple(100 * ratio for ratio in ratios(speeds[part], speeds["alone"])),
            kind="ratio",
            aim=_PHYSICS_TARGET if part == "simulate" else None,
        )
        for part, what in _PHYSICS_PARTS.items()
    ]
    titles = {"alone": "`mj_step` alone", **_PHYSICS_PARTS}
    plain = [
        Metric(
            name=f"{engine}-{part}-speed",
            title=f"`{task_id}`: {titles[part]}",
            unit="steps/s",
            turns=tuple(values),
            kind="time",
        )
        for part, values in speeds.items()
    ]
    return [*shares, *plain]


# ~ The beginning of an episode, beside stock robosuite's.

_RESET_IMAGE_SIZE = 224  # pixels
_RESETS_PER_TURN = 20  # of ours in a turn; one of the stock's
_RESET_TARGET = Target(bound=100.0)


@measure("resets", "Reset with its images: 2 cameras of 224 px, against stock robosuite `Lift`")
def resets(setting: MeasureSettings) -> list[Metric]:
    """Return the time of a reset, and how many times sooner ours is done."""
    stock = peers["robosuite"].subject(image_size=_RESET_IMAGE_SIZE, cameras=2)
    subjects = {
        name: own_workload("task", f"`{task_id}`", task_id=task_id, image_size=_RESET_IMAGE_SIZE)
        for name, task_id in ENGINES.items()
    }
    with WorkloadTurns({"stock": stock, **subjects}) as turns:
        setting.note_versions(turns.versions)
        setting.note("A reset in vla_bench always renders; stock compiles its model anew, which is its default.")
        times: dict[str, list[float]] = {"stock": [], **{name: [] for name in subjects}}
        for _ in range(setting.turns):
            for name, taken in times.items():
                count = 1 if name == "stock" else setting.scaled(_RESETS_PER_TURN, 3)
                taken.append(1000.0 * statistics.median(turns.one(name, resets=count).resets_s))
    titles = {"stock": stock.title, **{name: subject.title for name, subject in subjects.items()}}
    sooner = [
        Metric(
            name=f"{name}-ratio",
            title=f"reset of {titles[name]} against {stock.title}",
            unit="x",
            turns=tuple(ratios(times["stock"], times[name])),
            kind="ratio",
            aim=_RESET_TARGET,
        )
        for name in subjects
    ]
    plain = [
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
    return [*sooner, *plain]


# ~ The peers that the user has installed elsewhere, beside a tabletop task of ours.

_PEER_IMAGE_SIZE = 224  # pixels, two cameras


@measure("peers", "Other peers, in their own Python: 2 cameras of 224 px")
def other_peers(setting: MeasureSettings) -> list[Metric]:
    """Return steps/s and reset time of each peer, and how many times its speed ours has."""
    asked = {name: python for name, python in setting.peers.items() if peers[name].measure == "peers"}
    if not asked:
        known = ", ".join(sorted(name for name in peers if name != "robosuite" and peers[name].measure == "peers"))
        raise NotRunError(
            f"no --peer was given. With one installed in /path: --peer NAME=/path/bin/python, of {known}."
        )
    figures: list[Metric] = []
    failure: WorkloadError | None = None
    for name, python in asked.items():
        try:
            figures += _compare_peer(setting, name, python)
        except WorkloadError as error:
            setting.note(f"peers: {name} was not measured: {' '.join(str(error).split())}")
            failure = error
    if failure is not None and not figures:
        raise failure
    return figures


def _compare_peer(setting: MeasureSettings, name: str, python: str) -> list[Metric]:
    stock = peers[name].subject(image_size=_PEER_IMAGE_SIZE, cameras=2, python=python)
    own = own_workload("task", f"`{TABLETOP}`", task_id=TABLETOP, image_size=_PEER_IMAGE_SIZE)
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
        Metric(name=f"{name}-speed", title=stock.title, unit="steps/s", kind="time", turns=tuple(speeds["stock"])),
        Metric(
            name=f"{name}-reset",
            title=f"reset of {stock.title}",
            unit="ms",
            kind="time",
            better="lower",
            turns=tuple(times["stock"]),
        ),
    ]


# ~ Environments that draw on a GPU, by number of processes.

_GPU_IMAGE_SIZE = 224  # pixels, two cameras


@measure("gpu-environments", "Environment steps/s by number of processes, EGL on the GPU")
def gpu_environments(setting: MeasureSettings) -> list[Metric]:
    """Return steps/s of all processes together, for 1, 2, 4, ... processes up to one a core."""
    require_rendering_gpu(setting)
    most = usable_cores()
    subjects = {
        str(number): own_workload(
            "task",
            f"process {number}",
            task_id=TABLETOP,
            image_size=_GPU_IMAGE_SIZE,
            variables={**process_variables(most, number), "MUJOCO_GL": "egl"},
        )
        for number in range(most)
    }
    with WorkloadTurns(subjects) as turns:
        speeds = {
            count: [
                sum(turn.steps_per_s for turn in turns.together(seconds=setting.seconds, first=count).values())
                for _ in range(setting.turns)
            ]
            for count in process_counts(most)
        }
    return [
        Metric(
            name=f"processes-{count}",
            title=f"{count} process{'es' * (count > 1)}, two cameras of {_GPU_IMAGE_SIZE} px",
            unit="steps/s",
            turns=tuple(of_one),
            kind="time",
        )
        for count, of_one in speeds.items()
    ]


def process_counts(most: int) -> list[int]:
    """Return 1, 2, 4, ... and `most`."""
    counts = [1]
    while 2 * counts[-1] < most:
        counts.append(2 * counts[-1])
    return [*counts, most] if most > 1 else counts


# ~ Environments of ours beside a stock one: steps a second, and the ratios within the turns.


def compare_speeds(
    setting: MeasureSettings, stock: Workload, subjects: Mapping[str, Workload], aims: Mapping[str, Target]
) -> list[Metric]:
    """Return the speed of `stock` and of each of `subjects`, and how many times the stock's speed each has."""
    with WorkloadTurns({"stock": stock, **subjects}) as turns:
        setting.note_versions(turns.versions)
        taken = turns.take(setting.turns, seconds=setting.seconds)
    speeds = {name: [turn.steps_per_s for turn in of_one] for name, of_one in taken.items()}
    titles = {"stock": stock.title, **{name: subject.title for name, subject in subjects.items()}}
    absolute = [
        Metric(name=f"{name}-speed", title=titles[name], unit="steps/s", turns=tuple(values), kind="time")
        for name, values in speeds.items()
    ]
    relative = [
        Metric(
            name=f"{name}-ratio",
            title=f"{subject.title} against {stock.title}",
            unit="x",
            turns=tuple(ratios(speeds[name], speeds["stock"])),
            kind="ratio",
            aim=aims.get(name),
        )
        for name, subject in subjects.items()
    ]
    return [*relative, *absolute]
