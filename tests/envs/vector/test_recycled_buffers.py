import numpy as np

from vla_bench.envs.vector.shared_images import RecycledBuffers


def test_memory_is_used_again_once_nobody_holds_it() -> None:
    copies = RecycledBuffers()
    first = copies.copy(np.full((4, 4), 1))
    address = first.ctypes.data
    second = copies.copy(np.full((4, 4), 2))
    assert not np.shares_memory(first, second)
    assert first.max() == 1
    del first
    third = copies.copy(np.full((4, 4), 3))
    assert third.ctypes.data == address
    assert (second.max(), third.max()) == (2, 3)


def test_a_view_of_a_copy_holds_it() -> None:
    copies = RecycledBuffers()
    row = copies.copy(np.full((4, 4), 1))[2]
    reading = memoryview(copies.copy(np.full((4, 4), 2)))  # type: ignore[arg-type]  # it is a buffer
    assert copies.copy(np.full((4, 4), 3)).max() == 3
    assert copies.copy(np.full((4, 4), 4)).max() == 4
    assert row.max() == 1
    assert reading[0, 0] == 2


def test_a_caller_that_keeps_all_gets_as_many_as_it_wants() -> None:
    copies = RecycledBuffers()
    kept = [copies.copy(np.full((2, 2), number)) for number in range(20)]
    assert [array.max() for array in kept] == list(range(20))


def test_a_copy_is_contiguous_whatever_it_is_a_copy_of() -> None:
    assert RecycledBuffers().copy(np.arange(24).reshape(4, 6)[:, ::2]).flags.c_contiguous
