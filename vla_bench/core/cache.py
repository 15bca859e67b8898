"""A size-bounded cache of shared values.

The bound is in bytes because the models of different suites differ in size by a factor of five.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

Value = TypeVar("Value")


class SizedCache(Generic[Value]):
    """A cache of shared values with a limit in bytes.

    Values in use are never dropped: while a value is referenced, the same arguments return it. Unused values are
    dropped least recently used first, as soon as all cached values exceed `max_bytes`; the most recent value always
    stays.
    """

    def __init__(self, make: Callable[..., Value], bytes_of: Callable[[Value], int], max_bytes: int) -> None:
        self._make, self._bytes_of, self._max_bytes = make, bytes_of, max_bytes
        self.made = 0  # number of values created
        self._alive: WeakValueDictionary[Hashable, Value] = WeakValueDictionary()
        self._last: OrderedDict[Hashable, Value] = OrderedDict()  # least recently used first

    def __call__(self, *arguments: Hashable) -> Value:
        """Return the value for these arguments, creating it if needed."""
        value = self._alive.get(arguments)
        if value is None:
            value = self._alive[arguments] = self._make(*arguments)
            self.made += 1
        self._last[arguments] = value
        self._last.move_to_end(arguments)
        filled = sum(map(self._bytes_of, self._last.values()))
        while filled > self._max_bytes and len(self._last) > 1:
            filled -= self._bytes_of(self._last.popitem(last=False)[1])
        return value

    def alive(self) -> tuple[Value, ...]:
        """Return the values that exist now, cached or referenced elsewhere."""
        return tuple(self._alive.values())
