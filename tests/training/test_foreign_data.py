"""Training on demonstrations of other formats: mixed, split, filtered, lazily read, and end to end."""

import json
import multiprocessing
import pickle
from dataclasses import replace

import h5py
import numpy as np
import pytest

from tests.demos.other_formats import (
    OPTIONS,
    WRITERS,
    content,
    write_lerobot,
    write_libero,
    write_ours,
    write_robomimic,
)
from tests.demos.test_formats import need_lerobot
from tests.models.small import INSTRUCTIONS, small_checkpoint
from tests.training.demonstrations import SELECTION
from vla_bench.core.errors import ConventionError
from vla_bench.demos.sources import SourceOptions
from vla_bench.models.adapters import load_finetuned
from vla_bench.models.openvla.checkpoint import save_checkpoint
from vla_bench.training.batches import BatchMaker, Prefetcher
from vla_bench.training.config import AugmentationConfig, FinetuneConfig, OptimizerConfig
from vla_bench.training.dataset import dataset_statistics, load_demonstrations, steps_with_effect
from vla_bench.training.finetune import finetune
from vla_bench.training.images import CachedImages, LazyImages

FIELDS = ("end_effector_position", "gripper_position")
PLAIN = replace(SELECTION, proprioception=FIELDS)
LAZY = replace(PLAIN, cache_bytes=0)
EPISODES = tuple(content(number, INSTRUCTIONS[0], steps=8 + number) for number in range(4))


def test_files_of_several_formats_are_one_data_set(tmp_path):
    paths = [write(tmp_path, EPISODES) for write in (write_libero, write_robomimic)]
    mixed = load_demonstrations(paths, PLAIN, "train")
    alone = [load_demonstrations([path], PLAIN, "train") for path in paths]
    assert mixed.episodes == 6  # three of four train in each
    assert np.array_equal(mixed.actions, np.concatenate([one.actions for one in alone]))
    assert np.array_equal(mixed.images, np.concatenate([one.images for one in alone]))
    assert mixed.instructions == (INSTRUCTIONS[0],)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_every_format_is_the_same_data_set(tmp_path, name):
    if name == "lerobot":
        need_lerobot()
    every = replace(PLAIN, options=OPTIONS.get(name, SourceOptions()), validation_share=0.0)
    read = load_demonstrations([WRITERS[name](tmp_path, EPISODES)], every, "train")
    kept = [EPISODES[0], *EPISODES[2:]] if name == "ours" else EPISODES  # our own files bring their split
    assert np.array_equal(read.actions, np.concatenate([one.actions for one in kept]))
    assert np.allclose(
        read.proprioception, np.concatenate([np.hstack([one.position, one.fingers]) for one in kept]), atol=1e-6
    )
    for number, camera in enumerate(("agentview", "wrist")):
        assert np.array_equal(read.images[:, number], np.concatenate([one.images[camera] for one in kept]))


@pytest.mark.parametrize("side", [24, 12])
def test_images_read_on_demand_are_those_kept_in_memory(tmp_path, side):
    paths = [write_ours(tmp_path, EPISODES), write_libero(tmp_path, EPISODES)]
    lazy, kept = (load_demonstrations(paths, replace(one, image_size=side), "train") for one in (LAZY, PLAIN))
    assert isinstance(lazy.image_store, LazyImages)
    assert isinstance(kept.image_store, CachedImages)
    frames = np.random.default_rng(0).integers(0, len(lazy), 20)
    assert np.array_equal(lazy.images_of(frames), kept.images_of(frames))
    assert np.array_equal(lazy.images, kept.images)


def test_the_data_set_can_be_used_in_other_processes(tmp_path):
    dataset = load_demonstrations([write_ours(tmp_path, EPISODES)], LAZY, "train")
    frames = np.arange(6)
    expected = dataset.images_of(frames)  # this process has the file open from here on
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).images_of(frames), expected)
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert np.array_equal(pool.apply(dataset.images_of, (frames,)), expected)


