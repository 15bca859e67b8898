"""Re-rendering of recorded states with other cameras, sizes and quality."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla_bench.core.errors import OutputMismatchError, VlaBenchError
from vla_bench.core.files import claimed
from vla_bench.core.worker_pool import run_jobs
from vla_bench.demos.attempts import PartialFiles, require_same_configuration
from vla_bench.demos.demonstration import Demonstration
from vla_bench.demos.header import FileHeader
from vla_bench.demos.recording import header_of, rerender_states
from vla_bench.demos.restoring import Environments, check_cameras, restart_episode, same_model
from vla_bench.demos.store import DemonstrationFile
from vla_bench.demos.writing import copy_demonstrations

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv


@dataclass(frozen=True)
class RenderReport:
    """What drawing anew gave."""

    output: Path
    demonstrations: int
    other_models: int = 0  # of them, whose model is another one today; known where the quality stays the same


OnRendered = Callable[[int, int], None]  # done, of how many


class RenderOptionsError(VlaBenchError):
    """Demonstrations that cannot be drawn as asked for."""


@dataclass(frozen=True)
class RenderOptions:
    """What to draw anew, and where to put it. None is what the source has."""

    source: Path
    output: Path
    cameras: tuple[str, ...] | None = None
    image_size: int | None = None  # pixels
    depth: bool | None = None
    segmentation: bool | None = None
    rendering: str | None = None
    workers: int = 1

    def __post_init__(self) -> None:
        if self.source.resolve() == self.output.resolve():
            raise RenderOptionsError(f"{self.output} is what is read. Choose another --output.")
        if self.workers < 1:
            raise RenderOptionsError(f"workers={self.workers}: expected at least 1.")
        if self.cameras is not None and not self.cameras:
            raise RenderOptionsError("No camera chosen. Expected at least one, such as agentview.")

    def env_kwargs(self, header: FileHeader) -> dict[str, Any]:
        """Return the arguments of `vla_bench.make` that draw what is asked for."""
        asked = {
            "cameras": self.cameras,
            "image_size": self.image_size,
            "depth": self.depth,
            "segmentation": self.segmentation,
            "rendering": self.rendering,
        }
        there = {
            "cameras": header.cameras,
            "image_size": header.image_size,
            "depth": header.depth,
            "segmentation": header.segmentation,
        }
        chosen = {name: value for name, value in asked.items() if value is not None}
        return {**header.env_kwargs, **there, **chosen}


def render(options: RenderOptions, on_progress: OnRendered = lambda done, total: None) -> RenderReport:
    """Write a copy of a file with its observations drawn anew.

    Everything but the images stays as it was recorded. What was finished before an interruption is not drawn again.

    Raises:
        DemonstrationFileError: the source is no demonstration file of ours.
        UnknownNameError: there is no such camera.
        OutputInUseError: another process is writing the output.
        OutputMismatchError: the output was begun or made with other options or from another source.
    """
    with DemonstrationFile(options.source) as file:
        header, names = file.header, file.names
        check_cameras(options.env_kwargs(header)["cameras"])
        groups = {name: file.summary(name).identity.task_id for name in names}
        configuration = {**_as_json(options.env_kwargs(header)), "source": file.fingerprint()}
    with claimed(options.output):
        if options.output.exists():
            return _finished_report(options.output, configuration)
        parts = PartialFiles(options.output)
        parts.begin(configuration)
        kept = parts.finished()
        on_progress(len(kept), len(names))
        jobs = [(groups[name], name) for name in names if name not in kept]
        for done, _ in enumerate(run_jobs(jobs, options.workers, RenderFactory(options)), start=len(kept) + 1):
            on_progress(done, len(names))
        others = _count_changed_models(options.source, parts) if _same_quality(options, header) else 0
        _write_output(options.output, header, names, parts, {**configuration, "other_models": others})
        parts.remove()
    return RenderReport(options.output, len(names), others)


@dataclass(frozen=True)
class RenderFactory:
    """Goes to the worker process, where it opens the source."""

    options: RenderOptions

    def __call__(self) -> Callable[[str], str]:
        """Return what draws and keeps one demonstration, given its name, and returns the name."""
        file, parts = DemonstrationFile(self.options.source), PartialFiles(self.options.output)
        environments = Environments(**self.options.env_kwargs(file.header))

        def draw(name: str) -> str:
            demonstration = file.read(name, cameras=())
            env = environments.get(demonstration.identity.task_id)
            parts.write(header_of(env), rerender_episode(env, demonstration), name)
            return name

        return draw


def rerender_episode(env: "VlaBenchEnv", demonstration: Demonstration) -> Demonstration:
    """Return the demonstration with what the cameras of `env` see of its states."""
    restart_episode(env, demonstration.summary(), demonstration.states[0])
    return rerender_states(env, demonstration)


def _write_output(
    output: Path, source: FileHeader, names: tuple[str, ...], parts: PartialFiles, configuration: dict[str, Any]
) -> None:
    kept = parts.finished()
    with DemonstrationFile(kept[names[0]].path) as first:
        header = first.header
    env_args = {**header.env_args, "env_name": source.env_args.get("env_name", "")}
    collection = {"rendered": configuration, "source": dict(source.collection)}
    copy_demonstrations(
        output, replace(header, env_args=env_args, collection=collection), [kept[name] for name in names]
    )


def _finished_report(output: Path, configuration: dict[str, Any]) -> RenderReport:
    """Return the report of a finished output; raise `OutputMismatchError` where it is another one."""
    with DemonstrationFile(output) as file:
        there = dict(file.header.collection.get("rendered", {}))
        if not there:
            raise OutputMismatchError(output, ["`vla-bench render` did not make it"])
        others = int(there.pop("other_models", 0))
        require_same_configuration(output, there, configuration)
        return RenderReport(output, len(file), others)


def _same_quality(options: RenderOptions, header: FileHeader) -> bool:
    return options.rendering in (None, header.env_kwargs.get("rendering"))


def _count_changed_models(source: Path, parts: PartialFiles) -> int:
    """Return how many demonstrations were drawn in another model than they were recorded in."""
    with DemonstrationFile(source) as file:
        recorded = {name: file.model_xml(name) for name in file.names}
    count = 0
    for name, part in parts.finished().items():
        with DemonstrationFile(part.path) as file:
            count += not same_model(file.model_xml(part.name), recorded[name])
    return count


def _as_json(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kwargs.items()}
