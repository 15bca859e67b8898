"""Which code a policy given as `package.module:factory` consists of: what a name and a checkpoint do not tell."""

import ast
import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

_INSTALLED = ("site-packages", "dist-packages")
_OURS = "vla_bench"  # the run's commit and version say which


def code_hash(module: str) -> str:
    """Return a short SHA-256 digest of the source of `module` and of what it imports from beside it.

    Beside it is the folder that its outermost package, or it itself, lies in; in a folder of installed packages only
    its own package. Imports are read from the source, those within functions too, so that it does not matter what else
    a program has loaded. Empty where there is no source to read, as of a notebook's own classes.
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
        wanted = {part for found in (name, *_imported(sources[name], package)) for part in _with_packages(found)}
        new = {one for one in wanted - seen if _belongs(one.partition(".")[0], outermost, root)}
        seen |= new
        waiting += new
    return sources


def _folder(outermost: str) -> Path | None:
    """Return the folder that the outermost module or package lies in."""
    try:
        spec = find_spec(outermost)
    except (ImportError, ValueError):  # such as __main__ of a notebook
        return None
    if spec is None:
        return None
    if locations := spec.submodule_search_locations:
        return Path(next(iter(locations))).parent
    return Path(spec.origin).parent if spec.has_location and spec.origin else None


def _belongs(name: str, outermost: str, root: Path) -> bool:
    return name == outermost or (name != _OURS and not set(_INSTALLED) & set(root.parts))


def _file(root: Path, name: str) -> Path | None:
    path = root.joinpath(*name.split("."))
    candidates = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((file for file in candidates if file.is_file()), None)


def _with_packages(name: str) -> Iterator[str]:
    """Yield the packages around a module, and it."""
    parts = name.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _imported(source: bytes, package: str) -> Iterator[str]:
    """Yield the names that may be modules among what a module of `package` imports."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # Python itself will say so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*around, *((node.module,) if node.module else ())])
            yield from ([base] if base else [])
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names if alias.name != "*")
