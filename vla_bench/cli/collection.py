"""The commands `generate-demos` and `record`."""

from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from vla_bench.cli.model_options import ModelOptions
from vla_bench.cli.options import Checkpoint, selected_suites
from vla_bench.cli.terminal import Update, print_table, show_progress
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.machine import usable_cores
from vla_bench.demos.options import CollectOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vla_bench.core.episode import EpisodeIdentity
    from vla_bench.core.types import Observation
    from vla_bench.demos import CollectProgress, CollectReport
    from vla_bench.demos.devices import DeviceSpec
    from vla_bench.envs.environment import VlaBenchEnv


_COLLECTION_NAMES = {
    "suites": ("--suite", "-s"),
    "output": ("--output", "-o"),
    "tasks": ("--task", "-t"),
    "episodes": ("--episodes", "-n"),
    "workers": ("--workers", "-w"),
    "cameras": ("--camera",),
    "counted": ("--count",),
    "noise.kind": ("--noise",),
    "slips.kind": ("--slips",),
    "slips.per_step": ("--slip-chance",),
    "slips.push": ("--slip-push",),
    "filters.noops": ("--drop-noops",),
}
_COLLECTION_PREFIXES = {"noise": "noise-", "slips": "slips-"}
_DISTURBANCE_PANEL = "Disturbances, so that demonstrations show recoveries; the undisturbed action is recorded"
_COLLECTION_PANELS = {
    "noise": _DISTURBANCE_PANEL,
    "slips": _DISTURBANCE_PANEL,
    "filters": "Filters; dropped demonstrations are printed with the reason",
}
GENERATION_OPTIONS = ModelOptions(
    CollectOptions,
    names=_COLLECTION_NAMES,
    prefixes=_COLLECTION_PREFIXES,
    panels=_COLLECTION_PANELS,
    texts={"workers": "Worker processes. [default: one per core]"},
    without=frozenset({"counted", "filters.failures"}),
)
RECORDING_OPTIONS = ModelOptions(
    CollectOptions,
    names=_COLLECTION_NAMES,
    prefixes=_COLLECTION_PREFIXES,
    panels=_COLLECTION_PANELS,
    texts={
        "episodes": "Episodes of each task; see --count. [default: 10]",
        "workers": "Worker processes; a person needs 1. [default: 1]",
        "cameras": "Camera to record; repeat for several. [default: as the policy or the recording]",
        "image_size": "Height and width of the images in pixels. [default: as the policy or the recording, or 224]",
    },
    without=frozenset({"filters"}),
)


@GENERATION_OPTIONS.add_to_command
def generate_demos(
    file_per_suite: Annotated[
        bool, typer.Option("--file-per-suite", help="Write one file per suite into the folder --output.")
    ] = False,
    **options: Any,
) -> None:
    """Generate demonstrations with scripted experts.

    An interruption keeps every finished demonstration; the same command resumes.

    Example: `vla-bench generate-demos --suite tabletop_object --episodes 50 --output demos.hdf5`

    Several suites: `vla-bench generate-demos -s all --file-per-suite --output demos/`
    """
    from vla_bench.demos import collect

    options["suites"] = selected_suites(options["suites"])
    whole = GENERATION_OPTIONS.build({"suites": (), "workers": usable_cores()}, options)
    for one in whole.by_suite() if file_per_suite else (whole,):
        with show_progress(f"demonstrations into {one.output.name}") as update:
            print_collected(collect(one, partial(_show_collection, update)))


def _show_collection(update: Update, progress: "CollectProgress") -> None:
    update(progress.finished, progress.wanted, collection_rates_text(progress))


def collection_rates_text(progress: "CollectProgress") -> str:
    """Return speed and success of a collection as short text."""
    return f"{progress.per_minute:.0f} per minute, success {progress.success_rate:.0%}" if progress.attempts else ""


def print_collected(report: "CollectReport") -> None:
    """Print the result of a collection."""
    dropped = Counter(one.task for one in report.dropped)
    rows = [
        (task.task, str(task.demonstrations - dropped[task.task]), f"{task.successes / task.attempts:.0%}")
        for task in report.tasks
    ]
    print_table(("task", "demonstrations", "success"), rows, words=1)
    console = Console()
    for death in report.deaths:
        console.print(death, style="yellow")
    for one in report.dropped:
        console.print(f"dropped by {one.filter_name}: episode {one.index} of {one.task}, {one.reason}", highlight=False)
    if report.dropped_steps:
        console.print(f"dropped {report.dropped_steps:,} steps without effect", highlight=False)
    size, count = f"{report.size_bytes / 1e6:.0f} MB", report.demonstrations - len(report.dropped)
    console.print(f"{report.output}: {count} demonstrations, {size}, {report.elapsed_s:.0f} s", soft_wrap=True)


_DEFAULT_IMAGE_SIZE = 224  # pixels, unless the policy needs another size


