"""What every method must hold, and what is particular to one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training.trained import TrainedNetwork, logits, train
from vla_bench.models.adapters import load_finetuned, merge
from vla_bench.models.openvla.checkpoint import load_checkpoint
from vla_bench.training.methods import METHODS

ADAPTERS = [name for name in METHODS if name != "full"]
DECODINGS = ("parallel", "autoregressive")
_CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # logits in float32, sums in another order
_CLOSE_IN_BFLOAT16 = 0.1  # of the logits' spread: weights rounded to 8 bits after the adapter was added, not before


@pytest.fixture(scope="module", params=[(method, decoding) for method in METHODS for decoding in DECODINGS])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    """A trained network of each method and decoding, to be read only."""
    torch.set_num_threads(1)
    method, decoding = request.param
    return train(tmp_path_factory.mktemp(f"{method}-{decoding}"), method, decoding)


def test_merged_unmerged_and_reloaded_networks_act_as_the_one_that_was_trained(
    network: TrainedNetwork, tmp_path: Path
) -> None:
    trained = logits(network.checkpoint)
    ways = {
        "apart": load_finetuned(network.output, merge=False),
        "folded": load_finetuned(network.output, merge=True),
        "on a given base": load_finetuned(network.output, network.base),
    }
    if network.trained.adapter is not None:
        merge(network.output, tmp_path / "merged")
        ways["merged folder"] = load_finetuned(tmp_path / "merged")
    for way, checkpoint in ways.items():
        again = logits(checkpoint)
        assert torch.allclose(again, trained, **_CLOSE), way
        assert torch.equal(again.argmax(-1), trained.argmax(-1)), way
        statistics, expected = checkpoint.statistics["made_up"], network.checkpoint.statistics["made_up"]
        assert np.array_equal(statistics.action.q01, expected.action.q01), way
    untouched = logits(load_checkpoint(network.base))
    assert (trained - untouched).abs().mean() > 0.1  # so that the comparison means something


def test_only_what_was_trained_is_saved(network: TrainedNetwork) -> None:
    if network.trained.adapter is None:
        pytest.skip("the whole network was trained")
    saved = load_file(network.output / "adapter_model.safetensors")
    base = set(load_checkpoint(network.base).model.state_dict())
    assert not base & set(saved)
    assert sum(tensor.numel() for tensor in saved.values()) == network.trained.trainable_parameters
    assert sorted(path.name for path in network.output.iterdir()) in (
        ["adapter_config.json", "adapter_model.safetensors", "base.json", "dataset_statistics.json"],
        ["README.md", "adapter_config.json", "adapter_model.safetensors", "base.json", "dataset_statistics.json"],
    )
