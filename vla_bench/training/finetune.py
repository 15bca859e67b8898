"""Fine-tune a base checkpoint on demonstrations (`vla-bench finetune`)."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vla_bench.core.errors import CheckpointError, ConventionError, OutputMismatchError
from vla_bench.core.files import claimed
from vla_bench.demos.sources import DemonstrationSource, open_sources
from vla_bench.models.adapters import BaseReference
from vla_bench.models.network_record import Conventions
from vla_bench.models.networks.network import NetworkCheckpoint, NetworkRequest, NetworkShape, kind_of
from vla_bench.models.normalization import DatasetStatistics, VectorStatistics, statistics_for
from vla_bench.models.openvla.checkpoint import find_base
from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.models.openvla.weights import weights_digest
from vla_bench.training.augmentation.pipeline import Pipeline
from vla_bench.training.augmentation.recorded_scene import proprioception_fields_of, scene_geometry_of
from vla_bench.training.batches import BatchMaker
from vla_bench.training.checkpoints import TrainingProgress, write_checkpoint
from vla_bench.training.config import FinetuneConfig
from vla_bench.training.dataset import (
    DemonstrationDataset,
    FrameSelection,
    dataset_statistics,
    load_subset,
    robot_of,
    suites_of,
)
from vla_bench.training.distributed import ProcessGroup, join_process_group
from vla_bench.training.methods.method import METHODS, apply_method
from vla_bench.training.objectives import objective_for
from vla_bench.training.precision import cast_weights, enable_activation_checkpointing
from vla_bench.training.trackers import CompositeTracker, TrackedRun, Tracker
from vla_bench.training.trainer import Trainer
from vla_bench.training.validation import Validation, Validator, require_disjoint

_DEFAULT_PROPRIOCEPTION_DIM = 8  # size of LIBERO's state; used if there are no demonstrations to read the sizes from


def planned_shape(
    config: FinetuneConfig, folder: Path | None, vla: OpenVLAConfig, sources: Sequence[DemonstrationSource]
) -> NetworkShape:
    """Return the shape of the network that `load_base` returns, without loading weights.

    `folder` contains the `config.json` of `vla`, None for an architecture without a checkpoint. `sources` may be empty.
    """
    return kind_of(folder, config.action_head).shape(folder, vla, _network_request(config, sources))


def load_base(config: FinetuneConfig, folder: Path, sources: Sequence[DemonstrationSource]) -> NetworkCheckpoint:
    """Return the network in `folder`, with the action head of `config`.

    Raises `CheckpointError` if the checkpoint is damaged or contradicts `config`, and `ModelConfigError` if the base
    cannot have that head.
    """
    return kind_of(folder, config.action_head).load(folder, _network_request(config, sources))


def _network_request(config: FinetuneConfig, sources: Sequence[DemonstrationSource]) -> NetworkRequest:
    return NetworkRequest(len(config.cameras), config.chunk_size, _proprioception_dim(config, sources), config.seed)


def _proprioception_dim(config: FinetuneConfig, sources: Sequence[DemonstrationSource]) -> int:
    """Return the total size of the selected fields in the demonstrations; 0 if none is selected."""
    if not config.proprioception:
        return 0
    if not sources:  # a plan without demonstrations
        return _DEFAULT_PROPRIOCEPTION_DIM
    sources[0].require(cameras=config.cameras, proprioception=config.proprioception)
    return sum(field.size for field in sources[0].facts.proprioception_fields if field.name in config.proprioception)


REPORT_FILE = "finetune.json"
CONFIG_FILE = "finetune.toml"


@dataclass(frozen=True)
class FinetuneReport:
    """Result of a fine-tuning run."""

    output: str
    base: str
    steps: int
    loss: float  # smoothed, after the last step
    validation: Validation | None
    trained_parameters: int
    total_parameters: int  # including those that the method adds
    episodes: int
    frames: int
    elapsed_s: float  # training only
    finished: bool
    best_step: int | None = None  # step of the checkpoint in OUTPUT/best
    best_validation: Validation | None = None
    history: tuple[Mapping[str, Any], ...] = ()  # step, loss and validation of each validation


def finetune(
    config: FinetuneConfig,
    on_progress: Callable[[TrainingProgress], None] = lambda progress: None,
    *,
    resume: bool = False,
) -> FinetuneReport:
    """Train, write the adapter or checkpoint to `config.output`, and return the report.

    An interrupted run resumes from its last checkpoint; for a finished run, only the report is returned. Raises
    `OutputMismatchError` if the output was made with another configuration, and `CheckpointError` if `resume` is set
    and there is no run to resume. Processes started by torchrun train together.
    """
    with join_process_group() as processes, ExitStack() as stack:
        processes.run_on_main(lambda: stack.enter_context(claimed(config.output)))
        state_path = config.output.with_name(f".{config.output.name}.state.pt")
        finished = processes.run_on_main(lambda: _load_finished_report(config, state_path, resume))
        if finished is not None:
            return finished
        run = _Run(config, processes)
        report = run.train(state_path, on_progress)
        processes.run_on_main(lambda: state_path.unlink(missing_ok=True))
        return report


class _Run:
    """One fine-tuning run: network, data and trainer."""

    def __init__(self, config: FinetuneConfig, processes: ProcessGroup) -> None:
        self._config, self._processes = config, processes
        base_folder = find_base(config.base)
        with open_sources(config.demos, config.source_options()) as sources:
            base = load_base(config, base_folder, sources)
            selection = frame_selection(config, base.config)
            train, valid = (load_subset(sources, selection, subset) for subset in ("train", "valid"))
            require_disjoint(train, valid)
            pipeline = _pipeline(config, selection, train, sources)
            key = config.unnorm_key or "+".join(suites_of(sources))
            robot = robot_of(sources)
        statistics = _statistics(config, base, train, pipeline)
        shown = Conventions(config.cameras, selection.image_size, selection.proprioception, robot)
        self._checkpoint = base.learned({key: statistics}, shown)
        quantization = METHODS[config.method].quantization
        self._reference = BaseReference(config.base, weights_digest(base_folder), quantization)
        cast_weights(base.model, config.precision)
        self._model = base.model.to(processes.device)
        torch.manual_seed(config.seed)  # for the initial weights of the adapter
        self._trained = apply_method(self._model, config.with_trained_modules(base.config.new_modules))
        if config.gradient_checkpointing:
            enable_activation_checkpointing(self._model)
        _check_prompts(config, base, pipeline.texts(train.instructions))
        self._train = BatchMaker(train, base.processor, statistics, pipeline, base.config)
        objective = objective_for(self._model, config.optimiser)
        validator = Validator(
            BatchMaker(valid, base.processor, statistics, network=base.config),
            objective,
            statistics,
            config.validation_frames,
            config.precision,
            processes,
        )
        self._trainer = Trainer(
            self._model, self._train, objective, config, lambda: validator(self._model), self._keep, processes
        )

    def train(self, state_path: Path, on_progress: Callable[[TrainingProgress], None]) -> FinetuneReport:
        """Train to the last step and return the report."""
        trainer = self._trainer
        trainer.restore(state_path)
        with self._tracked(trainer.state.step) as tracker:
            trainer.run(state_path, tracker, on_progress if self._processes.is_main else lambda progress: None)
        return self._report()

    @contextmanager
    def _tracked(self, first_step: int) -> Iterator[Tracker]:
        """Yield a tracker for the log file and the selected experiment tracker; on the main process only."""
        config, names = self._config, ("jsonl", self._config.tracker) if self._processes.is_main else ()
        run = TrackedRun(config.output.name, config.project, log_folder(config.output), config.decisive(), first_step)
        tracker = CompositeTracker.start(names, run)
        try:
            yield tracker
        finally:
            tracker.close()

    def _keep(self, is_best: bool) -> None:
        """Replace the last checkpoint atomically by the current one."""
        config, step = self._config, self._trainer.state.step
        write_checkpoint(config.output, self._write, step=step, is_best=is_best, numbered=config.keep_checkpoints)

    def _write(self, folder: Path) -> None:
        self._trained.save(folder, self._reference, self._checkpoint)
        content = {"config": self._config.decisive(), "report": asdict(self._report())}
        (folder / CONFIG_FILE).write_text(self._config.to_toml(), encoding="utf-8")
        (folder / REPORT_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _report(self) -> FinetuneReport:
        state = self._trainer.state
        return FinetuneReport(
            output=str(self._config.output),
            base=self._config.base,
            steps=state.step,
            loss=state.loss if state.loss is not None else float("nan"),
            validation=state.latest_validation,
            trained_parameters=self._trained.trainable_parameters,
            total_parameters=self._trained.total_parameters,
            episodes=self._train.dataset.episodes,
            frames=len(self._train.dataset),
            elapsed_s=round(state.elapsed_s, 1),
            finished=self._trainer.finished,
            best_step=state.best_step,
            best_validation=state.best_validation,
            history=tuple(state.history),
        )


def log_folder(output: Path) -> Path:
    """Return the log folder of a run; it is outside `output`, which each checkpoint replaces as a whole."""
    return output.with_name(f"{output.name}-logs")


def _load_finished_report(config: FinetuneConfig, state_path: Path, resume: bool) -> FinetuneReport | None:
    """Return the report of a finished run in the output folder, None if there is none.

    Raises `OutputMismatchError` if the output was made with another configuration.
    """
    if resume and not (config.output.exists() and state_path.is_file()) and not _is_finished(config.output):
        raise CheckpointError(config.output, "there is no run to resume; leave out --resume to start one")
    if not config.output.exists():
        state_path.unlink(missing_ok=True)  # its output was deleted: start again
        return None
    try:
        content = json.loads((config.output / REPORT_FILE).read_text())
        earlier, report = content["config"], content["report"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError):
        raise OutputMismatchError(
            config.output, [f"it contains no readable {REPORT_FILE}, so it is not the output of a fine-tuning run"]
        ) from None
    then, now = _flatten(earlier), _flatten(json.loads(json.dumps(config.decisive())))
    keys = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
    if keys:
        raise OutputMismatchError(config.output, [f"{key}: {then.get(key)} then, {now.get(key)} now" for key in keys])
    if not report["finished"]:
        return None
    validations = ("validation", "best_validation")
    made = {name: None if report[name] is None else Validation(**report[name]) for name in validations}
    return FinetuneReport(**{**report, **made, "history": tuple(report["history"])})


def _flatten(content: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Return nested tables as one table, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flatten(value, f"{within}{key}.") if isinstance(value, Mapping) else {f"{within}{key}": value}
    return flat


def _is_finished(output: Path) -> bool:
    try:
        return bool(json.loads((output / REPORT_FILE).read_text())["report"]["finished"])
    except (OSError, json.JSONDecodeError, KeyError, TypeError):
        return False


def frame_selection(config: FinetuneConfig, network: NetworkShape) -> FrameSelection:
    """Return the selection of demonstrations for `network`. Raises `ConventionError` if the cameras do not fit."""
    if len(config.cameras) != network.num_images:
        names = ", ".join(config.cameras)
        raise ConventionError(
            f"The base {config.base!r} takes {network.num_images} images, but the configuration names these cameras: "
            f"{names}. Set `cameras` to {network.num_images} names."
        )
    return FrameSelection(
        cameras=config.cameras,
        proprioception=(config.proprioception or network.proprioception_fields) if network.proprioception_dim else (),
        proprioception_dim=network.proprioception_dim,
        image_size=network.image_size,
        control_hz=config.control_hz,
        action_convention=config.action_convention,
        tasks=config.tasks,
        options=config.source_options(),
        success_only=config.success_only,
        drop_noops=config.drop_noops,
        validation_share=config.validation_share,
        split_seed=config.seed,
        cache_bytes=int(config.image_cache_gb * 1e9),
    )


def _check_prompts(config: FinetuneConfig, base: NetworkCheckpoint, instructions: Sequence[str]) -> None:
    """Raise `ConventionError` for a prompt longer than `max_prompt_tokens`; prompts are never truncated."""
    if config.max_prompt_tokens is None:
        return
    lengths = base.processor.tokenize_instructions(instructions)[1].sum(dim=1).tolist()
    for instruction, length in zip(instructions, lengths, strict=True):
        if length > config.max_prompt_tokens:
            raise ConventionError(
                f"The prompt of {instruction!r} is {length} tokens long, but max_prompt_tokens is "
                f"{config.max_prompt_tokens}. Raise max_prompt_tokens, or leave out the task."
            )


def _pipeline(
    config: FinetuneConfig,
    selection: FrameSelection,
    train: DemonstrationDataset,
    sources: Sequence[DemonstrationSource],
) -> Pipeline:
    """Return the augmentations. Raises `AugmentationRefusedError` if one would contradict the actions."""
    scene = None
    if config.augmentation.needs_scene_geometry:
        fields = proprioception_fields_of(sources[0], selection)
        scene = scene_geometry_of(config.augmentation, sources, selection.cameras, fields, robot_of(sources))
    pipeline = Pipeline.of(config.augmentation, scene)
    pipeline.check(train.proprioception)
    return pipeline


def _statistics(
    config: FinetuneConfig, base: NetworkCheckpoint, train: DemonstrationDataset, pipeline: Pipeline
) -> DatasetStatistics:
    if config.statistics == "base":
        return statistics_for(base.statistics, config.unnorm_key if config.unnorm_key in base.statistics else None)
    recorded = dataset_statistics(train)
    if not pipeline.geometric:
        return recorded
    actions, proprioception = pipeline.with_extremes(train.actions, train.proprioception)
    felt = recorded.proprioception
    return replace(
        recorded,
        action=VectorStatistics.of(actions, recorded.action.mask),
        proprioception=None if felt is None else VectorStatistics.of(proprioception, felt.mask),
    )
