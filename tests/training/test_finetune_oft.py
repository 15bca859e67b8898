"""OpenVLA-OFT networks are fine-tuned, saved, resumed, merged and run as policies."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.demos.synthetic import FIELDS
from tests.models.openvla.published import write_published
from tests.models.small import small_checkpoint
from tests.models.small_oft import small_oft_checkpoint
from tests.training.demonstrations import PROPRIOCEPTION, demonstration_file, finetune_config
from vla_bench.core.errors import CheckpointError, ConventionError, UnknownNameError
from vla_bench.models.adapters import load_finetuned, merge
from vla_bench.models.networks.openvla import build_network
from vla_bench.models.normalization import VectorStatistics, unnormalize_oft_actions
from vla_bench.models.openvla.checkpoint import save_checkpoint
from vla_bench.models.openvla.config import ModelConfigError
from vla_bench.models.openvla_oft.checkpoint import OFTCheckpoint, load_oft_checkpoint, save_oft_checkpoint
from vla_bench.policies import EnvironmentConventions, load_policy
from vla_bench.training.config import AugmentationConfig, FinetuneConfig, OptimizerConfig
from vla_bench.training.distributed import SINGLE_PROCESS
from vla_bench.training.finetune import _Run, finetune
from vla_bench.training.plan import PlannedRun, network_config, plan

pytestmark = pytest.mark.usefixtures("processor_only")

METHODS = ("full", "lora", "dora", "adapter", "qlora")
LONGER = OptimizerConfig(steps=30, batch_size=8, warmup_steps=2, learning_rate=5e-3)
SEEN = np.random.default_rng(3).integers(0, 256, (2, 2, 24, 24, 3), dtype=np.uint8)
FELT = np.random.default_rng(4).normal(size=(2, 5)).astype(np.float32)
ASKED = ("reach for the cube", "put the cube in the basket")


def oft_config(folder: Path, *, is_published: bool = False, chunk: int = 8, **changes) -> FinetuneConfig:
    """Write an OFT base and demonstrations into `folder` and return a run of a few steps."""
    if not (folder / "base").exists():
        save_oft_checkpoint(folder / "base", small_oft_checkpoint(proprioception_dim=5, chunk_size=chunk), step=150000)
        demonstration_file(folder)
        if is_published:
            (folder / "base" / "network.json").unlink()
    return finetune_config(folder, **{"reduction": 2, "augmentation": AugmentationConfig(), **changes})


def actions(checkpoint: OFTCheckpoint) -> np.ndarray:
    """Return the actions of the network for what is seen above, in the units of the data."""
    statistics = checkpoint.statistics["made_up"]
    ids, mask = checkpoint.processor.tokenize_instructions(ASKED)
    felt = torch.from_numpy(statistics.proprioception.normalize(FELT))
    with torch.no_grad():
        predicted = checkpoint.model.eval().predict_normalized(ids, mask, checkpoint.processor.images(SEEN), felt)
    return np.clip(unnormalize_oft_actions(statistics.action, predicted.numpy()), -1, 1)


def acted(folder: Path) -> np.ndarray:
    """Return the actions of the policy that the command line makes of `folder`, for the same."""
    policy = load_policy("openvla-oft", folder)
    policy.connect(EnvironmentConventions(("agentview", "wrist"), 24, FIELDS))
    policy.reset(ASKED, rows=(0, 1), seeds=(0, 0))
    observations = [
        {"images": dict(zip(("agentview", "wrist"), images, strict=True)), "proprioception": felt, "instruction": text}
        for images, felt, text in zip(SEEN, FELT, ASKED, strict=True)
    ]
    return policy.act(observations, rows=(0, 1))


def trained_network(config: FinetuneConfig) -> tuple[OFTCheckpoint, list[float]]:
    """Train in this process and return the very network that was trained, with its losses."""
    losses: list[float] = []
    run = _Run(config, SINGLE_PROCESS)
    run.train(config.output.with_name("state.pt"), lambda progress: losses.append(progress.loss))
    return run._checkpoint, losses


@pytest.mark.parametrize("method", METHODS)
def test_it_learns_and_the_policy_acts_as_the_trained_network(tmp_path: Path, method: str) -> None:
    config = oft_config(tmp_path, method=method, optimiser=LONGER, evaluate_every=30)
    before = actions(load_oft_checkpoint(tmp_path / "base"))
    trained, losses = trained_network(config)
    assert losses[-1] < 0.9 * losses[0]  # smoothed
    wanted = actions(trained)
    assert np.abs(wanted - before).max() > 0.05
    assert acted(config.output) == pytest.approx(wanted, abs=1e-4 if method != "qlora" else 2e-2)
    assert actions(load_finetuned(config.output, merge=False)) == pytest.approx(wanted, abs=1e-5)
    if method != "full":
        merge(config.output, tmp_path / "merged")
        assert acted(tmp_path / "merged") == pytest.approx(wanted, abs=1e-4 if method != "qlora" else 2e-2)
    if method not in ("full", "adapter"):
        assert {file.name for file in (tmp_path / "merged").glob("*.pt")} == {
            "action_head--latest_checkpoint.pt",
            "proprio_projector--latest_checkpoint.pt",
        }


def test_head_and_projector_are_trained_whole_beside_lora(tmp_path: Path) -> None:
    config = oft_config(tmp_path)
    finetune(config)
    saved, base = load_file(config.output / "adapter_model.safetensors"), load_oft_checkpoint(tmp_path / "base").model
    whole = {name.removeprefix("base_model.model."): value for name, value in saved.items() if "lora_" not in name}
    expected = [
        f"{part}.{name}"
        for part in ("action_head", "proprioception_projector")
        for name in getattr(base, part).state_dict()
    ]
    assert sorted(whole) == sorted(expected)
    assert all(not torch.equal(whole[name], base.get_parameter(name)) for name in expected)
    adapted = [name for name in saved if "lora_" in name]
    for part in ("vla.vision_backbone.featurizer", "vla.projector.fc1", "vla.language_model.model.layers.1.mlp"):
        assert any(part in name for name in adapted), part


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, method: str) -> None:
    options = {"method": method, "dropout": 0.1}
    finetune(oft_config(tmp_path, output=tmp_path / "whole", **options))

    def stop(progress):
        if progress.step == 5:  # after the checkpoint of step 4
            raise KeyboardInterrupt

    config = oft_config(tmp_path, output=tmp_path / "resumed", **options)
    with pytest.raises(KeyboardInterrupt):
        finetune(config, stop)
    steps: list[int] = []
    finetune(config, lambda progress: steps.append(progress.step))
    assert steps == [5, 6]
    for name in ("adapter_model.safetensors", "model.safetensors", "action_head--latest_checkpoint.pt"):
        if (tmp_path / "whole" / name).exists():
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes(), name


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_plain_base_gets_a_new_head(tmp_path: Path, method: str) -> None:
    demonstration_file(tmp_path)
    base = small_checkpoint("autoregressive")
    config = replace(base.config, proprioception_dim=0, chunk_size=1)
    plain = type(base.model)(config)
    missing = plain.load_state_dict(base.model.state_dict(), strict=False).missing_keys
    assert missing == []
    save_checkpoint(tmp_path / "base", replace(base, model=plain, processor=replace(base.processor, config=config)))
    run = finetune_config(tmp_path, action_head="l1", chunk_size=4, method=method, optimiser=LONGER, evaluate_every=30)
    trained, losses = trained_network(run)
    assert losses[-1] < 0.9 * losses[0]
    assert trained.config.chunk_size == 4
    wanted = actions(trained)
    assert wanted.shape == (2, 4, 7)
    assert acted(run.output) == pytest.approx(wanted, abs=1e-4)


def test_a_published_base_learns_chunks_of_the_size_asked_for(tmp_path: Path) -> None:
    config = oft_config(tmp_path, is_published=True, chunk_size=3)
    finetune(config)
    assert load_finetuned(config.output).config.chunk_size == 3
    published = Path("policies/openvla-oft.toml").read_text()
    (tmp_path / "card.toml").write_text(f'checkpoint = "{config.output}"\n{published}')
    with pytest.raises(ConventionError, match=r"network predicts 3 actions, but the card has chunk_size 8"):
        load_policy(str(tmp_path / "card.toml"))


def test_bfloat16_trains(tmp_path: Path) -> None:
    for precision in ("bf16", "bf16-weights"):
        report = finetune(oft_config(tmp_path, precision=precision, output=tmp_path / precision))
        assert report.validation is not None
        assert 0 < report.validation.action_l1 < 2


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"trained with 2 images \(network\.json\), not 1"):
        finetune(oft_config(tmp_path, cameras=("wrist",)))
    with pytest.raises(CheckpointError, match=r"trained on chunks of 8 actions \(network\.json\), not 4"):
        finetune(oft_config(tmp_path, chunk_size=4))
    with pytest.raises(ConventionError, match=r"proprioception .* has 3 values, the network takes 5"):
        finetune(oft_config(tmp_path, proprioception=PROPRIOCEPTION[:1]))
    with pytest.raises(ConventionError, match=r"proprioception \(none\) has 0 values, the network takes 5"):
        finetune(oft_config(tmp_path, proprioception=()))
    assert not (tmp_path / "output").exists()


def test_a_base_that_cannot_have_the_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelConfigError, match="autoregressive decoding and without proprioception"):
        finetune(finetune_config(tmp_path, action_head="l1"))


def test_chunks_of_another_size_are_no_matter_of_a_token_base(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it predicts 2 actions at once, not 3\. Omit chunk_size"):
        finetune(finetune_config(tmp_path, chunk_size=3))


def test_statistics_of_the_demonstrations_are_saved(tmp_path: Path) -> None:
    config = oft_config(tmp_path)
    finetune(config)
    statistics = load_finetuned(config.output).statistics["made_up"]
    assert isinstance(statistics.proprioception, VectorStatistics)
    assert len(statistics.proprioception.mean) == 5


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_plan_counts_what_training_trains(tmp_path: Path, method: str) -> None:
    config = oft_config(tmp_path, method=method)
    made = plan(PlannedRun(**config.model_dump()))
    report = finetune(config)
    assert made.trainable_parameters == report.trained_parameters
    assert made.total_parameters == report.total_parameters
    assert made.memory.activations > 0


def test_a_new_head_can_be_planned_by_name() -> None:
    asked = PlannedRun(base="openvla-7b", method="full", action_head="l1", cameras=("agentview", "wrist"))
    with torch.device("meta"):
        plain = sum(value.numel() for value in build_network(network_config("openvla-7b")).parameters())
    assert plan(asked).total_parameters - plain > 100e6


def test_a_published_base_is_merged_into_the_published_layout(tmp_path: Path) -> None:
    # Shards with timm's names and tensors that our network does not build; the parts in the original's files.
    write_published(tmp_path / "base", shards=3)
    demonstration_file(tmp_path)
    config = finetune_config(tmp_path, action_head="l1", optimiser=OptimizerConfig(steps=2, batch_size=2))
    finetune(config)
    merge(config.output, tmp_path / "merged")
    stored, base = weight_names(tmp_path / "merged"), weight_names(tmp_path / "base")
    assert stored == base
    merged, apart = load_oft_checkpoint(tmp_path / "merged"), load_finetuned(config.output, merge=False)
    size = merged.config.image_size
    images = np.random.default_rng(0).integers(0, 256, (1, 2, size, size, 3), dtype=np.uint8)
    ids, mask = merged.processor.tokenize_instructions(ASKED[:1])
    inputs = (ids, mask, merged.processor.images(images), torch.from_numpy(FELT[:1]))
    with torch.no_grad():
        predicted = [made.model.predict_normalized(*inputs) for made in (merged, apart)]
    assert torch.allclose(*predicted, atol=1e-4)


def weight_names(folder: Path) -> set[str]:
    return {name for file in folder.glob("*.safetensors") for name in load_file(file)}


def test_gradient_checkpointing_changes_nothing_but_memory(tmp_path: Path) -> None:
    plain, saving = (
        finetune(oft_config(tmp_path, output=tmp_path / str(saves), gradient_checkpointing=saves))
        for saves in (False, True)
    )
    assert saving.loss == pytest.approx(plain.loss, abs=1e-5)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    config = oft_config(tmp_path)
    finetune(config)
    record = config.output / "network.json"
    content = record.read_text()
    record.write_text("[")
    with pytest.raises(CheckpointError, match=r"network\.json is malformed"):
        load_policy("openvla-oft", config.output)
    record.write_text(content.replace("openvla_oft", "openvla_of"))
    with pytest.raises(UnknownNameError, match="Did you mean 'openvla_oft'"):
        load_finetuned(config.output)


def test_an_adapter_of_another_network_is_named(tmp_path: Path) -> None:
    config = finetune_config(tmp_path)
    finetune(config)
    with pytest.raises(CheckpointError, match="belongs to a network without an OpenVLA-OFT head"):
        load_policy("openvla-oft", config.output)
