"""Order of collection attempts, independent of the number of workers."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

from vla_bench.core.errors import VlaBenchError

_MAX_ATTEMPTS_WITHOUT_SUCCESS = 25  # without a single success
_MAX_ATTEMPTS_PER_EPISODE = 10


class ExpertUnsuccessfulError(VlaBenchError):
    """An expert that fails too often to make the demonstrations asked for."""

    def __init__(self, task: str, attempts: int, successes: int) -> None:
        super().__init__(
            f"The expert succeeded in {successes} of {attempts} attempts at {task}, so collecting stopped. "
            "With noise or slips, choose less of them; else `generate-demos --keep-failures` and `inspect` show what "
            "goes wrong. To record a policy whatever comes of it, `record --count episodes`."
        )


class AttemptSchedule:
    """The attempts at one task: the first `episodes` successes in the order of their indices, and no attempt beyond.

    An index is handed out only if it is needed even should every running attempt succeed; so what is selected at the
    end does not depend on which worker was quicker, or on where an earlier run was interrupted.

    With `all_count`, failures count as successes do. With `indices`, no other ones are attempted, and the schedule is
    complete when they are used up.
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
        """Attempts so far that count."""
        return min(self.episodes, sum(map(self._is_counted, self._outcomes)))

    @property
    def successes(self) -> int:
        """Successes among those that count."""
        return sum(self._outcomes[index] for index in self.selected())

    @property
    def running(self) -> int:
        """Attempts that were handed out and have not come back."""
        return len(self._running)

    @property
    def attempts(self) -> int:
        """Attempts finished so far."""
        return len(self._outcomes)

    def next_index(self) -> int | None:
        """Return the next index to attempt, which then counts as running; None when there is none at present.

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
        """Note the outcome of a running attempt."""
        self._running.discard(index)
        self._outcomes[index] = success

    def release(self, index: int) -> None:
        """Note that a running attempt was lost, so that it is handed out again."""
        self._running.discard(index)

    def is_complete(self) -> bool:
        """Whether the demonstrations asked for, or all that there can be, are there."""
        if len(self.selected()) == self.episodes:
            return True
        return self._indices is not None and all(index in self._outcomes for index in self._indices)

    def selected(self) -> Sequence[int]:
        """Return the indices of what counts, in order, from the unbroken run of finished attempts."""
        chosen: list[int] = []
        for index in self._candidates():
            if index not in self._outcomes or len(chosen) == self.episodes:
                break
            if self._is_counted(index):
                chosen.append(index)
        return chosen

    def failed(self) -> Sequence[int]:
        """Return the indices of the failures, before the last that counts, that do not count."""
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
