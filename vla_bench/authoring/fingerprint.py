"""Fingerprint of everything that decides an expert's success on a task.

Equal fingerprints mean comparable episodes. A fingerprint covers the task, the objects of its scene, the robot, the
code that simulates, evaluates and acts, and the versions of the libraries below; it excludes texts, comments and
rendering, which experts do not use.
"""

import ast
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache
from importlib.metadata import version
from pathlib import Path

from vla_bench.core.errors import UnknownNameError
from vla_bench.envs.descriptions import describe_object, describe_robot, describe_scene, mjcf_path
from vla_bench.tasks import Task, predicates
from vla_bench.tasks.initial_conditions import initial_relations

_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = ("mujoco", "numpy", "robosuite")
_TEXT_FIELDS = {"instruction", "paraphrases"}
_EXCLUDED = (  # modules whose results are in the hash themselves, or that only render or hold texts
    *(f"vla_bench.core.{name}" for name in ("cache", "configuration", "errors", "files", "registry")),
    *(f"vla_bench.envs.{name}" for name in ("descriptions", "rendering")),
    "vla_bench.tasks.catalogue",
    "vla_bench.envs.perturbations",
)
_CHOSEN_BY_NAME = {  # registry packages of which an episode only uses the entries named by its task
    *(f"vla_bench.{name}" for name in ("experts.skills", "tasks.initial_conditions", "tasks.predicates")),
    "vla_bench.envs.perturbations.axes",
}
_PERTURBED = "vla_bench.envs.perturbations.simulation"  # code of every perturbation


def fingerprint(task: Task, robot: str, alternatives: Sequence[Task] = (), *, perturbation: str = "") -> str:
    """Return the fingerprint for the expert of the task, or for the blind expert that chooses among `alternatives`.

    Under a `perturbation`, as `axis=severity,...`, it also covers the code of the axes.
    """
    parts = [
        *(_definition(each) for each in (task, *alternatives)),
        *_assets(task, robot),
        *(f"{name} {version(name)}" for name in _LIBRARIES),
        *(_syntax_tree(_file(module)) for module in _code(task)),
        *(_perturbed(perturbation) if perturbation else ()),
    ]
    return _hash(parts)


def scene_fingerprint(task: Task, robot: str) -> str:
    """Return the hash of the task and its scene alone: equal hashes mean equal images."""
    return _hash([_definition(task), *_assets(task, robot)])


def _hash(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _definition(task: Task) -> str:
    return repr([(field.name, getattr(task, field.name)) for field in fields(task) if field.name not in _TEXT_FIELDS])


def _assets(task: Task, robot: str) -> Iterator[str]:
    """Yield descriptions and geometry of tabletop scenes; those of robosuite follow from its version."""
    with suppress(UnknownNameError):
        scene = describe_scene(task.scene)
        yield scene.model_dump_json() + mjcf_path("scenes", scene.mjcf).read_text(encoding="utf-8")
        for asset in task.objects.values():
            thing = describe_object(asset)
            yield thing.model_dump_json() + mjcf_path("objects", thing.mjcf).read_text(encoding="utf-8")
    with suppress(UnknownNameError):
        yield describe_robot(robot).model_dump_json()


def _code(task: Task) -> tuple[str, ...]:
    """Return the modules of this package that run in an episode of the task's expert, sorted."""
    from vla_bench.envs.engines import engines
    from vla_bench.experts import make_expert
    from vla_bench.experts.skills import skills

    named = [predicates[goal.name].__module__ for goal in (*task.goal, *task.must_not)]
    named += [skills[goal.name].__module__ for goal in task.goal if goal.name in skills]
    named += [type(initial_relations[relation.name]).__module__ for relation in task.initial]
    roots = ("vla_bench.envs.environment", make_expert.__module__, engines[task.engine].__module__, *named)
    return _closure(tuple(sorted(set(roots))))


def _perturbed(perturbation: str) -> Iterator[str]:
    """Yield the perturbation and the code of its axes."""
    from vla_bench.envs.perturbations import Perturbation

    yield perturbation
    own = (type(effect).__module__ for _, effect in Perturbation.parse(perturbation).effects())
    without = tuple(set(_EXCLUDED) - {"vla_bench.envs.perturbations"})
    for module in _closure((_PERTURBED, *sorted(own)), without):
        yield _syntax_tree(_file(module))


@cache
def _closure(modules: tuple[str, ...], without: tuple[str, ...] = _EXCLUDED) -> tuple[str, ...]:
    """Return `modules` and all modules of this package that they import, except those in `without`."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found and not module.startswith(without):
            found.add(module)
            waiting += _imported(module)
    return tuple(sorted(found))


@cache
def _imported(module: str) -> tuple[str, ...]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(_file(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.keyword) and node.arg == "package" and isinstance(node.value, ast.Constant):
            names |= _members(str(node.value.value))
    ours = {name for name in names if name.startswith("vla_bench.")}
    return tuple(sorted(name for name in ours if _file(name).is_file()))


def _members(package: str) -> set[str]:
    """Return the modules that a registry discovers in its package."""
    if package in _CHOSEN_BY_NAME:
        return set()
    return {f"{package}.{path.stem}" for path in _file(package).parent.glob("*.py") if path.stem != "__init__"}


def _file(module: str) -> Path:
    path = _PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _syntax_tree(path: Path) -> str:
    """Return the syntax tree of a module as text, without comments, layout and docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
