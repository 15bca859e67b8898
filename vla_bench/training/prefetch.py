"""Batches made in the background while the network computes."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetched(Generic[T]):
    """What `make` returns for a number, made ahead of being asked for.

    Whoever asks decides the order: the numbers after the one asked for are only guessed to come next. So results are
    the same as without this, and an error comes when its number is asked for. `make` runs in one other thread.
    """

    def __init__(self, make: Callable[[int], T], ahead: int = 2) -> None:
        self._make, self._ahead = make, ahead
        self._pending: dict[int, Future[T]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")

    def __getitem__(self, number: int) -> T:
        wanted = range(number, number + 1 + self._ahead)
        for stale in self._pending.keys() - set(wanted):
            self._pending.pop(stale).cancel()
        for one in wanted:
            if one not in self._pending:
                self._pending[one] = self._thread.submit(self._make, one)
        return self._pending.pop(number).result()

    def close(self) -> None:
        """Forget what was made ahead and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()
