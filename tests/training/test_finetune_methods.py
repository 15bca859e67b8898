"""Whole fine-tuning runs by each method that is not held elsewhere already."""

import pytest

from tests.training.demonstrations import SELECTION, finetune_config
from vla_bench.models.adapters import load_finetuned
from vla_bench.training.batches import BatchMaker
from vla_bench.training.config import AugmentationConfig, OptimizerConfig
from vla_bench.training.dataset import load_demonstrations
from vla_bench.training.finetune import finetune
from vla_bench.training.methods import METHODS
from vla_bench.training.objectives import objective_for
from vla_bench.training.validation import Validator

OTHERS = sorted(set(METHODS) - {"full", "lora"})
LONGER = OptimizerConfig(steps=40, batch_size=8, warmup_steps=2, learning_rate=1e-2)


@pytest.mark.parametrize("method", OTHERS)
def test_it_learns_and_acts_as_validated_when_loaded_again(tmp_path, method):
    config = finetune_config(
        tmp_path, method=method, reduction=2, optimiser=LONGER, augmentation=AugmentationConfig(), evaluate_every=40
    )
    losses = []
    report = finetune(config, lambda progress: losses.append(progress.loss))
    assert losses[-1] < losses[0] - 0.1  # smoothed
    assert 0 < report.trained_parameters < 0.5 * report.total_parameters
    for merge in (False, True):
        loaded = load_finetuned(config.output, merge=merge)
        statistics = loaded.statistics["made_up"]
        valid = BatchMaker(load_demonstrations(config.demos, SELECTION, "valid"), loaded.processor, statistics)
        again = Validator(valid, objective_for(loaded.model, config.optimiser), statistics, 512)(loaded.model)
        assert again is not None
        assert report.validation is not None
        assert again.action_l1 == pytest.approx(report.validation.action_l1, abs=1e-4)
        assert again.loss == pytest.approx(report.validation.loss, abs=1e-3)


@pytest.mark.parametrize("method", OTHERS)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, method):
    def stop(progress):
        if progress.step == 5:  # after the checkpoint of step 4
            raise KeyboardInterrupt

    finetune(finetune_config(tmp_path, output=tmp_path / "whole", method=method, dropout=0.1))
    resumed = finetune_config(tmp_path, output=tmp_path / "resumed", method=method, dropout=0.1)
    with pytest.raises(KeyboardInterrupt):
        finetune(resumed, stop)
    finetune(resumed, resume=True)
    name = "adapter_model.safetensors"
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes()
