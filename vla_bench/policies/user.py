"""A user's own policy class, given as `package.module:factory`."""

import importlib
import inspect
import sys
import tempfile
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies.guarding import no_exit
from vla_bench.policies.policy import EnvironmentConventions, PolicyBase, PolicyRequirements, as_chunks

_DEFAULT_REQUIREMENTS = PolicyRequirements(cameras=("agentview", "wrist"), image_size=224)


class UserPolicyError(VlaBenchError):
    """A user's policy that cannot be found, made or used."""


class PolicyNotMadeError(UserPolicyError):
    """A user's module or factory that raised."""

    def __init__(self, name: str, doing: str, error: Exception) -> None:
        said = " ".join("".join(traceback.format_exception_only(error)).split())
        frame = traceback.extract_tb(error.__traceback__)[-1]
        own_place = isinstance(error, SyntaxError)  # its text says where
        place = "" if own_place else f" ({frame.filename}, line {frame.lineno}, in {frame.name})"
        super().__init__(f"{name}: {doing} raised {said}{place}.{_whole_traceback(error)}")


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
            self._policy.connect(conventions)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin new episodes in the user's policy."""
        if hasattr(self._policy, "reset"):
            _call_with_known(self._policy.reset, instructions, rows=rows, seeds=seeds)

    def padding_group(self, instruction: str) -> Hashable:
        """Return what the user's policy says, or the instruction."""
        group: Callable[[str], Hashable] = getattr(self._policy, "padding_group", super().padding_group)
        return group(instruction)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the user's actions as chunks, (B, H, 7)."""
        actions = _call_with_known(self._policy.act, observations, rows=rows)
        return as_chunks(actions, len(rows), self._action_dim)


def make_user_policy(name: str, checkpoint: Path | None) -> UserPolicy:
    """Import `package.module:factory`, call it (with `checkpoint=` where it takes that) and adapt what it returns."""
    factory = find_factory(name)
    if checkpoint is not None and "checkpoint" not in _keywords(factory, {"checkpoint"}):
        raise UserPolicyError(f"{name} takes no argument `checkpoint`: leave out --checkpoint {checkpoint}.")
    with _explained(name, "the factory"):
        made = factory() if checkpoint is None else factory(checkpoint=checkpoint)
    return UserPolicy(made, name)


def find_factory(name: str) -> Callable[..., Any]:
    """Import the factory named `package.module:factory`; modules in the working folder count."""
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # a console script does not look there; last, so that it hides nothing
    with _explained(name, "the module"):
        module = _imported(name)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        known = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise UserPolicyError(f"Module {module_name} has no factory {attribute!r}. It has: {', '.join(known) or '-'}.")
    return factory  # type: ignore[no-any-return]  # any callable will do


def _imported(name: str) -> ModuleType:
    module_name, _, attribute = name.partition(":")
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the user's module is there and something that it imports is not
        script = f" A script is named without its ending: {module_name.removesuffix('.py')}:{attribute}."
        raise UserPolicyError(
            f"No module {module_name!r} for policy {name!r}. It must be installed or lie in {Path.cwd()}."
            f"{script if module_name.endswith('.py') else ''}"
        ) from error


@contextmanager
def _explained(name: str, doing: str) -> Iterator[None]:
    """Turn what a user's code raises into one message; errors of ours stay what they are."""
    try:
        with no_exit(name, doing):
            yield
    except VlaBenchError:
        raise
    except Exception as error:
        raise PolicyNotMadeError(name, doing, error) from error


def _whole_traceback(error: Exception) -> str:
    """Write the traceback into the folder for temporary files and say where."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="vla-bench-policy-", suffix=".txt", delete=False
        ) as file:
            file.writelines(traceback.format_exception(error))
    except OSError:  # a full disk
        return ""
    return f" The whole traceback: {file.name}"


def _call_with_known(method: Callable[..., Any], argument: Sequence[object], **keywords: object) -> Any:
    known = _keywords(method, set(keywords))
    return method(argument, **{key: value for key, value in keywords.items() if key in known})


def _keywords(function: Callable[..., Any], wanted: set[str]) -> set[str]:
    """Return those of the `wanted` keyword arguments that `function` takes."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return wanted
    return {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL} & wanted
