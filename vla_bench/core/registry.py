"""Registries: named collections that decorators fill."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from vla_bench.core.errors import UnknownNameError, VlaBenchError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Map names to objects of one kind; an unknown name raises `UnknownNameError` with the nearest names.

    `package` names a Python package and `modules` name single modules that register members: they are imported on first
    look-up, so a new member is one new file in the package.
    """

    def __init__(self, kind: str, package: str | None = None, modules: Sequence[str] = ()) -> None:
        self.kind = kind
        self._package, self._modules = package, tuple(modules)
        self._members: dict[str, T] = {}

    def register(self, member: T, *, name: str | None = None) -> T:
        """Add `member` under `name` (default: its `__name__`) and return it; also a decorator."""
        key = name or str(getattr(member, "__name__", ""))
        if not key:
            raise VlaBenchError(f"A {self.kind} needs a name to be registered.")
        if key in self._members and self._members[key] is not member:
            raise VlaBenchError(f"Two {self.kind}s are named {key!r}.")
        self._members[key] = member
        return member

    def named(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers under `name`."""
        return lambda member: self.register(member, name=name)

    def __getitem__(self, name: str) -> T:
        self._discover()
        if name not in self._members:
            raise UnknownNameError(self.kind, name, self._members)
        return self._members[name]

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._members))

    def __len__(self) -> int:
        self._discover()
        return len(self._members)

    def _discover(self) -> None:
        package, self._package = self._package, None
        modules, self._modules = self._modules, ()
        for name in modules:
            importlib.import_module(name)
        if package is not None:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                importlib.import_module(f"{package}.{module.name}")
