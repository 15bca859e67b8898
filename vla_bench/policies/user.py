"""A user's own policy class, given as `package.module:factory`."""

import importlib
import inspect
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies.policy import EnvironmentConventions, PolicyBase, PolicyRequirements, as_chunks

_DEFAULT_REQUIREMENTS = PolicyRequirements(cameras=("agentview", "wrist"), image_size=224)


class UserPolicyError(VlaBenchError):
    """A user's policy that cannot be found, made or used."""


class UserPolicy(PolicyBase):
    """Give a simple class the whole protocol.

    Only `act(observations)` must be there. `reset`, `connect`, `requirements`, `padding_group` and the keyword
    arguments `rows` and `seeds` are used where the class has them; without `requirements` it is sent both cameras at
    224 pixels. Its batches have the shape of the requirements: what is repeated to fill one has rows of its own.
    """

    def __init__(self, policy: Any, name: str) -> None:
        if not callable(getattr(policy, "act", None)):
            raise UserPolicyError(
                f"{name} made a {type(policy).__name__} without an `act` method. "
                "Expected act(self, observations) that returns actions of shape (B, H, 7) or (B, 7)."
            )
        self._policy, self._name = policy, name
        self._requirements = getattr(policy, "requirements", _DEFAULT_REQUIREMENTS)
        if not isinstance(self._requirements, PolicyRequirements):
            raise UserPolicyError(f"{name}: `requirements` must be a vla_bench.policies.PolicyRequirements.")

    @property
    def requirements(self) -> PolicyRequirements:
        """What the user's policy states, or both cameras."""
        return self._requirements

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Check the requirements and tell the user's policy what will be sent, where it wants to know."""
        super().connect(conventions)
        if hasattr(self._policy, "connect"):
            with _no_exit(self._name, "connect"):
                self._policy.connect(conventions)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin new episodes in the user's policy."""
        if hasattr(self._policy, "reset"):
            with _no_exit(self._name, "reset"):
                _call_with_known(self._policy.reset, instructions, rows=rows, seeds=seeds)

    def padding_group(self, instruction: str) -> Hashable:
        """Return what the user's policy says, or the instruction."""
        group = getattr(self._policy, "padding_group", super().padding_group)
        with _no_exit(self._name, "padding_group"):
            return group(instruction)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the user's actions as chunks, (B, H, 7)."""
        with _no_exit(self._name, "act"):
            actions = _call_with_known(self._policy.act, observations, rows=rows)
        return as_chunks(actions, len(rows), self._action_dim)


def make_user_policy(name: str, checkpoint: Path | None) -> UserPolicy:
    """Import `package.module:factory`, call it (with `checkpoint=` where it takes that) and adapt what it returns."""
    factory = find_factory(name)
    if checkpoint is not None and "checkpoint" not in _keywords(factory, {"checkpoint"}):
        raise UserPolicyError(f"{name} takes no argument `checkpoint`: leave out --checkpoint {checkpoint}.")
    with _no_exit(name, "the factory"):
        made = factory() if checkpoint is None else factory(checkpoint=checkpoint)
    return UserPolicy(made, name)


def find_factory(name: str) -> Callable[..., Any]:
    """Import the factory named `package.module:factory`; modules in the working folder count."""
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a console script does not look there; last, so that it hides nothing
    try:
        with _no_exit(name, "the module"):
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the user's module is there and something that it imports is not
        script = f" A script is named without its ending: {module_name.removesuffix('.py')}:{attribute}."
        raise UserPolicyError(
            f"No module {module_name!r} for policy {name!r}. It must be installed or lie in {Path.cwd()}."
            f"{script if module_name.endswith('.py') else ''}"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        known = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise UserPolicyError(f"Module {module_name} has no factory {attribute!r}. It has: {', '.join(known) or '-'}.")
    return factory  # type: ignore[no-any-return]  # any callable will do


@contextmanager
def _no_exit(name: str, where: str) -> Iterator[None]:
    """Turn `sys.exit` in a user's code into an error of the policy: it would end the run, perhaps with status 0."""
    try:
        yield
    except SystemExit as stop:
        raise UserPolicyError(
            f"{name} called sys.exit({stop.code!r}) in {where}. Raise an exception instead."
        ) from stop


def _call_with_known(method: Callable[..., Any], argument: Sequence[object], **keywords: object) -> Any:
    known = _keywords(method, set(keywords))
    return method(argument, **{key: value for key, value in keywords.items() if key in known})


def _keywords(function: Callable[..., Any], wanted: set[str]) -> set[str]:
    """Return those of the `wanted` keyword arguments that `function` takes."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return wanted
    return {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL} & wanted
