import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from vla_bench.core.types import Observation
from vla_bench.envs.vector.shared_images import SharedImages, image_arrays


def observation(value: int, size: int = 8) -> Observation:
    return {
        "images": {name: np.full((size, size, 3), value, np.uint8) for name in ("wrist", "agentview")},
        "depth": {name: np.full((size, size), value / 10, np.float32) for name in ("wrist", "agentview")},
        "proprioception": np.array([value], np.float32),
        "instruction": f"number {value}",
    }


def assert_equal(found: Observation, expected: Observation) -> None:
    assert list(found) == list(expected)
    assert list(found["images"]) == list(expected["images"]), "cameras keep their order"
    for name, image in expected["images"].items():
        np.testing.assert_array_equal(found["images"][name], image)
        np.testing.assert_array_equal(found["depth"][name], expected["depth"][name])
    assert found["instruction"] == expected["instruction"]


def test_every_row_has_a_slot_of_its_own_and_what_is_taken_is_a_copy() -> None:
    shared = SharedImages(image_arrays(("agentview", "wrist"), 8, depth=True), 3)
    sent = [shared.put(row, observation(row)) for row in range(3)]
    assert all(isinstance(place, int) for message in sent for place in message["images"].values())
    taken = [shared.take(row, message) for row, message in enumerate(sent)]
    shared.put(1, observation(77))
    for row, found in enumerate(taken):
        assert_equal(found, observation(row))


@pytest.mark.parametrize("size", [4, 16])
def test_a_picture_that_is_not_as_foreseen_arrives_all_the_same(size: int) -> None:
    shared = SharedImages(image_arrays(("agentview", "wrist"), 8), 1)
    found = shared.take(0, shared.put(0, observation(5, size)))
    assert_equal(found, observation(5, size))


def test_what_has_no_pictures_goes_as_it_is() -> None:
    shared = SharedImages(image_arrays((), 8), 1)
    assert shared.take(0, shared.put(0, observation(5)))["instruction"] == "number 5"


def _write(shared: SharedImages, connection: Connection) -> None:
    connection.send(shared.put(1, observation(9)))
    connection.recv()  # until killed


def _shared_files() -> list[str]:
    """The files behind the memory that this process shares, as the system names them."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "/pym-" in line]


def test_another_process_writes_and_a_kill_leaves_nothing_behind() -> None:
    shared = SharedImages(image_arrays(("agentview", "wrist"), 8, depth=True), 2)
    assert _shared_files()
    assert all(line.endswith("(deleted)") for line in _shared_files()), "memory with a name could be left behind"
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_write, args=(shared, theirs))
    process.start()
    message = ours.recv()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert_equal(shared.take(1, message), observation(9))