def test_the_split_is_by_episode_and_follows_the_seed(tmp_path):
    path = write_libero(tmp_path, [content(number) for number in range(10)])

    def actions(subset, **changes):
        return load_demonstrations([path], replace(PLAIN, **changes), subset).actions

    halves = [actions(subset, validation_share=0.3) for subset in ("train", "valid")]
    assert [len(half) // 12 for half in halves] == [7, 3]
    assert len(np.unique(np.concatenate(halves), axis=0)) == 120
    assert np.array_equal(actions("valid", validation_share=0.3), halves[1])
    assert not np.array_equal(actions("valid", validation_share=0.3, split_seed=1), halves[1])
    assert len(actions("valid", validation_share=0.0)) == 0


def test_the_file_s_own_split_is_kept(tmp_path):
    path = write_robomimic(tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        file["mask/train"], file["mask/valid"] = np.array([b"demo_1"]), np.array([b"demo_3"])
    for subset, number in (("train", 1), ("valid", 3)):
        assert np.array_equal(load_demonstrations([path], PLAIN, subset).actions, EPISODES[number].actions)


def test_failures_are_left_out_unless_wanted(tmp_path):
    path = write_robomimic(tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            demo["rewards"][:] = 0
    with pytest.raises(ConventionError, match=r"all 4 demonstrations are failures \(`success_only = false`"):
        load_demonstrations([path], PLAIN, "train")
    assert load_demonstrations([path], replace(PLAIN, success_only=False), "train").episodes == 3


def test_noops_are_steps_without_motion_or_a_change_of_the_gripper():
    actions = np.zeros((8, 7), dtype=np.float32)
    actions[:, 6] = [-1, -1, -1, -1, 1, 1, 1, 1]
    actions[2, 0], actions[6, 4], actions[7, 1] = 0.1, -0.2, 5e-5
    assert steps_with_effect(actions).tolist() == [2, 4, 6]


def test_noops_leave_the_data_set_with_their_images(tmp_path):
    stored = []
    for one in EPISODES:
        actions = one.actions.copy()
        actions[2:4, :6], actions[2:4, 6] = 0, actions[1, 6]
        stored.append(replace(one, actions=actions))
    path = write_libero(tmp_path, stored)
    whole, dropped = (
        load_demonstrations([path], replace(PLAIN, drop_noops=drop, validation_share=0.0), "train")
        for drop in (False, True)
    )
    moved = np.linalg.norm(whole.actions[:, :6], axis=1) > 0
    assert (~moved).sum() == 8
    assert np.array_equal(dropped.actions, whole.actions[moved])
    assert np.array_equal(dropped.images, whole.images[moved])
    assert np.array_equal(dropped.chunks(np.array([1]), 2)[0], whole.actions[[1, 4]])  # chunks pass over the gap
    assert dropped.last_frame[0] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SourceOptions(gripper="open_one"), "gripper commands range from -1 to 1, but 'open_one' means 0 to 1"),
        (SourceOptions(control_hz=10), "its control rate is 10 Hz, expected 20 Hz"),
    ],
)
def test_conventions_that_do_not_fit_are_refused(tmp_path, options, message):
    path = write_libero(tmp_path, EPISODES)
    with pytest.raises(ConventionError, match=rf"reach_demo\.hdf5.*{message}"):
        load_demonstrations([path], replace(PLAIN, options=options), "train")


def test_a_gripper_of_zero_and_one_is_no_minus_one_and_one(tmp_path):
    zero_one = [replace(one, actions=np.maximum(one.actions, 0)) for one in EPISODES]
    with pytest.raises(ConventionError, match="gripper commands range from 0 to 1, but 'close_positive' means -1 to 1"):
        load_demonstrations([write_libero(tmp_path, zero_one)], PLAIN, "train")


def test_actions_in_other_units_are_refused(tmp_path):
    metres = [replace(one, actions=one.actions * [3, 1, 1, 1, 1, 1, 1]) for one in EPISODES]
    with pytest.raises(ConventionError, match=r"actions reach 2\.\d+; expected end-effector deltas scaled to -1\.\.1"):
        load_demonstrations([write_libero(tmp_path, metres)], PLAIN, "train")


