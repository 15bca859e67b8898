"""Fine-tune a base checkpoint on demonstrations: the whole of `vla-bench finetune`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from vla_bench.core.errors import ConventionError, OutputMismatchError
from vla_bench.core.locks import claimed
from vla_bench.models.adapters import BaseReference, save_adapter
from vla_bench.models.normalization import DatasetStatistics, statistics_for
from vla_bench.models.openvla.checkpoint import (
    Checkpoint,
    find_base,
    folder_written_whole,
    load_checkpoint,
    weights_digest,
    write_checkpoint_files,
)
from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.training.batches import BatchMaker
from vla_bench.training.config import FinetuneConfig
from vla_bench.training.dataset import DemonstrationDataset, FrameSelection, load_demonstrations, suites_of
from vla_bench.training.lora import add_lora
from vla_bench.training.statistics import dataset_statistics
from vla_bench.training.trainer import Trainer, TrainingProgress, TrainingState, make_loss
from vla_bench.training.validation import Validation, validate

REPORT_FILE = "finetune.json"


@dataclass(frozen=True)
class FinetuneReport:
    """What a run made."""

    output: str
    base: str
    steps: int
    loss: float  # smoothed, at the end
    validation: Validation | None
    trained_parameters: int
    episodes: int
    frames: int
    elapsed_s: float  # training alone
    finished: bool
    history: tuple[Mapping[str, Any], ...] = ()  # step, loss and validation at each checkpoint


def finetune(
    config: FinetuneConfig, on_progress: Callable[[TrainingProgress], None] = lambda progress: None
) -> FinetuneReport:
    """Train, write the adapter or checkpoint to `config.output`, and return the report.

    An interrupted run goes on where it last kept a checkpoint; a finished one is reported again. Raises
    `OutputMismatchError` when the output was made with another configuration.
    """
    with claimed(config.output):
        state_path = config.output.with_name(f".{config.output.name}.state.pt")
        finished = _previous(config, state_path)
        if finished is not None:
            return finished
        run = _Run(config)
        report = run.train(state_path, on_progress)
        state_path.unlink(missing_ok=True)
        return report


class _Run:
    """One fine-tuning run and everything it holds in memory."""

    def __init__(self, config: FinetuneConfig) -> None:
        self._config = config
        base_folder = find_base(config.base)
        base = load_checkpoint(base_folder)
        selection = _selection(config, base.config)
        train = load_demonstrations(config.demos, selection, "train")
        valid = load_demonstrations(config.demos, selection, "valid")
        self._statistics = _statistics(config, base, train)
        key = config.unnorm_key or "+".join(suites_of(config.demos, config.source_options()))
        self._checkpoint = replace(base, statistics={key: self._statistics})
        self._reference = BaseReference(config.base, weights_digest(base_folder))
        self._train = BatchMaker(train, base.processor, self._statistics)
        self._valid = BatchMaker(valid, base.processor, self._statistics)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = base.model.to(device)
        torch.manual_seed(config.seed)  # the adapters' first weights
        self._adapter: PeftModel | None = add_lora(self._model, config) if config.method == "lora" else None
        if self._adapter is None:
            self._model.requires_grad_(True)
        self._trainer = Trainer(self._model, self._train, config, self._validated, self._keep)

    def train(self, state_path: Path, on_progress: Callable[[TrainingProgress], None]) -> FinetuneReport:
        """Train to the end and return the report."""
        self._trainer.run(state_path, on_progress)
        return self._report()

    def _validated(self) -> Validation | None:
        loss = make_loss(self._model, self._config)
        return validate(self._model, self._valid, loss, self._statistics, self._config.validation_frames)

    def _keep(self) -> None:
        """Write what has been learnt so far, whole, in place of what was there."""
        with folder_written_whole(self._config.output) as folder:
            if self._adapter is None:
                write_checkpoint_files(folder, self._checkpoint)
            else:
                save_adapter(folder, self._adapter, self._reference, self._checkpoint)
            content = {"config": self._config.decisive(), "report": asdict(self._report())}
            (folder / REPORT_FILE).write_text(json.dumps(content, indent=2) + "\n")

    def _report(self) -> FinetuneReport:
        state: TrainingState = self._trainer.state
        return FinetuneReport(
            output=str(self._config.output),
            base=self._config.base,
            steps=state.step,
            loss=state.loss if state.loss is not None else float("nan"),
            validation=state.latest_validation,
            trained_parameters=sum(value.numel() for value in self._model.parameters() if value.requires_grad),
            episodes=self._train.dataset.episodes,
            frames=len(self._train.dataset),
            elapsed_s=round(state.elapsed_s, 1),
            finished=state.step == self._config.optimiser.steps,
            history=tuple(state.history),
        )


def _previous(config: FinetuneConfig, state_path: Path) -> FinetuneReport | None:
    """Return the report of an earlier run that finished; raise where the output is not this configuration's."""
    if not config.output.exists():
        state_path.unlink(missing_ok=True)  # its output was deleted: start anew
        return None
    try:
        content = json.loads((config.output / REPORT_FILE).read_text())
        earlier, report = content["config"], content["report"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError):
        raise OutputMismatchError(
            config.output, [f"it holds no {REPORT_FILE}, so it was not fine-tuned here"]
        ) from None
    now = json.loads(json.dumps(config.decisive()))
    keys = sorted(key for key in now.keys() | earlier.keys() if now.get(key) != earlier.get(key))
    if keys:
        raise OutputMismatchError(
            config.output, [f"{key}: {earlier.get(key)} then, {now.get(key)} now" for key in keys]
        )
    if not report["finished"]:
        return None
    validation = None if report["validation"] is None else Validation(**report["validation"])
    return FinetuneReport(**{**report, "validation": validation, "history": tuple(report["history"])})


def _selection(config: FinetuneConfig, network: OpenVLAConfig) -> FrameSelection:
    if len(config.cameras) != network.num_images:
        names = ", ".join(config.cameras)
        raise ConventionError(f"The base {config.base!r} takes {network.num_images} images; the cameras are {names}.")
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


def _statistics(config: FinetuneConfig, base: Checkpoint, train: DemonstrationDataset) -> DatasetStatistics:
    if config.statistics == "dataset":
        return dataset_statistics(train)
    return statistics_for(base.statistics, config.unnorm_key if config.unnorm_key in base.statistics else None)
