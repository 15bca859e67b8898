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
    """Result of re-rendering a file."""

    output: Path
    demonstrations: int
    other_models: int = 0  # demonstrations whose model differs in this version; counted where the quality is unchanged


OnRendered = Callable[[int, int], None]  # done, total


class RenderOptionsError(VlaBenchError):
    """Rendering options that are invalid."""


@dataclass(frozen=True)
class RenderOptions:
    """Options of re-rendering a file; None keeps the value of the source."""

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
            raise RenderOptionsError(f"{self.output} is the input file. Choose another --output.")
        if self.workers < 1:
            raise RenderOptionsError(f"workers={self.workers}: expected at least 1.")
        if self.cameras is not None and not self.cameras:
            raise RenderOptionsError("No camera was chosen. Expected at least one, such as agentview.")

    def env_kwargs(self, header: FileHeader) -> dict[str, Any]:
        """Return the arguments of `vla_bench.make` for these options and a source with this header."""
        requested = {
            "cameras": self.cameras,
            "image_size": self.image_size,
            "depth": self.depth,
            "segmentation": self.segmentation,
            "rendering": self.rendering,
        }
        recorded = {
            "cameras": header.cameras,
            "image_size": header.image_size,
            "depth": header.depth,
            "segmentation": header.segmentation,
        }
        chosen = {name: value for name, value in requested.items() if value is not None}
        return {**header.env_kwargs, **recorded, **chosen}


def render(options: RenderOptions, on_progress: OnRendered = lambda done, total: None) -> RenderReport:
    """Write a copy of a file with its images rendered again; all other data stays as recorded.

    An interrupted run is resumed: finished demonstrations are not rendered again.

    Raises:
        DemonstrationFileError: the source is not a `vla_bench` demonstration file.
        UnknownNameError: a camera does not exist.
        OutputInUseError: another process is writing the output.
        OutputMismatchError: the output was started or made with other options or from another source.
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
        finished = parts.finished()
        on_progress(len(finished), len(names))
        jobs = [(groups[name], name) for name in names if name not in finished]
        for done, _ in enumerate(run_jobs(jobs, options.workers, RenderFactory(options)), start=len(finished) + 1):
            on_progress(done, len(names))
        others = _count_changed_models(options.source, parts) if _same_quality(options, header) else 0
        _write_output(options.output, header, names, parts, {**configuration, "other_models": others})
        parts.remove()
    return RenderReport(options.output, len(names), others)


@dataclass(frozen=True)
class RenderFactory:
    """Factory of a worker's rendering function; it is pickled to the worker process, which opens the source."""

    options: RenderOptions

    def __call__(self) -> Callable[[str], str]:
        """Return the function that renders and stores one demonstration; it takes and returns the name."""
        file, parts = DemonstrationFile(self.options.source), PartialFiles(self.options.output)
        environments = Environments(**self.options.env_kwargs(file.header))

        def render_one(name: str) -> str:
            demonstration = file.read(name, cameras=())
            env = environments.get(demonstration.identity.task_id)
            parts.write(header_of(env), rerender_episode(env, demonstration), name)
            return name

        return render_one


def rerender_episode(env: "VlaBenchEnv", demonstration: Demonstration) -> Demonstration:
    """Return the demonstration with its states rendered by the cameras of `env`."""
    restart_episode(env, demonstration.summary(), demonstration.states[0])
    return rerender_states(env, demonstration)


def _write_output(
    output: Path, source: FileHeader, names: tuple[str, ...], parts: PartialFiles, configuration: dict[str, Any]
) -> None:
    finished = parts.finished()
    with DemonstrationFile(finished[names[0]].path) as first:
        header = first.header
    env_args = {**header.env_args, "env_name": source.env_args.get("env_name", "")}
    collection = {"rendered": configuration, "source": dict(source.collection)}
    copy_demonstrations(
        output, replace(header, env_args=env_args, collection=collection), [finished[name] for name in names]
    )


def _finished_report(output: Path, configuration: dict[str, Any]) -> RenderReport:
    """Return the report of a finished output; raise `OutputMismatchError` where it was made in another way."""
    with DemonstrationFile(output) as file:
        made_with = dict(file.header.collection.get("rendered", {}))
        if not made_with:
            raise OutputMismatchError(output, ["it was not made by `vla-bench render`"])
        others = int(made_with.pop("other_models", 0))
        require_same_configuration(output, made_with, configuration)
        return RenderReport(output, len(file), others)


def _same_quality(options: RenderOptions, header: FileHeader) -> bool:
    return options.rendering in (None, header.env_kwargs.get("rendering"))


def _count_changed_models(source: Path, parts: PartialFiles) -> int:
    """Return the number of demonstrations rendered with another model than the recorded one."""
    with DemonstrationFile(source) as file:
        recorded = {name: file.model_xml(name) for name in file.names}
    count = 0
    for name, part in parts.finished().items():
        with DemonstrationFile(part.path) as file:
            count += not same_model(file.model_xml(part.name), recorded[name])
    return count


def _as_json(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in kwargs.items()}
