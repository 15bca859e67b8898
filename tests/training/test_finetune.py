import json
import shutil

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from tests.models.small import inputs, small_checkpoint
from tests.training.demonstrations import SELECTION, finetune_config
from vla_bench.core.errors import CheckpointError, ConventionError, OutputMismatchError, UnknownNameError
from vla_bench.models.adapters import ADAPTER_FILES, load_adapter, load_finetuned
from vla_bench.models.openvla.checkpoint import load_checkpoint, save_checkpoint
from vla_bench.training.batches import BatchMaker
from vla_bench.training.config import AugmentationConfig, OptimizerConfig
from vla_bench.training.dataset import load_demonstrations
from vla_bench.training.finetune import finetune
from vla_bench.training.methods.builtin import target_modules
from vla_bench.training.methods.method import apply_method
from vla_bench.training.objectives import objective_for
from vla_bench.training.trainer import TrainingDivergedError
from vla_bench.training.validation import Validator

FAST = OptimizerConfig(steps=40, batch_size=8, warmup_steps=2, learning_rate=1e-2)
PLAIN = AugmentationConfig(shift_pixels=0, brightness=0)


def weights(folder) -> dict[str, torch.Tensor]:
    name = "adapter_model.safetensors" if (folder / "adapter_model.safetensors").exists() else "model.safetensors"
    return load_file(folder / name)


def stop_after(step):
    def on_progress(progress):
        if progress.step == step:
            raise KeyboardInterrupt

    return on_progress


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("decoding", ["parallel", "autoregressive"])
def test_fine_tuning_learns(tmp_path, method, decoding):
    config = finetune_config(
        tmp_path, method=method, decoding=decoding, optimiser=FAST, augmentation=PLAIN, evaluate_every=40
    )
    losses = []
    report = finetune(config, lambda progress: losses.append(progress.loss))
    assert len(losses) == 40
    assert losses[-1] < losses[0] - 0.15  # smoothed
    assert report.finished
    assert report.validation is not None
    assert 0 < report.validation.action_l1 < 2
    assert report.episodes == 3


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, method):
    options = {"method": method, "dropout": 0.1}
    finetune(finetune_config(tmp_path, output=tmp_path / "whole", **options))
    resumed = finetune_config(tmp_path, output=tmp_path / "resumed", **options)
    with pytest.raises(KeyboardInterrupt):
        finetune(resumed, stop_after(5))  # after the checkpoint of step 4
    steps = []
    report = finetune(resumed, lambda progress: steps.append(progress.step))
    assert steps == [5, 6]
    assert [entry["step"] for entry in report.history] == [2, 4, 6]
    expected, got = weights(tmp_path / "whole"), weights(tmp_path / "resumed")
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert not [path.name for path in tmp_path.iterdir() if "state" in path.name]


def test_a_finished_run_is_not_repeated(tmp_path):
    config = finetune_config(tmp_path)
    first = finetune(config)
    steps = []
    assert finetune(config, lambda progress: steps.append(progress.step)) == first
    assert steps == []


def test_another_configuration_does_not_overwrite(tmp_path):
    finetune(finetune_config(tmp_path))
    before = (tmp_path / "output" / "adapter_model.safetensors").read_bytes()
    with pytest.raises(OutputMismatchError, match="seed: 0 then, 1 now"):
        finetune(finetune_config(tmp_path, seed=1))
    assert (tmp_path / "output" / "adapter_model.safetensors").read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    config = finetune_config(tmp_path)
    config.output.mkdir()
    (config.output / "notes.txt").write_text("mine")
    with pytest.raises(OutputMismatchError, match=r"it contains no readable finetune\.json"):
        finetune(config)
    assert (config.output / "notes.txt").read_text() == "mine"


def test_lora_trains_adapters_only(tmp_path):
    config = finetune_config(tmp_path)
    model = small_checkpoint().model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    apply_method(model, config)
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    for part in ("featurizer.encoder", "fused_featurizer", "projector.fc3", "language_model.model.layers.1.mlp"):
        assert any(part in name for name in trained), part
    assert not any("lm_head" in name for name in trained)
    frozen = {
        name.replace(".base_layer", ""): value for name, value in model.state_dict().items() if "lora_" not in name
    }
    assert frozen.keys() == before.keys()
    assert all(torch.equal(frozen[name], before[name]) for name in before)


def test_unknown_targets_are_named(tmp_path):
    with pytest.raises(UnknownNameError, match=r"Did you mean .*'q_proj'"):
        apply_method(small_checkpoint().model, finetune_config(tmp_path, targets=("q_prj",)))
    assert "q_proj" in target_modules(small_checkpoint().model, "all-linear")


