"""Complete fine-tuning runs: their output files and exact resumption."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training.demonstrations import PROPRIOCEPTION, finetune_config
from vla_bench.core.errors import CheckpointError, ConventionError
from vla_bench.models.adapters import load_finetuned
from vla_bench.training import finetune as runs
from vla_bench.training.augmentation.scene import AugmentationRefusedError
from vla_bench.training.batches import BatchMaker
from vla_bench.training.config import AugmentationConfig, FinetuneConfig, OptimizerConfig
from vla_bench.training.finetune import finetune, log_folder
from vla_bench.training.trainer import TrainingDivergedError

AHEAD = {"position_world": (0.54, 0.0, 1.4), "quat_wxyz_world": (0.643237, 0.293677, 0.293677, 0.643237)}
EVERYTHING = AugmentationConfig(
    flip=0.5,
    shift_pixels=2,
    crop_area=0.8,
    brightness=0.1,
    contrast=0.1,
    saturation=0.1,
    hue=0.02,
    noise=2.0,
    cameras={"agentview": AHEAD, "wrist": AHEAD},
    robot_base_position_world=(-0.56, 0.0, 0.9),
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("*model.safetensors")))


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def lines(config: FinetuneConfig) -> list[dict]:
    log = (log_folder(config.output) / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if "per_s" not in key} for line in log]


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("killed_at", [4, 9, 11])
def test_a_run_killed_within_a_step_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path, monkeypatch, method, killed_at
):
    """With dropout and every augmentation, within an accumulation and an epoch; the log is the same as well."""
    options = {
        "method": method,
        "dropout": 0.1,
        "augmentation": EVERYTHING,
        "optimiser": OptimizerConfig(epochs=3, batch_size=7, accumulate=2, learning_rate=1e-2),  # 3 steps an epoch
        "evaluate_every": 2,
        "log_every": 1,
    }
    whole = finetune_config(tmp_path, output=tmp_path / "whole", **options)
    report = finetune(whole)
    assert report.steps == 9
    killed = finetune_config(tmp_path, output=tmp_path / "killed", **options)
    make, made = BatchMaker.batch, []

    def dying(self, frames, draw=None):
        if draw is not None:
            made.append(len(frames))
            if len(made) == killed_at:
                raise KeyboardInterrupt
        return make(self, frames, draw)

    with monkeypatch.context() as patch:
        patch.setattr(BatchMaker, "batch", dying)
        with pytest.raises(KeyboardInterrupt):
            finetune(killed)
    again = finetune(killed, resume=killed_at > 5)  # before that nothing had been kept
    assert same(whole.output, killed.output)
    assert same(whole.output / "best", killed.output / "best")
    assert again.history == report.history
    assert lines(whole) == lines(killed)
    assert [line["step"] for line in lines(whole)] == list(range(1, 10))


def test_the_output_is_the_last_checkpoint_and_best_is_within(tmp_path):
    steps = OptimizerConfig(steps=30, batch_size=8, learning_rate=3e-2, schedule="constant")
    config = finetune_config(tmp_path, optimiser=steps, evaluate_every=2)
    report = finetune(config)
    errors = {entry["step"]: entry["validation"]["action_l1"] for entry in report.history}
    assert report.best_step == min(errors, key=errors.__getitem__)
    assert report.best_validation.action_l1 == min(errors.values())
    assert report.validation.action_l1 == errors[30]
    assert report.best_step != 30  # so that the two differ here
    assert not same(config.output, config.output / "best")
    told = json.loads((config.output / "best" / "finetune.json").read_text())["report"]
    assert told["steps"] == report.best_step
    for folder in (config.output, config.output / "best"):
        assert load_finetuned(folder).statistics.keys() == {"made_up"}


def test_a_checkpoint_that_is_the_best_is_on_the_disk_once(tmp_path):
    config = finetune_config(tmp_path, optimiser=OptimizerConfig(steps=2, batch_size=8), evaluate_every=2)
    finetune(config)
    files = [folder / "adapter_model.safetensors" for folder in (config.output, config.output / "best")]
    assert files[0].samefile(files[1])


def test_numbered_checkpoints_are_kept_as_many_as_wanted(tmp_path):
    config = finetune_config(tmp_path, keep_checkpoints=2, save_every=1, evaluate_every=6)
    finetune(config)
    assert sorted(path.name for path in config.output.iterdir() if path.is_dir()) == [
        "best",
        "step-000005",
        "step-000006",
    ]
    assert same(config.output, config.output / "step-000006")
    assert not same(config.output, config.output / "step-000005")


def test_a_run_stops_early_when_nothing_improves(tmp_path):
    steps = OptimizerConfig(steps=40, batch_size=8, learning_rate=3e-2, schedule="constant")
    report = finetune(finetune_config(tmp_path, optimiser=steps, evaluate_every=2, patience=3))
    assert report.steps < 40
    assert report.finished
    assert report.steps == report.best_step + 2 * 3
    assert finetune(finetune_config(tmp_path, optimiser=steps, evaluate_every=2, patience=3)) == report


def test_the_configuration_is_saved_and_makes_the_same_run_again(tmp_path):
    config = finetune_config(tmp_path)
    finetune(config)
    import tomllib

    saved = FinetuneConfig.model_validate(tomllib.loads((config.output / "finetune.toml").read_text()))
    assert saved == config


def test_there_is_nothing_to_resume_at_first(tmp_path):
    config = finetune_config(tmp_path)
    with pytest.raises(CheckpointError, match="there is no run to resume; leave out --resume to start one"):
        finetune(config, resume=True)
    assert not config.output.exists()
    report = finetune(config)
    assert finetune(config, resume=True) == report


def test_options_of_logging_may_change_when_a_run_is_resumed(tmp_path):
    report = finetune(finetune_config(tmp_path))
    assert finetune(finetune_config(tmp_path, log_every=3, project="other")) == report


def test_a_sample_with_a_non_finite_loss_is_named(tmp_path, monkeypatch):
    """Files with NaN are refused when they are read, so the NaN is inserted afterwards."""
    load = runs.load_subset

    def damaged(sources, selection, subset):
        dataset = load(sources, selection, subset)
        if subset == "train":
            dataset.proprioception[4, 1] = np.nan  # the fifth step of the first episode
        return dataset

    monkeypatch.setattr(runs, "load_subset", damaged)
    config = finetune_config(
        tmp_path, statistics="base", optimiser=OptimizerConfig(epochs=1, batch_size=8, accumulate=2)
    )
    with pytest.raises(TrainingDivergedError) as caught:
        finetune(config)
    text = str(caught.value)
    assert "is not finite at step" in text
    assert f"1 of the 16 samples of the step are non-finite: {tmp_path / 'demos.hdf5'} demo_0 step 4." in text


def test_diverged_weights_are_distinguished_from_bad_samples(tmp_path):
    steps = OptimizerConfig(steps=30, batch_size=8, learning_rate=1e18, warmup_steps=0, gradient_clip=0)
    config = finetune_config(tmp_path, method="full", optimiser=steps, evaluate_every=50)
    with pytest.raises(
        TrainingDivergedError, match="The losses of all 8 samples of the step are non-finite, so the weights have"
    ):
        finetune(config)
    assert not config.output.exists()


def test_a_prompt_that_is_too_long_is_refused_not_cut(tmp_path):
    with pytest.raises(ConventionError, match=r"The prompt of '.*' is \d+ tokens long, but max_prompt_tokens is 5"):
        finetune(finetune_config(tmp_path, max_prompt_tokens=5))
    finetune(finetune_config(tmp_path, max_prompt_tokens=50))


def test_a_flip_that_no_camera_allows_is_refused_before_training(tmp_path):
    wrist = {**AHEAD, "moves_with": "right_hand"}
    augmentation = EVERYTHING.model_copy(
        update={"cameras": AugmentationConfig(cameras={"agentview": AHEAD, "wrist": wrist}).cameras}
    )
    config = finetune_config(tmp_path, augmentation=augmentation)
    with pytest.raises(AugmentationRefusedError, match="camera 'wrist': it moves with right_hand"):
        finetune(config)
    assert not config.output.exists()


def test_statistics_of_a_run_with_flips_are_symmetric(tmp_path):
    config = finetune_config(tmp_path, augmentation=EVERYTHING)
    finetune(config)
    action = load_finetuned(config.output).statistics["made_up"].action
    for index in (1, 3, 5):  # what a mirror turns round
        assert action.q01[index] == pytest.approx(-action.q99[index], abs=1e-6)
    assert action.q01[0] != pytest.approx(-action.q99[0], abs=1e-6)


def test_two_processes_train_as_one_with_twice_the_batch(tmp_path):
    """Under torchrun, with augmentation and an incomplete last group; only the main process writes."""
    options = {"augmentation": EVERYTHING, "method": "lora", "log_every": 1, "proprioception": PROPRIOCEPTION}
    alone = OptimizerConfig(epochs=2, batch_size=10, accumulate=2, learning_rate=1e-2)
    one = finetune_config(tmp_path, output=tmp_path / "one", optimiser=alone, **options)
    report = finetune(one)
    shared = alone.model_copy(update={"batch_size": 5})
    two = finetune_config(tmp_path, output=tmp_path / "two", optimiser=shared, **options)
    (tmp_path / "two.toml").write_text(two.to_toml())
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vla_bench"]
    done = subprocess.run(
        [*launch, "finetune", "--config", str(tmp_path / "two.toml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    expected, got = weights(one.output), weights(two.output)
    assert (
        max(float((expected[name] - got[name]).abs().max()) for name in expected) < 1e-4
    )  # of AdamW, which divides by small numbers
    assert max(float(value.abs().max()) for value in got.values()) > 0.1
    for first, second in zip(lines(one), lines(two), strict=True):
        assert first.keys() == second.keys()
        assert all(second[key] == pytest.approx(first[key], rel=1e-3, abs=1e-4) for key in first)
    told = json.loads((two.output / "finetune.json").read_text())["report"]
    assert told["steps"] == report.steps == 4
    assert done.stdout.count("steps in") == 1
