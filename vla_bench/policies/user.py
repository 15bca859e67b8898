"""User-defined policies, given as `package.module:factory`: import, adaptation to the protocol, and source code
digest.
"""

import ast
import hashlib
import importlib
import inspect
import sys
import tempfile
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies.policy import EnvironmentConventions, PolicyBase, PolicyRequirements, as_chunks
from vla_bench.policies.wrappers import exits_as_errors

_DEFAULT_REQUIREMENTS = PolicyRequirements(cameras=("agentview", "wrist"), image_size=224)


class UserPolicyError(VlaBenchError):
    """A user policy that cannot be found, created or used."""


class PolicyCreationError(UserPolicyError):
    """An exception of a user module or factory."""

    def __init__(self, name: str, doing: str, error: Exception) -> None:
        said = " ".join("".join(traceback.format_exception_only(error)).split())
        frame = traceback.extract_tb(error.__traceback__)[-1]
        own_place = isinstance(error, SyntaxError)  # its text has the location
        place = "" if own_place else f" ({frame.filename}, line {frame.lineno}, in {frame.name})"
        super().__init__(f"{name}: {doing} raised {said}{place}.{_save_traceback(error)}")


class UserPolicy(PolicyBase):
    """Adapter of a simple class to the whole policy protocol.

    Only `act(observations)` is required. `reset`, `connect`, `requirements`, `padding_group` and the keyword arguments
    `rows` (slots) and `seeds` are used if the class has them; without `requirements` it receives both cameras at 224
    pixels. Its batches have the shape of its requirements; copies that fill a batch have their own slots.
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
        """The requirements of the user policy, or both cameras."""
        return self._requirements

    def connect(self, conventions: EnvironmentConventions) -> None:
        """Check the requirements and pass the conventions to the user policy if it has `connect`."""
        super().connect(conventions)
        if hasattr(self._policy, "connect"):
            self._policy.connect(conventions)

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Start new episodes in the user policy."""
        if hasattr(self._policy, "reset"):
            _call_with_supported(self._policy.reset, instructions, rows=rows, seeds=seeds)

    def padding_group(self, instruction: str) -> Hashable:
        """Return the key of the user policy, or the instruction."""
        group: Callable[[str], Hashable] = getattr(self._policy, "padding_group", super().padding_group)
        return group(instruction)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the actions of the user policy as chunks, (B, H, 7)."""
        actions = _call_with_supported(self._policy.act, observations, rows=rows)
        return as_chunks(actions, len(rows), self._action_dim)


def make_user_policy(name: str, checkpoint: Path | None) -> UserPolicy:
    """Import `package.module:factory`, call it (with `checkpoint=` if it has that parameter) and adapt its result."""
    factory = find_factory(name)
    if checkpoint is not None and "checkpoint" not in _supported_keywords(factory, {"checkpoint"}):
        raise UserPolicyError(f"{name} has no parameter `checkpoint`. Omit --checkpoint {checkpoint}.")
    with _user_errors(name, "the factory"):
        made = factory() if checkpoint is None else factory(checkpoint=checkpoint)
    return UserPolicy(made, name)


def find_factory(name: str) -> Callable[..., Any]:
    """Import the factory named `package.module:factory`; modules in the working folder are found."""
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # not on the path of a console script; last, so that it hides nothing
    with _user_errors(name, "the module"):
        module = _import_module(name)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        known = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise UserPolicyError(f"Module {module_name} has no factory {attribute!r}. It has: {', '.join(known) or '-'}.")
    return factory  # type: ignore[no-any-return]  # any callable is accepted


def _import_module(name: str) -> ModuleType:
    module_name, _, attribute = name.partition(":")
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module exists, but one of its imports does not
        script = f" Scripts are named without their suffix: {module_name.removesuffix('.py')}:{attribute}."
        raise UserPolicyError(
            f"No module {module_name!r} for policy {name!r}. It must be installed or located in {Path.cwd()}."
            f"{script if module_name.endswith('.py') else ''}"
        ) from error


@contextmanager
def _user_errors(name: str, doing: str) -> Iterator[None]:
    """Convert exceptions of user code to one message; errors of this package pass unchanged."""
    try:
        with exits_as_errors(name, doing):
            yield
    except VlaBenchError:
        raise
    except Exception as error:
        raise PolicyCreationError(name, doing, error) from error


def _save_traceback(error: Exception) -> str:
    """Write the traceback into the folder for temporary files and return a sentence with its path."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="vla-bench-policy-", suffix=".txt", delete=False
        ) as file:
            file.writelines(traceback.format_exception(error))
    except OSError:  # a full disk
        return ""
    return f" Full traceback: {file.name}"


def _call_with_supported(method: Callable[..., Any], argument: Sequence[object], **keywords: object) -> Any:
    known = _supported_keywords(method, set(keywords))
    return method(argument, **{key: value for key, value in keywords.items() if key in known})


def _supported_keywords(function: Callable[..., Any], wanted: set[str]) -> set[str]:
    """Return those of the `wanted` keyword arguments that `function` takes."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return wanted
    return {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL} & wanted


_INSTALLED = ("site-packages", "dist-packages")
_OWN_PACKAGE = "vla_bench"  # identified by commit and version of the run


def code_hash(module: str) -> str:
    """Return a short SHA-256 digest of the source of `module` and of its imports from the same folder.

    The folder is that of the outermost package or of the module itself; for installed packages only the package itself
    counts. Imports are read from the source, including those inside functions, so that the digest does not depend on
    loaded modules. Empty without source, as for classes of a notebook.
    """
    digest = hashlib.sha256()
    sources = _sources(module)
    for name, content in sorted(sources.items()):
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()[:12] if sources else ""


def _sources(module: str) -> dict[str, bytes]:
    """Return the source of each module by its name."""
    outermost = module.partition(".")[0]
    root = _folder(outermost)
    if root is None:
        return {}
    sources: dict[str, bytes] = {}
    waiting, seen = [module], {module}
    while waiting:
        name = waiting.pop()
        if (file := _file(root, name)) is None:
            continue
        sources[name] = file.read_bytes()
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        wanted = {part for found in (name, *_imported_names(sources[name], package)) for part in _with_packages(found)}
        new = {one for one in wanted - seen if _is_user_code(one.partition(".")[0], outermost, root)}
        seen |= new
        waiting += new
    return sources


def _folder(outermost: str) -> Path | None:
    """Return the folder of the outermost module or package."""
    try:
        spec = find_spec(outermost)
    except (ImportError, ValueError):  # such as __main__ of a notebook
        return None
    if spec is None:
        return None
    if locations := spec.submodule_search_locations:
        return Path(next(iter(locations))).parent
    return Path(spec.origin).parent if spec.has_location and spec.origin else None


def _is_user_code(name: str, outermost: str, root: Path) -> bool:
    return name == outermost or (name != _OWN_PACKAGE and not set(_INSTALLED) & set(root.parts))


def _file(root: Path, name: str) -> Path | None:
    path = root.joinpath(*name.split("."))
    candidates = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((file for file in candidates if file.is_file()), None)


def _with_packages(name: str) -> Iterator[str]:
    """Yield the parent packages of a module, and the module."""
    parts = name.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _imported_names(source: bytes, package: str) -> Iterator[str]:
    """Yield the imported names of a module in `package` that may be modules."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # Python reports the error on import
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*around, *((node.module,) if node.module else ())])
            yield from ([base] if base else [])
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names if alias.name != "*")