def test_a_reloaded_adapter_acts_as_the_trained_network(tmp_path):
    config = finetune_config(tmp_path, optimiser=FAST, evaluate_every=40)
    report = finetune(config)
    loaded = load_finetuned(config.output)
    base = load_checkpoint(tmp_path / "base")
    again = load_adapter(base, config.output)
    batch = inputs(loaded, 4)
    untouched = load_checkpoint(tmp_path / "base")
    with torch.no_grad():
        first, second = (entry.model.action_logits(**batch) for entry in (loaded, again))
        without = untouched.model.action_logits(**batch)
    assert torch.equal(first, second)
    assert not torch.allclose(first, without, atol=0.1)
    assert set(loaded.statistics) == {"made_up"}
    assert loaded.statistics["made_up"].num_trajectories == report.episodes
    assert not any("lora" in name for name in loaded.model.state_dict())


def test_validation_of_the_reloaded_policy_is_what_was_reported(tmp_path):
    config = finetune_config(tmp_path)
    report = finetune(config)
    loaded = load_finetuned(config.output)
    statistics = loaded.statistics["made_up"]
    valid = BatchMaker(load_demonstrations(config.demos, SELECTION, "valid"), loaded.processor, statistics)
    again = Validator(valid, objective_for(loaded.model, config.optimiser), statistics, 512)(loaded.model)
    assert again is not None
    assert report.validation is not None
    assert again.action_l1 == pytest.approx(report.validation.action_l1, abs=1e-4)
    assert again.loss == pytest.approx(report.validation.loss, abs=1e-3)


def test_peft_can_load_the_adapter(finetuned):
    loaded, base = load_finetuned(finetuned / "output"), load_checkpoint(finetuned / "base")
    wrapped = PeftModel.from_pretrained(base.model, str(finetuned / "output"))
    batch = inputs(loaded, 2)
    with torch.no_grad():
        expected = loaded.model.slot_logits(**batch)
        assert torch.allclose(wrapped.base_model.model.eval().slot_logits(**batch), expected, atol=1e-4)


def test_an_adapter_of_other_weights_is_refused(tmp_path):
    config = finetune_config(tmp_path)
    finetune(config)
    save_checkpoint(tmp_path / "base", small_checkpoint(seed=9))
    with pytest.raises(CheckpointError, match="trained on other weights"):
        load_finetuned(config.output)


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory):
    """A folder with a base and an adapter made from it, to be read only."""
    folder = tmp_path_factory.mktemp("finetuned")
    finetune(finetune_config(folder))
    return folder


@pytest.mark.parametrize("name", ADAPTER_FILES)
def test_an_adapter_missing_a_file_is_refused(finetuned, tmp_path, name):
    adapter = shutil.copytree(finetuned / "output", tmp_path / "adapter")
    (adapter / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load_adapter(load_checkpoint(finetuned / "base"), adapter)


def test_an_adapter_that_does_not_fit_is_refused(finetuned, tmp_path):
    adapter = shutil.copytree(finetuned / "output", tmp_path / "adapter")
    tensors = weights(adapter)
    name, tensor = sorted(tensors.items())[0]
    for changed, message in (
        ({**tensors, name: tensor[:-1].contiguous()}, "has shape"),
        ({**tensors, "other.lora_A.weight": tensor.clone()}, "does not fit the base: other.lora_A.weight"),
        ({key: value for key, value in tensors.items() if key != name}, "lacks the tensor base_model"),
    ):
        save_file(changed, adapter / "adapter_model.safetensors")
        with pytest.raises(CheckpointError, match=message):
            load_finetuned(adapter)


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(tmp_path):
    config = finetune_config(tmp_path, evaluate_every=1)
    good = []

    def on_progress(progress):
        if progress.step == 3:
            good.append((config.output / "adapter_model.safetensors").read_bytes())
            state = tmp_path / ".output.state.pt"
            content = torch.load(state, weights_only=True)
            name = next(iter(content["weights"]))
            content["weights"][name] *= float("nan")
            torch.save(content, state)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(config, on_progress)
    with pytest.raises(TrainingDivergedError, match="step 4; the checkpoint of step 3 is stored"):
        finetune(config)
    assert (config.output / "adapter_model.safetensors").read_bytes() == good[0]
    assert json.loads((config.output / "finetune.json").read_text())["report"]["steps"] == 3


def test_statistics_of_the_base_can_be_kept(tmp_path):
    finetune(finetune_config(tmp_path, statistics="base"))
    kept = load_finetuned(tmp_path / "output").statistics["made_up"]
    base = load_checkpoint(tmp_path / "base").statistics["made_up"]
    assert np.array_equal(kept.action.q01, base.action.q01)


def test_the_wrong_number_of_cameras_is_refused(tmp_path):
    with pytest.raises(ConventionError, match="takes 2 images, but the configuration names these cameras: wrist"):
        finetune(finetune_config(tmp_path, cameras=("wrist",)))
