"""Which attempt comes next, so that any number of workers in any order make the same demonstrations."""

from collections.abc import Mapping, Sequence

from vla_bench.core.errors import VlaBenchError

_HOPELESS_ATTEMPTS = 25  # without a single success
_ATTEMPTS_PER_EPISODE = 10


class ExpertUnsuccessfulError(VlaBenchError):
    """An expert that fails too often to make the demonstrations asked for."""

    def __init__(self, task: str, attempts: int, successes: int) -> None:
        super().__init__(
            f"The expert succeeded in {successes} of {attempts} attempts at {task}, so collecting stopped. "
            "With noise, choose less of it; else `generate-demos --keep-failures` and `inspect` show what goes wrong."
        )


class Schedule:
    """The attempts at one task: the first `episodes` successes in the order of their indices, and no attempt beyond.

    An index is handed out only if it is needed even should every running attempt succeed; so what is selected at the
    end does not depend on which worker was quicker, or on where an earlier run was interrupted.
    """

    def __init__(self, task: str, episodes: int, outcomes: Mapping[int, bool]) -> None:
        self.task = task
        self._episodes = episodes
        self._outcomes = dict(outcomes)  # index -> success
        self._running: set[int] = set()

    @property
    def successes(self) -> int:
        """Successes so far that count."""
        return min(self._episodes, sum(self._outcomes.values()))

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
        hoped, index = 0, 0
        while hoped < self._episodes:
            if index not in self._outcomes and index not in self._running:
                self._check_hope()
                self._running.add(index)
                return index
            hoped += self._outcomes.get(index, True)
            index += 1
        return None

    def finished(self, index: int, *, success: bool) -> None:
        """Note the outcome of a running attempt."""
        self._running.discard(index)
        self._outcomes[index] = success

    def give_back(self, index: int) -> None:
        """Note that a running attempt was lost, so that it is handed out again."""
        self._running.discard(index)

    def is_complete(self) -> bool:
        """Whether the demonstrations asked for are all there."""
        return len(self.selected()) == self._episodes

    def selected(self) -> Sequence[int]:
        """Return the indices of the successes that count, in order, from the unbroken run of finished attempts."""
        chosen: list[int] = []
        index = 0
        while index in self._outcomes and len(chosen) < self._episodes:
            if self._outcomes[index]:
                chosen.append(index)
            index += 1
        return chosen

    def failed(self) -> Sequence[int]:
        """Return the indices of the failures before the last success that counts."""
        end = max(self.selected(), default=0)
        return [index for index, success in sorted(self._outcomes.items()) if not success and index < end]

    def _check_hope(self) -> None:
        successes = sum(self._outcomes.values())
        limit = _HOPELESS_ATTEMPTS + (_ATTEMPTS_PER_EPISODE * self._episodes if successes else 0)
        if self.attempts >= limit:
            raise ExpertUnsuccessfulError(self.task, self.attempts, successes)
