"""`vla-bench record`: any device acts, and what happens is kept as demonstrations."""

from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vla_bench.cli import recording_options as asked
from vla_bench.cli.generate import print_collected, rates_of
from vla_bench.cli.options import Checkpoint, ImageSizeOfPolicy, Output, Rendering, Robot, Seed
from vla_bench.cli.progress import progress_shown
from vla_bench.core.errors import VlaBenchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vla_bench.core.episode import EpisodeIdentity
    from vla_bench.core.types import Observation
    from vla_bench.demos.devices import DeviceSpec
    from vla_bench.envs.environment import VlaBenchEnv

_IMAGE_SIZE = 224  # pixels, where no policy asks for others


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("record")(record)


def record(
    device: Annotated[str, typer.Option(help="expert, policy, recording, keyboard or spacemouse.")],
    output: Output,
    policy: Annotated[
        str | None, typer.Option("--policy", "-p", help="For `policy`: name, card.toml, or package.module:factory.")
    ] = None,
    checkpoint: Checkpoint = None,
    recording: Annotated[Path | None, typer.Option(help="For `recording`: HDF5 file to act as.")] = None,
    suite: asked.Suites = None,
    task: asked.TasksOfSuites = None,
    episodes: Annotated[int, typer.Option("--episodes", "-n", min=1, help="Of each task; see --count.")] = 10,
    count: Annotated[
        Literal["successes", "episodes"], typer.Option(help="What --episodes counts; what counts is kept.")
    ] = "successes",
    seed: Seed = 0,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Worker processes; a person is one.")] = 1,
    camera: asked.Cameras = None,
    image_size: ImageSizeOfPolicy = None,
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
    """Record demonstrations by any device: an expert, a policy, a recording, or a person.

    A person acts in a window by keyboard or SpaceMouse; Enter marks a success, Backspace a failure, Delete discards
    the episode and begins its scene again, Esc stops. What is finished is kept; the same command goes on.

    Example: `vla-bench record --device policy --policy lora-openvla -t tabletop_object.red_cube_on_plate -o x.hdf5`
    """
    from vla_bench.demos import CollectOptions, collect

    plan = _plan(device, policy, checkpoint, recording)
    options = CollectOptions(
        suites=asked.suites_chosen(suite),
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
        noise=asked.noise_of(noise, noise_translation, noise_yaw),
        slips=asked.slips_of(slips, slips_most, slip_chance, slip_push),
        counted=count,
        indices=plan.indices,
        device=plan.spec,
        variant=plan.variant,
    )
    with progress_shown("demonstrations") as update:
        report = collect(options, lambda progress: update(progress.finished, progress.wanted, rates_of(progress)))
    print_collected(report)


@dataclass(frozen=True)
class _Plan:
    """A device, and what follows from it for what is recorded."""

    spec: "DeviceSpec"
    cameras: tuple[str, ...] = ("agentview", "wrist")
    image_size: int = _IMAGE_SIZE
    depth: bool = False
    seed: int | None = None
    variant: str = "demonstration"
    indices: dict[str, tuple[int, ...]] | None = None  # by task, where not every episode can be recorded


def _plan(device: str, policy: str | None, checkpoint: Path | None, recording: Path | None) -> _Plan:
    from vla_bench.demos.devices import DeviceSpec, devices

    _ = devices[device]  # says now that there is none of that name
    for name, option, needed_by in (("--policy", policy, "policy"), ("--recording", recording, "recording")):
        if (option is not None) != (device == needed_by):
            verb = "needs" if device == needed_by else "takes no"
            raise VlaBenchError(f"--device {device} {verb} {name}.")
    if policy is not None:
        return _plan_of_policy(policy, checkpoint)
    if recording is not None:
        return _plan_of_recording(recording)
    return _Plan(DeviceSpec(device))


def _plan_of_policy(policy: str, checkpoint: Path | None) -> _Plan:
    from vla_bench.demos.devices import DeviceSpec
    from vla_bench.policies import find_policy

    source = find_policy(policy, checkpoint)
    needs = source.load().requirements
    spec = DeviceSpec(
        "policy", source.name, actor=partial(PolicyActor, policy, checkpoint), decisive={"policy": source.describe()}
    )
    cameras = needs.cameras or _Plan(spec).cameras
    return _Plan(spec, cameras, needs.image_size or _IMAGE_SIZE, needs.depth)


def _plan_of_recording(path: Path) -> _Plan:
    from vla_bench.demos import DemonstrationFile
    from vla_bench.demos.devices import DeviceSpec

    with DemonstrationFile(path) as file:
        header, fingerprint = file.header, file.fingerprint()
        identities = [file.summary(name).identity for name in file.names]
    origins = Counter((one.seed, one.variant) for one in identities)
    if len(origins) != 1:
        raise VlaBenchError(
            f"{path} holds episodes of {len(origins)} seeds or variants, which cannot be recorded at once. "
            "Expected those of one; `vla-bench inspect` shows them."
        )
    ((seed, variant),) = origins
    indices: dict[str, tuple[int, ...]] = {}
    for one in sorted(identities):
        indices[one.task_id] = (*indices.get(one.task_id, ()), one.index)
    spec = DeviceSpec("recording", path.name, path=path, decisive={"recording": fingerprint})
    return _Plan(spec, header.cameras, header.image_size, header.depth, seed, variant, indices)


class PolicyActor:
    """A policy of the policy wing, acting in one environment at a time, as in an evaluation with one row."""

    def __init__(self, policy: str, checkpoint: Path | None) -> None:
        from vla_bench.policies import load_policy

        self._policy = load_policy(policy, checkpoint)
        self._chunk: deque[NDArray[np.float32]] = deque()
        self._env: VlaBenchEnv | None = None
        self._expert: Any = None

    def begin(self, env: "VlaBenchEnv", identity: "EpisodeIdentity") -> None:
        """Tell the policy what it will see, and that an episode begins."""
        from vla_bench.experts.offers import offers
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
        self._expert = None if expert is None else offers[expert](env.task)
        if self._expert is not None:
            self._expert.reset(env.simulation.world, identity.generator("expert"))

    def act(self, observation: "Observation") -> "NDArray[np.float32]":
        """Return the next action, of a new chunk where the last is used up."""
        from vla_bench.policies.policy import as_chunks

        assert self._env is not None, "begin first"
        if not self._chunk:
            if self._expert is not None:
                observation["expert_action"] = self._expert.act(self._env.simulation.world)
            self._chunk.extend(as_chunks(self._policy.act([observation], rows=[0]), 1)[0].astype("float32"))
        return self._chunk.popleft()
