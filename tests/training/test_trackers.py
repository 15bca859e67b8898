import builtins
import json

import pytest

from tests.training.demonstrations import finetune_config
from vla_bench.core.errors import MissingExtraError
from vla_bench.training.finetune import finetune, log_folder
from vla_bench.training.trackers import CompositeTracker, TrackedRun, trackers


def run(folder, first_step=0) -> TrackedRun:
    return TrackedRun("plate", "vla-bench", folder, {"seed": 0}, first_step)


def steps_of(folder) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_those_that_are_there():
    assert list(trackers) == ["jsonl", "none", "tensorboard", "wandb"]


def test_the_log_of_a_resumed_run_takes_back_what_is_made_again(tmp_path):
    first = CompositeTracker.start(["jsonl"], run(tmp_path))
    for step in (1, 2, 3):
        first.log(step, {"train/loss": 1.0 / step, "train/action_l1": float("nan")})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 4, "tra')  # a crash while writing
    second = CompositeTracker.start(["jsonl"], run(tmp_path, first_step=2))
    second.log(3, {"train/loss": 0.5})
    second.close()
    assert steps_of(tmp_path) == [1, 2, 3]
    assert "action_l1" not in (tmp_path / "metrics.jsonl").read_text()
    CompositeTracker.start(["jsonl"], run(tmp_path)).close()  # started again
    assert steps_of(tmp_path) == []


def test_tensorboard_gets_every_number(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = finetune_config(tmp_path, tracker="tensorboard", log_every=2)
    report = finetune(config)
    events = EventAccumulator(str(log_folder(config.output) / "tensorboard")).Reload()
    assert {"train/loss", "train/learning_rate", "validation/action_l1"} <= set(events.Tags()["scalars"])
    last = events.Scalars("validation/action_l1")[-1]
    assert (last.step, last.value) == (6, pytest.approx(report.validation.action_l1))
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6]


def test_wandb_works_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = finetune_config(tmp_path, tracker="wandb", project="plates")
    finetune(config)
    kept = list((log_folder(config.output) / "wandb").glob("offline-run-*/*.wandb"))
    assert len(kept) == 1
    assert kept[0].stat().st_size > 1000


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_package_is_told_with_its_command(tmp_path, monkeypatch, name, package):
    real = builtins.__import__

    def without(module, *arguments, **options):
        if module == package:
            raise ImportError(module)
        return real(module, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=rf'--tracker {name} needs {name}: `pip install "vla-bench\[{name}\]"`'):
        trackers[name](run(tmp_path))


def test_an_unknown_tracker_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"No tracker named 'tensorbord'. Did you mean 'tensorboard'"):
        finetune_config(tmp_path, tracker="tensorbord")
