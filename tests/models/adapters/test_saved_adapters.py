"""Adapters on disk: what does not fit or is damaged says so, and nothing is overwritten."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.models.small import small_checkpoint
from tests.training.trained import TrainedNetwork, logits, train
from vla_bench.core.errors import CheckpointError
from vla_bench.models.adapters import ADAPTER_FILES, load_adapter, load_finetuned, merge, read_base
from vla_bench.models.adapters.loading import OutputExistsError
from vla_bench.models.openvla.checkpoint import load_checkpoint, save_checkpoint

METHODS = ("lora", "adapter")  # one of each form


@pytest.fixture(scope="module", params=METHODS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    """A trained adapter, to be read only."""
    return train(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def adapter(network: TrainedNetwork, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(network.output, tmp_path / "adapter")


@pytest.mark.parametrize("name", ADAPTER_FILES)
def test_a_missing_file_is_named(adapter: Path, name: str) -> None:
    (adapter / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        read_base(adapter)


def test_damaged_weights_are_an_error(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors is damaged"):
        load_finetuned(adapter)


@pytest.mark.parametrize("name", ["adapter_config.json", "base.json"])
def test_a_file_that_is_no_json_is_an_error(adapter: Path, name: str) -> None:
    (adapter / name).write_text('{"rank": ')
    with pytest.raises(CheckpointError, match=f"{name} is malformed"):
        load_finetuned(adapter)


def test_a_form_that_is_not_known_is_an_error(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "PREFIX_TUNING"}))
    with pytest.raises(CheckpointError, match=r"unknown adapter type 'prefix_tuning'\. Known: bottleneck, lora"):
        load_finetuned(adapter)


def test_another_shape_than_the_weights_have_is_an_error(network: TrainedNetwork, adapter: Path) -> None:
    content = json.loads((adapter / "adapter_config.json").read_text())
    changed = {"reduction": 8} if "reduction" in content else {"r": 2}
    (adapter / "adapter_config.json").write_text(json.dumps({**content, **changed}))
    with pytest.raises(CheckpointError, match=r"has shape .*\. Expected"):
        load_finetuned(adapter)


def test_bottlenecks_where_there_are_no_blocks_are_an_error(adapter: Path) -> None:
    content = json.loads((adapter / "adapter_config.json").read_text())
    if "parts" not in content:
        return
    for changed, text in (({"parts": ["ears"]}, "no transformer blocks in ears"), ({"reduction": 0}, "reduction is 0")):
        (adapter / "adapter_config.json").write_text(json.dumps({**content, **changed}))
        with pytest.raises(CheckpointError, match=f"does not fit the base: .*{text}"):
            load_finetuned(adapter)
    (adapter / "adapter_config.json").write_text(json.dumps({"adapter_type": "bottleneck", "parts": []}))
    with pytest.raises(CheckpointError, match="field 'reduction' is missing"):
        load_finetuned(adapter)


def test_another_base_is_refused(network: TrainedNetwork, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "other", small_checkpoint(seed=9))
    for load in (load_finetuned, lambda folder, base: merge(folder, tmp_path / "merged", base)):
        with pytest.raises(CheckpointError, match="it was trained on other weights of"):
            load(network.output, tmp_path / "other")
    assert not (tmp_path / "merged").exists()


def test_a_base_moved_elsewhere_will_do(network: TrainedNetwork, adapter: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(network.base, tmp_path / "moved")
    assert torch.equal(logits(load_finetuned(adapter, moved)), logits(load_finetuned(network.output)))


def test_merging_overwrites_nothing(network: TrainedNetwork, tmp_path: Path) -> None:
    output = tmp_path / "there"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"there already exists .* Choose another --output"):
        merge(network.output, output)
    assert (output / "notes.txt").read_text() == "mine"


def test_a_full_checkpoint_has_nothing_to_merge(network: TrainedNetwork, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="it is a full checkpoint without an adapter to merge"):
        merge(network.base, tmp_path / "merged")


def test_what_can_be_folded_becomes_a_plain_checkpoint(network: TrainedNetwork, tmp_path: Path) -> None:
    report = merge(network.output, tmp_path / "merged")
    if report.unmergeable_reason is None:
        checkpoint = load_checkpoint(tmp_path / "merged")
        assert checkpoint.model.state_dict().keys() == load_checkpoint(network.base).model.state_dict().keys()
        assert torch.allclose(logits(checkpoint), logits(load_finetuned(network.output)), atol=1e-5)
        return
    assert "nonlinearity" in report.unmergeable_reason
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):  # never loaded without its adapter
        load_checkpoint(tmp_path / "merged")


def test_a_merged_folder_needs_its_base_no_more(network: TrainedNetwork, tmp_path: Path) -> None:
    expected = logits(load_finetuned(network.output))
    base = shutil.copytree(network.base, tmp_path / "base")
    adapter = shutil.copytree(network.output, tmp_path / "adapter")
    merge(adapter, tmp_path / "merged", base)
    shutil.rmtree(base)
    shutil.rmtree(adapter)
    moved = (tmp_path / "merged").rename(tmp_path / "moved")
    assert torch.allclose(logits(load_finetuned(moved)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"nmae": "x"}, "nmae: Unexpected keyword argument"), ({"name": 5}, "name: Input should be a valid string")],
)
def test_a_base_record_with_a_wrong_field_names_it(adapter: Path, change: dict[str, object], message: str) -> None:
    content = json.loads((adapter / "base.json").read_text())
    (adapter / "base.json").write_text(json.dumps(content | change))
    with pytest.raises(CheckpointError, match=rf"base\.json is malformed: {message}"):
        read_base(adapter)


def test_an_adapter_saved_before_bases_were_quantised_still_loads(adapter: Path) -> None:
    content = json.loads((adapter / "base.json").read_text())
    assert content.pop("quantisation") is None
    (adapter / "base.json").write_text(json.dumps(content))
    assert read_base(adapter).quantisation is None
    load_adapter(load_checkpoint(Path(content["name"])), adapter)
