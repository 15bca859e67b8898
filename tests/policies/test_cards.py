from pathlib import Path

import numpy as np
import pytest

from tests.models.small_oft import small_oft_checkpoint
from vla_bench.core.errors import CheckpointError, ConfigurationError, ConventionError, UnknownNameError, VlaBenchError
from vla_bench.core.files import data_folder
from vla_bench.core.types import Observation
from vla_bench.models.openvla_oft.checkpoint import save_oft_checkpoint
from vla_bench.policies import EnvironmentConventions, find_policy, load_policy, policy_descriptions, policy_names

NOOP = 'kind = "noop"\ndescription = "mine"\n'
OFT = """
kind = "openvla_oft"
description = "mine"
checkpoint = "network"
image_size = 32
chunk_size = 4
"""


def card(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_every_card_of_the_package_is_valid_and_described() -> None:
    assert {"random", "noop", "expert", "openvla-nano", "lora-openvla", "openvla-oft", "pi0"} <= set(policy_names())
    assert set(policy_descriptions()) == {path.stem for path in data_folder("policies").glob("*.toml")}


def test_an_unknown_policy_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"No policy named 'rnadom'\. Did you mean 'random'\?"):
        load_policy("rnadom")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('description = "mine"', r"mine\.toml: field `kind`: is missing"),
        (
            'kind = "randon"\ndescription = "mine"',
            r"`kind`: 'randon' is not a kind.*one of blind-expert, expert, noop, openvla",
        ),
        ('kind = "random"', r"field `description`: is missing"),
        ('kind = "random"\ndescripton = "mine"\ndescription = "mine"', r"`descripton`: is not a known.* 'description'"),
        ('kind = "random"\ndescription = 3', r"field `description`: 3: Input should be a valid string"),
        (f'{NOOP}chunk = {{ execution = "open_loop", steps = 0 }}', r"field `chunk\.open_loop\.steps`: 0: .*greater"),
        (
            f'{NOOP}chunk = {{ execution = "never" }}',
            r"field `chunk`: .*'open_loop', 'receding_horizon', 'temporal_ens",
        ),
        (f'{NOOP}chunk = {{ execution = "receding_horizon" }}', r"field `chunk\.receding_horizon\.steps`: is missing"),
        (f'{NOOP}chunk = {{ execution = "temporal_ensemble", decay = -1 }}', r"field `chunk\.temporal.*\.decay`: -1"),
        ('kind = "openvla"\ndescription = "mine"\nimage_size = 96', r"field `checkpoint`: is missing"),
        (
            'kind = "openvla"\ndescription = "mine"\nimage_size = 96\ncheckpoint = "x"\ngripper = "open"',
            r"field `gripper`: 'open': .*'close_positive', 'open_positive', 'close_one' or 'open_one'",
        ),
        ("kind = random", r"field `\(whole file\)`: is not valid TOML"),
    ],
)
def test_a_wrong_card_names_file_field_and_what_is_expected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_policy(card(tmp_path, text))


def test_a_card_that_is_not_there_is_an_error() -> None:
    with pytest.raises(
        VlaBenchError, match=r"No policy card nowhere/mine\.toml\. Known policies: blind-expert, expert"
    ):
        load_policy("nowhere/mine.toml")


def test_a_card_is_named_after_its_file(tmp_path: Path) -> None:
    assert find_policy(card(tmp_path, NOOP)).name == "mine"


def test_a_checkpoint_for_a_policy_without_a_network_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(VlaBenchError, match="kind 'random' has no network"):
        find_policy("random", tmp_path)


def test_a_checkpoint_that_is_not_there_is_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"nowhere: the folder does not exist\. `vla-bench finetune` creates one"):
        find_policy("openvla-nano", Path("nowhere"))


def test_an_adapter_that_was_not_made_yet_says_how_to_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = (data_folder("policies") / "lora-openvla.toml").read_text()
    elsewhere = shipped.replace("quickstart/checkpoints", "not_made/checkpoints")  # a quickstart may have been run here
    with pytest.raises(
        CheckpointError, match=r"checkpoints/lora: the folder does not exist\. Create one with `vla-bench fi"
    ):
        load_policy(card(tmp_path, elsewhere))


def test_a_checkpoint_folder_with_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load_policy("openvla-nano", tmp_path)


def test_the_description_changes_with_the_content_of_the_checkpoint(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = find_policy("openvla-nano", tmp_path).describe()
    assert find_policy("openvla-nano", tmp_path).describe() == first
    weights.write_bytes(b"two")
    assert find_policy("openvla-nano", tmp_path).describe() != first


def test_an_adapter_given_as_checkpoint_keeps_the_card_s_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    fingerprints = find_policy("lora-openvla", tmp_path).describe()["fingerprints"]
    assert "adapter" in fingerprints
    assert fingerprints.get("checkpoint") == find_policy("openvla-nano").describe()["fingerprints"].get("checkpoint")


@pytest.mark.parametrize(
    ("chunk", "shape"),
    [
        ('chunk = { execution = "open_loop", steps = 4 }', (1, 4, 7)),
        ('chunk = { execution = "receding_horizon", steps = 3 }', (1, 3, 7)),
        ('chunk = { execution = "temporal_ensemble", decay = 0.1 }', (1, 1, 7)),
        ("", (1, 4, 7)),
    ],
)
def test_a_card_chooses_how_chunks_are_executed(tmp_path: Path, chunk: str, shape: tuple[int, ...]) -> None:
    # An untrained network that predicts 4 actions at once: only the shape of what is executed matters here.
    save_small_oft(tmp_path / "network")
    policy = load_policy(card(tmp_path, OFT + chunk))
    policy.connect(EnvironmentConventions(("agentview", "wrist"), 32, ()))
    policy.reset(["reach"], rows=[0], seeds=[0])
    images = {name: np.zeros((32, 32, 3), np.uint8) for name in ("agentview", "wrist")}
    seen: Observation = {"images": images, "proprioception": np.zeros(0, np.float32), "instruction": "reach"}
    assert policy.act([seen], rows=[0]).shape == shape


def test_a_receding_horizon_longer_than_the_predictions_is_said_when_loading(tmp_path: Path) -> None:
    save_small_oft(tmp_path / "network")
    chunk = 'chunk = { execution = "receding_horizon", steps = 4 }'
    with pytest.raises(ConventionError, match="fewer than the 4 predicted, not 4"):
        load_policy(card(tmp_path, OFT + chunk))


def save_small_oft(folder: Path) -> None:
    save_oft_checkpoint(folder, small_oft_checkpoint(proprioception_dim=0, chunk_size=4))


@pytest.mark.parametrize("name", ["openvla-7b", "openvla-7b-libero"])
def test_a_published_checkpoint_that_is_not_here_says_where_it_is_to_be_had(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"the folder does not exist\. Download huggingface\.co/openvla/.*--checkpoint PATH"
    ):
        load_policy(name)
