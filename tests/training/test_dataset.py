from dataclasses import replace

import numpy as np
import pytest

from tests.demos.synthetic import FIELDS, demonstration
from tests.models.small import small_checkpoint
from tests.training.demonstrations import SELECTION, demonstration_file
from vla_bench.core.errors import ConventionError, DemonstrationFileError
from vla_bench.training.batches import BatchMaker, frames_at
from vla_bench.training.dataset import dataset_statistics, load_demonstrations


def test_frames_are_those_of_the_file_split_by_episode(tmp_path):
    path = demonstration_file(tmp_path)
    train, valid = (load_demonstrations([path], SELECTION, subset) for subset in ("train", "valid"))
    assert (train.episodes, valid.episodes) == (3, 2)  # the second of each task validates
    first = demonstration(0, task="reach", steps=9)
    assert np.array_equal(train.images[:9, 0], first.images["agentview"])
    assert np.array_equal(train.images[:9, 1], first.images["wrist"])
    assert np.array_equal(train.proprioception[:9], first.proprioception)
    assert train.instructions[train.instruction_index[0]] == "reach for the cube"
    assert not {action.tobytes() for action in train.actions} & {action.tobytes() for action in valid.actions}


def test_past_the_end_the_robot_stands_still_and_the_gripper_holds(tmp_path):
    dataset = load_demonstrations([demonstration_file(tmp_path)], SELECTION, "train")
    chunk = dataset.chunks(np.array([7, 0]), 4)
    actions = demonstration(0, task="reach", steps=9).actions
    held = np.array([0, 0, 0, 0, 0, 0, actions[8, 6]])
    assert np.array_equal(chunk[0], [actions[7], actions[8], held, held])
    assert np.array_equal(chunk[1], actions[:4])
    assert np.array_equal(dataset.actions[:9], actions)


def test_tasks_and_fields_can_be_chosen(tmp_path):
    selection = replace(SELECTION, tasks=("made_up.put",), proprioception=("gripper_position",), proprioception_dim=2)
    dataset = load_demonstrations([demonstration_file(tmp_path)], selection, "train")
    assert dataset.episodes == 1
    assert dataset.instructions == ("put the cube in the basket",)
    assert np.array_equal(dataset.proprioception, demonstration(1, task="put", steps=10).proprioception[:, 3:])


def test_several_files_are_one_data_set(tmp_path):
    path = demonstration_file(tmp_path)
    once, twice = (load_demonstrations([path] * count, SELECTION, "train") for count in (1, 2))
    assert len(twice) == 2 * len(once)
    assert np.array_equal(twice.last_frame[len(once) :], once.last_frame + len(once))


def test_frames_are_resized_to_the_network_s_size(tmp_path):
    dataset = load_demonstrations([demonstration_file(tmp_path)], replace(SELECTION, image_size=12), "train")
    full = load_demonstrations([tmp_path / "demos.hdf5"], SELECTION, "train")
    assert dataset.images.shape[2:] == (12, 12, 3)
    means = full.images.reshape(-1, 2, 12, 2, 12, 2, 3).mean(axis=(3, 5))
    assert np.abs(dataset.images - means).mean() < 25


@pytest.mark.parametrize(
    ("selection", "header", "message"),
    [
        ({"cameras": ("agentview", "side")}, {}, "no images of camera side"),
        ({"proprioception": ("joint_positions",)}, {}, "no proprioception field joint_positions"),
        ({"proprioception_dim": 12}, {}, "has 5 values, the network takes 12"),
        ({}, {"control_hz": 10}, "its control rate is 10 Hz, expected 20 Hz"),
        ({}, {"action_convention": "open_positive"}, "'open_positive', expected 'delta_position"),
        ({"tasks": ("made_up.fly",)}, {}, "no demonstration to train on of made_up.fly"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, selection, header, message):
    with pytest.raises((ConventionError, DemonstrationFileError), match=message):
        load_demonstrations([demonstration_file(tmp_path, **header)], replace(SELECTION, **selection), "train")


def test_statistics_leave_the_gripper_alone(tmp_path):
    dataset = load_demonstrations([demonstration_file(tmp_path)], SELECTION, "train")
    statistics = dataset_statistics(dataset)
    assert statistics.action.mask.tolist() == [True] * 6 + [False]
    assert np.allclose(statistics.action.q99, np.quantile(dataset.actions.astype(float), 0.99, axis=0))
    assert statistics.proprioception is not None
    assert statistics.proprioception.mask.shape == (sum(field.size for field in FIELDS),)
    assert (statistics.num_trajectories, statistics.num_transitions) == (3, len(dataset))


def test_batches_hold_the_right_answer_tokens(tmp_path):
    dataset = load_demonstrations([demonstration_file(tmp_path)], SELECTION, "train")
    checkpoint, statistics = small_checkpoint(), dataset_statistics(dataset)
    maker = BatchMaker(dataset, checkpoint.processor, statistics)
    frames = np.array([0, 12, 20])
    batch = maker.batch(frames)
    decoded = checkpoint.action_tokenizer.decode(batch.answer.numpy()).reshape(3, 2, 7)
    wanted = np.clip(maker.actions(frames), statistics.action.q01, statistics.action.q99)
    assert np.abs(statistics.action.unnormalize(decoded) - wanted).max() < 0.01
    ids, _ = checkpoint.processor.tokenize_instructions([dataset.instructions[dataset.instruction_index[12]]])
    assert np.array_equal(batch.input_ids[1], ids[0])


def test_every_pass_shows_every_frame_once_in_a_new_order():
    first, second = frames_at(np.arange(20), 10, seed=3).reshape(2, 10)
    assert sorted(first) == sorted(second) == list(range(10))
    assert not np.array_equal(first, second)
    assert not np.array_equal(frames_at(np.arange(4), 10, seed=4), first[:4])
