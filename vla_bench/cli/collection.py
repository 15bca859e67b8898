"""The commands `generate-demos` and `record`."""

from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from vla_bench.cli import options as asked
from vla_bench.cli.options import Checkpoint, Output, PolicyImageSize, Rendering, Robot, Seed, Workers, worker_count
from vla_bench.cli.terminal import Update, print_table, show_progress
from vla_bench.core.errors import VlaBenchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vla_bench.core.episode import EpisodeIdentity
    from vla_bench.core.types import Observation
    from vla_bench.demos import CollectProgress, CollectReport
    from vla_bench.demos.devices import DeviceSpec
    from vla_bench.envs.environment import VlaBenchEnv


def generate_demos(
    output: Output,
    suite: asked.Suites = None,
    task: asked.TasksOfSuites = None,
    episodes: Annotated[int, typer.Option("--episodes", "-n", min=1, help="Successes of each task.")] = 50,
    seed: Seed = 0,
    workers: Workers = None,
    camera: asked.Cameras = ["agentview", "wrist"],  # noqa: B006  # typer only reads the default
    image_size: Annotated[int, typer.Option(min=16, help="Width and height of the images in pixels.")] = 224,
    depth: asked.Depth = False,
    segmentation: asked.Segmentation = False,
    rendering: Rendering = "fast",
    robot: Robot = "panda",
    perturb: asked.Perturb = None,
    keep_failures: asked.KeepFailures = False,
    noise: asked.NoiseKind = "none",
    noise_translation: asked.NoiseTranslation = asked.NOISE_DEFAULTS[0],
    noise_yaw: asked.NoiseYaw = asked.NOISE_DEFAULTS[1],
    slips: asked.SlipKind = "none",
    slips_most: asked.SlipsMost = asked.SLIP_DEFAULTS[0],
    slip_chance: asked.SlipChance = asked.SLIP_DEFAULTS[1],
    slip_push: asked.SlipPush = asked.SLIP_DEFAULTS[2],
    drop_noops: asked.DropNoops = None,
    length_score: asked.LengthScore = None,
    length_quantiles: asked.LengthQuantiles = None,
    file_per_suite: Annotated[
        bool, typer.Option("--file-per-suite", help="Write one file per suite into the folder --output.")
    ] = False,
) -> None:
    """Generate demonstrations with scripted experts.

    An interruption keeps every finished demonstration; the same command resumes.

    Example: `vla-bench generate-demos --suite tabletop_object --episodes 50 --output demos.hdf5`

    Several suites: `vla-bench generate-demos -s all --file-per-suite --output demos/`
    """
    from vla_bench.demos import CollectOptions, collect

    whole = CollectOptions(
        suites=asked.selected_suites(suite),
        output=output,
        tasks=tuple(task or ()),
        episodes=episodes,
        seed=seed,
        workers=worker_count(workers),
        image_size=image_size,
        cameras=tuple(camera or ()),
        depth=depth,
        segmentation=segmentation,
        rendering=rendering,
        robot=robot,
        perturb=perturb,
        keep_failures=keep_failures,
        noise=asked.noise_options(noise, noise_translation, noise_yaw),
        slips=asked.slip_options(slips, slips_most, slip_chance, slip_push),
        filters=asked.filter_options(drop_noops, length_score, length_quantiles),
    )
    for options in whole.by_suite() if file_per_suite else (whole,):
        with show_progress(f"demonstrations into {options.output.name}") as update:
            print_collected(collect(options, partial(_show_collection, update)))


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


def record(
    device: Annotated[str, typer.Option(help="expert, policy, recording, keyboard or spacemouse.")],
    output: Output,
    policy: Annotated[
        str | None, typer.Option("--policy", "-p", help="For `policy`: name, card.toml, or package.module:factory.")
    ] = None,
    checkpoint: Checkpoint = None,
    recording: Annotated[Path | None, typer.Option(help="For `recording`: HDF5 file to replay.")] = None,
    suite: asked.Suites = None,
    task: asked.TasksOfSuites = None,
    episodes: Annotated[int, typer.Option("--episodes", "-n", min=1, help="Number per task; see --count.")] = 10,
    count: Annotated[
        Literal["successes", "episodes"], typer.Option(help="Unit of --episodes; counted episodes are stored.")
    ] = "successes",
    seed: Seed = 0,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Worker processes; 1 for a person.")] = 1,
    camera: asked.Cameras = None,
    image_size: PolicyImageSize = None,
    depth: asked.Depth = False,
    segmentation: asked.Segmentation = False,
    rendering: Rendering = "fast",
    robot: Robot = "panda",
    perturb: asked.Perturb = None,
    keep_failures: asked.KeepFailures = False,
    noise: asked.NoiseKind = "none",
    noise_translation: asked.NoiseTranslation = asked.NOISE_DEFAULTS[0],
    noise_yaw: asked.NoiseYaw = asked.NOISE_DEFAULTS[1],
    slips: asked.SlipKind = "none",
    slips_most: asked.SlipsMost = asked.SLIP_DEFAULTS[0],
    slip_chance: asked.SlipChance = asked.SLIP_DEFAULTS[1],
    slip_push: asked.SlipPush = asked.SLIP_DEFAULTS[2],
) -> None:
    """Record demonstrations by a device: an expert, a policy, a recording or a person.

    A person acts in a window by keyboard or SpaceMouse; Enter marks a success, Backspace a failure, Delete discards
    the episode and restarts its scene, Esc stops. Finished episodes are kept; the same command resumes.

    Example: `vla-bench record --device policy --policy lora-openvla -t tabletop_object.red_cube_on_plate -o x.hdf5`
    """
    from vla_bench.demos import CollectOptions, collect

    plan = _recording_plan(device, policy, checkpoint, recording)
    options = CollectOptions(
        suites=asked.selected_suites(suite),
        output=output,
        tasks=tuple(task or ()) or (() if suite else tuple(plan.indices or ())),
        episodes=episodes,
        seed=seed if plan.seed is None else plan.seed,
        workers=workers,
        image_size=image_size or plan.image_size,
        cameras=tuple(camera or plan.cameras),
        depth=depth or plan.depth,
        segmentation=segmentation,
        rendering=rendering,
        robot=robot,
        perturb=perturb,
        keep_failures=keep_failures,
        noise=asked.noise_options(noise, noise_translation, noise_yaw),
        slips=asked.slip_options(slips, slips_most, slip_chance, slip_push),
        counted=count,
        indices=plan.indices,
        device=plan.spec,
        variant=plan.variant,
    )
    with show_progress("demonstrations") as update:
        report = collect(
            options, lambda progress: update(progress.finished, progress.wanted, collection_rates_text(progress))
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
