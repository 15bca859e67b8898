"""A size-bounded cache of shared values."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

# ~ What is made once for all that use it, and kept for a while afterwards: up to so many bytes, not so many things.
# ~
# ~ A model of one suite fills five times what one of another does, so that a number of them bounds no memory.

Value = TypeVar("Value")


class SizedCache(Generic[Value]):
    """Values by the arguments that they are made from.

    As long as somebody holds a value, the same arguments give the same one. Those asked for last are kept besides:
    the very last one, and those before it while all together fill `most_bytes`.
    """

    def __init__(self, make: Callable[..., Value], bytes_of: Callable[[Value], int], most_bytes: int) -> None:
        self._make, self._bytes_of, self._most_bytes = make, bytes_of, most_bytes
        self.made = 0  # values so far
        self._alive: WeakValueDictionary[Hashable, Value] = WeakValueDictionary()
        self._last: OrderedDict[Hashable, Value] = OrderedDict()  # the one asked for longest ago first

    def __call__(self, *arguments: Hashable) -> Value:
        """Return the value that is made from these arguments."""
        value = self._alive.get(arguments)
        if value is None:
            value = self._alive[arguments] = self._make(*arguments)
            self.made += 1
        self._last[arguments] = value
        self._last.move_to_end(arguments)
        filled = sum(map(self._bytes_of, self._last.values()))
        while filled > self._most_bytes and len(self._last) > 1:
            filled -= self._bytes_of(self._last.popitem(last=False)[1])
        return value

    def alive(self) -> tuple[Value, ...]:
        """Return the values that there are now, kept or held by somebody else."""
        return tuple(self._alive.values())