def test_a_lerobot_rate_that_differs_needs_an_explicit_word(tmp_path):
    need_lerobot()
    path = write_lerobot(tmp_path, EPISODES)
    info = json.loads((path / "meta/info.json").read_text())
    (path / "meta/info.json").write_text(json.dumps({**info, "fps": 10}))
    stated = SourceOptions(gripper="close_one")
    with pytest.raises(ConventionError, match="its control rate is 10 Hz, expected 20 Hz"):
        load_demonstrations([path], replace(PLAIN, options=stated), "train")
    taken = replace(PLAIN, options=replace(stated, control_hz=20))
    assert load_demonstrations([path], taken, "train").episodes == 3


def test_one_by_one_the_answer_is_the_actions_and_the_stop_token(tmp_path):
    """As OpenVLA's labels, of which all but the last `len(action) + 1` are ignored."""
    dataset = load_demonstrations([write_libero(tmp_path, EPISODES)], PLAIN, "train")
    checkpoint, statistics = small_checkpoint("autoregressive"), dataset_statistics(dataset)
    statistics.action.q01[:6], statistics.action.q99[:6] = -1, 1  # so that normalization changes nothing
    dataset.actions[:2] = [[-1, 1, 0, 0.5, -0.5, 0, -1], [0, 0, 0, 0, 0, 0, 1]]
    batch = BatchMaker(dataset, checkpoint.processor, statistics).batch(np.array([0]))
    # A vocabulary of 640 ends in 256 bins: -1 is token 639, 1 is token 384, 0 the 128th edge. `</s>` is token 2.
    expected = [639, 384, 512, 448, 576, 512, 639, 512, 512, 512, 512, 512, 512, 384, 2]
    assert checkpoint.processor.tokenizer.decode([2]) == "</s>"
    assert batch.answer.tolist() == [expected]
    assert batch.logits(checkpoint.model).shape == (1, 15, 640)
    parallel = BatchMaker(dataset, small_checkpoint("parallel").processor, statistics).batch(np.array([0]))
    assert parallel.answer.tolist() == [expected[:-1]]


def test_batches_made_ahead_are_those_asked_for():
    made = []

    def make(number):
        made.append(number)
        if number == 5:
            raise ValueError("five")
        return number * 10

    ahead = Prefetcher(make)
    assert [ahead[number] for number in (0, 1, 2, 7, 3)] == [0, 10, 20, 70, 30]
    with pytest.raises(ValueError, match="five"):
        ahead[5]
    assert ahead[6] == 60
    ahead.close()
    assert made[:3] == [0, 1, 2]


@pytest.mark.parametrize("name", ["libero", "robomimic", "lerobot", "video"])
def test_fine_tuning_on_other_formats(tmp_path, name):
    if name in ("lerobot", "video"):
        need_lerobot()
    path = write_lerobot(tmp_path, EPISODES, video=True) if name == "video" else WRITERS[name](tmp_path, EPISODES)
    save_checkpoint(tmp_path / "base", small_checkpoint())
    config = FinetuneConfig(
        demos=(path,),
        output=tmp_path / "output",
        base=str(tmp_path / "base"),
        rank=4,
        proprioception=FIELDS,
        gripper="close_one" if name in ("lerobot", "video") else None,
        image_cache_gb=0,
        drop_noops=True,
        optimiser=OptimizerConfig(steps=20, batch_size=8, warmup_steps=2, learning_rate=1e-2),
        augmentation=AugmentationConfig(shift_pixels=0, brightness=0),
        evaluate_every=20,
    )
    losses = []
    report = finetune(config, lambda progress: losses.append(progress.loss))
    assert report.episodes == 3
    assert report.validation is not None
    assert losses[-1] < losses[0] - 0.1
    key = {"libero": "libero_goal", "robomimic": "robomimic"}.get(name, "lerobot")
    loaded = load_finetuned(tmp_path / "output").statistics[key]
    assert (loaded.num_trajectories, loaded.num_transitions) == (3, report.frames)