@RECORDING_OPTIONS.add_to_command
def record(
    device: Annotated[str, typer.Option(help="expert, policy, recording, keyboard or spacemouse.")],
    policy: Annotated[
        str | None, typer.Option("--policy", "-p", help="For `policy`: name, card.toml, or package.module:factory.")
    ] = None,
    checkpoint: Checkpoint = None,
    recording: Annotated[Path | None, typer.Option(help="For `recording`: HDF5 file to replay.")] = None,
    **options: Any,
) -> None:
    """Record demonstrations by a device: an expert, a policy, a recording or a person.

    A person acts in a window by keyboard or SpaceMouse; Enter marks a success, Backspace a failure, Delete discards
    the episode and restarts its scene, Esc stops. Finished episodes are kept; the same command resumes.

    Example: `vla-bench record --device policy --policy lora-openvla -t tabletop_object.red_cube_on_plate -o x.hdf5`
    """
    from vla_bench.demos import collect

    plan = _recording_plan(device, policy, checkpoint, recording)
    if plan.seed is not None:
        options["seed"] = plan.seed
    options["suites"] = selected_suites(options["suites"])
    content = {
        "suites": (),
        "tasks": () if options["suites"] else tuple(plan.indices or ()),
        "episodes": 10,
        "image_size": plan.image_size,
        "cameras": plan.cameras,
        "depth": plan.depth,
        "indices": plan.indices,
        "device": plan.spec,
        "variant": plan.variant,
    }
    collection = RECORDING_OPTIONS.build(content, options)
    with show_progress("demonstrations") as update:
        report = collect(
            collection, lambda progress: update(progress.finished, progress.wanted, collection_rates_text(progress))
        )
    print_collected(report)


@dataclass(frozen=True)
class _RecordingPlan:
    """A device and the recording options that follow from it."""

    spec: "DeviceSpec"
    cameras: tuple[str, ...] = ("agentview", "wrist")
    image_size: int = _DEFAULT_IMAGE_SIZE
    depth: bool = False
    seed: int | None = None
    variant: str = "demonstration"
    indices: dict[str, tuple[int, ...]] | None = None  # episodes per task, if not all can be recorded


def _recording_plan(device: str, policy: str | None, checkpoint: Path | None, recording: Path | None) -> _RecordingPlan:
    from vla_bench.demos.devices import DeviceSpec, devices

    _ = devices[device]  # raises for an unknown name
    for name, option, needed_by in (("--policy", policy, "policy"), ("--recording", recording, "recording")):
        if (option is not None) != (device == needed_by):
            verb = "needs" if device == needed_by else "does not accept"
            raise VlaBenchError(f"--device {device} {verb} {name}.")
    if policy is not None:
        return _policy_plan(policy, checkpoint)
    if recording is not None:
        return _replay_plan(recording)
    return _RecordingPlan(DeviceSpec(device))


def _policy_plan(policy: str, checkpoint: Path | None) -> _RecordingPlan:
    from vla_bench.demos.devices import DeviceSpec
    from vla_bench.policies import find_policy

    source = find_policy(policy, checkpoint)
    needs = source.load().requirements
    spec = DeviceSpec(
        "policy", source.name, actor=partial(PolicyActor, policy, checkpoint), settings={"policy": source.describe()}
    )
    cameras = needs.cameras or _RecordingPlan(spec).cameras
    return _RecordingPlan(spec, cameras, needs.image_size or _DEFAULT_IMAGE_SIZE, needs.depth)


def _replay_plan(path: Path) -> _RecordingPlan:
    from vla_bench.demos import DemonstrationFile
    from vla_bench.demos.devices import DeviceSpec

    with DemonstrationFile(path) as file:
        header, fingerprint = file.header, file.fingerprint()
        identities = [file.summary(name).identity for name in file.names]
    origins = Counter((one.seed, one.variant) for one in identities)
    if len(origins) != 1:
        raise VlaBenchError(
            f"{path} has episodes of {len(origins)} seeds or variants. "
            "Expected one seed and variant; `vla-bench inspect` shows them."
        )
    ((seed, variant),) = origins
    indices: dict[str, tuple[int, ...]] = {}
    for one in sorted(identities):
        indices[one.task_id] = (*indices.get(one.task_id, ()), one.index)
    spec = DeviceSpec("recording", path.name, path=path, settings={"recording": fingerprint})
    return _RecordingPlan(spec, header.cameras, header.image_size, header.depth, seed, variant, indices)


class PolicyActor:
    """A policy that acts in one environment, as in an evaluation with one environment slot."""

    def __init__(self, policy: str, checkpoint: Path | None) -> None:
        from vla_bench.policies import load_policy

        self._policy = load_policy(policy, checkpoint)
        self._chunk: deque[NDArray[np.float32]] = deque()
        self._env: VlaBenchEnv | None = None
        self._expert: Any = None

    def begin(self, env: "VlaBenchEnv", identity: "EpisodeIdentity") -> None:
        """Connect the policy to the conventions of the environment and start an episode."""
        from vla_bench.experts.catalogue import experts_by_name
        from vla_bench.policies import EnvironmentConventions

        expert = self._policy.requirements.expert
        if env is not self._env:
            options = env.options
            self._policy.connect(
                EnvironmentConventions(
                    options.cameras, options.image_size, env.proprioception_fields, options.depth, expert
                )
            )
            self._env = env
        seed = int(identity.generator("policy").integers(2**31))
        self._policy.reset([env.simulation.instruction], rows=[0], seeds=[seed])
        self._chunk.clear()
        self._expert = None if expert is None else experts_by_name[expert](env.task)
        if self._expert is not None:
            self._expert.reset(env.simulation.world, identity.generator("expert"))

    def act(self, observation: "Observation") -> "NDArray[np.float32]":
        """Return the next action, from a new chunk if the last one is finished."""
        from vla_bench.policies.policy import as_chunks

        assert self._env is not None, "call begin first"
        if not self._chunk:
            if self._expert is not None:
                observation["expert_action"] = self._expert.act(self._env.simulation.world)
            self._chunk.extend(as_chunks(self._policy.act([observation], rows=[0]), 1)[0].astype("float32"))
        return self._chunk.popleft()
