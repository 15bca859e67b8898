import numpy as np
import pytest

from vla_bench.training.batches import SampleOrder, frames_at


def order(frames=10, batch_size=4, accumulate=1, processes=1, whole_epochs=False):
    return SampleOrder(frames, batch_size, accumulate, processes, seed=3, whole_epochs=whole_epochs)


def frames_of(step, one, process=0):
    shares = one.micro_batches(step, process)
    return np.concatenate([share.frames for share in shares]) if shares else np.empty(0, dtype=np.int64)


def test_without_whole_epochs_batches_are_those_of_the_endless_order():
    one = order(accumulate=2)
    for step in range(4):
        first, second = one.micro_batches(step, 0)
        assert np.array_equal(first.frames, frames_at(np.arange(8 * step, 8 * step + 4), 10, 3))
        assert np.array_equal(second.frames, frames_at(np.arange(8 * step + 4, 8 * step + 8), 10, 3))
        assert (first.weight, second.weight) == (0.5, 0.5)
        assert (first.number, second.number) == (2 * step, 2 * step + 1)


@pytest.mark.parametrize(("accumulate", "processes"), [(1, 1), (2, 1), (1, 2), (2, 2), (3, 4)])
def test_a_whole_epoch_shows_every_frame_once(accumulate, processes):
    one = order(23, 2, accumulate, processes, whole_epochs=True)
    for epoch in range(2):
        steps = range(epoch * one.steps_per_epoch, (epoch + 1) * one.steps_per_epoch)
        seen = [frames_of(step, one, process) for step in steps for process in range(processes)]
        assert sorted(np.concatenate(seen)) == list(range(23))


def test_the_last_group_of_an_epoch_is_weighed_by_its_samples():
    one = order(frames=11, batch_size=4, accumulate=2, whole_epochs=True)  # 8 samples, then 3
    assert one.steps_per_epoch == 2
    assert [share.weight for share in one.micro_batches(0, 0)] == [0.5, 0.5]
    assert [(len(share.frames), share.weight) for share in one.micro_batches(1, 0)] == [(3, 1.0)]
    uneven = order(frames=14, batch_size=4, accumulate=2, whole_epochs=True).micro_batches(1, 0)  # 4 and 2
    assert [len(share.frames) for share in uneven] == [4, 2]
    assert [share.weight for share in uneven] == pytest.approx([4 / 6, 2 / 6])


@pytest.mark.parametrize("whole_epochs", [False, True])
def test_two_processes_share_what_one_with_twice_the_batch_takes(whole_epochs):
    two = order(23, 2, 2, 2, whole_epochs)
    alone = order(23, 4, 2, 1, whole_epochs)
    assert two.steps_per_epoch == alone.steps_per_epoch
    for step in range(2 * two.steps_per_epoch):
        shares = [two.micro_batches(step, process) for process in range(2)]
        for part in alone.micro_batches(step, 0):
            own = [share for process in shares for share in process if share.number == part.number]
            assert np.array_equal(np.concatenate([share.frames for share in own]), part.frames)
            assert [share.start for share in own] == [0, 2][: len(own)]
            assert all(share.samples == len(part.frames) for share in own)
        assert sum(share.weight for process in shares for share in process) == pytest.approx(1.0)
