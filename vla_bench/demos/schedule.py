"""Order of collection attempts, independent of the number of workers."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

from vla_bench.core.errors import VlaBenchError

_MAX_ATTEMPTS_WITHOUT_SUCCESS = 25  # without a single success
_MAX_ATTEMPTS_PER_EPISODE = 10


class ExpertUnsuccessfulError(VlaBenchError):
    """An expert that fails too often to make the requested demonstrations."""

    def __init__(self, task: str, attempts: int, successes: int) -> None:
        super().__init__(
            f"The expert succeeded in {successes} of {attempts} attempts at {task}, so collecting stopped. "
            "Use weaker noise or fewer slips, if there are any; otherwise find the cause with `generate-demos "
            "--keep-failures` and `inspect`. To record all episodes of a policy, use `record --count episodes`."
        )


class AttemptSchedule:
    """Attempts at one task, until the first `episodes` successes in the order of their indices are known.

    An index is handed out only if it is needed even if every running attempt succeeds. The selection therefore does not
    depend on which worker was faster, or on where an earlier run was interrupted.

    With `all_count`, failures count like successes. With `indices`, only these are attempted, and the schedule is
    complete when all of them are finished.
    """

    def __init__(
        self,
        task: str,
        episodes: int,
        outcomes: Mapping[int, bool],
        *,
        all_count: bool = False,
        indices: Sequence[int] | None = None,
    ) -> None:
        self.task = task
        self.episodes = episodes if indices is None else min(episodes, len(indices))
        self._all_count, self._indices = all_count, indices
        self._outcomes = dict(outcomes)  # index -> success
        self._running: set[int] = set()

    @property
    def counted(self) -> int:
        """Number of finished attempts that count, at most `episodes`."""
        return min(self.episodes, sum(map(self._is_counted, self._outcomes)))

    @property
    def successes(self) -> int:
        """Number of successes among the selected attempts."""
        return sum(self._outcomes[index] for index in self.selected())

    @property
    def running(self) -> int:
        """Number of attempts that were handed out and are not finished."""
        return len(self._running)

    @property
    def attempts(self) -> int:
        """Number of finished attempts."""
        return len(self._outcomes)

    def next_index(self) -> int | None:
        """Return the next index to attempt and mark it as running; None when no index is needed now.

        Raise `ExpertUnsuccessfulError` when too many attempts have failed.
        """
        expected = 0
        for index in self._candidates():
            if expected >= self.episodes:
                return None
            if index not in self._outcomes and index not in self._running:
                self._require_prospects()
                self._running.add(index)
                return index
            expected += self._is_counted(index)
        return None

    def record_outcome(self, index: int, *, success: bool) -> None:
        """Record the outcome of a running attempt."""
        self._running.discard(index)
        self._outcomes[index] = success

    def release(self, index: int) -> None:
        """Release a running attempt that was lost, so that it is handed out again."""
        self._running.discard(index)

    def is_complete(self) -> bool:
        """Return whether all requested demonstrations, or all possible ones, are finished."""
        if len(self.selected()) == self.episodes:
            return True
        return self._indices is not None and all(index in self._outcomes for index in self._indices)

    def selected(self) -> Sequence[int]:
        """Return the indices that count, in order, up to the first index that is not finished."""
        chosen: list[int] = []
        for index in self._candidates():
            if index not in self._outcomes or len(chosen) == self.episodes:
                break
            if self._is_counted(index):
                chosen.append(index)
        return chosen

    def failed(self) -> Sequence[int]:
        """Return the indices that do not count and are smaller than the last selected one."""
        end = max(self.selected(), default=0)
        return [index for index in sorted(self._outcomes) if not self._is_counted(index) and index < end]

    def _candidates(self) -> Iterable[int]:
        return itertools.count() if self._indices is None else self._indices

    def _is_counted(self, index: int) -> bool:
        return self._outcomes.get(index, True) or self._all_count

    def _require_prospects(self) -> None:
        successes = sum(map(self._is_counted, self._outcomes))
        limit = _MAX_ATTEMPTS_WITHOUT_SUCCESS + (_MAX_ATTEMPTS_PER_EPISODE * self.episodes if successes else 0)
        if self.attempts >= limit:
            raise ExpertUnsuccessfulError(self.task, self.attempts, successes)
