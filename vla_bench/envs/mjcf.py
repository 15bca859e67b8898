"""MJCF files as MuJoCo specifications, and release of the memory that compiling them leaves behind.

MuJoCo caches the assets that it has read, and the C library keeps freed memory. A worker process builds a model for
each task and steps it for hours: robosuite's scenes leave 250 MB each time, those of the tabletop engine 30 MB.
"""

import ctypes
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from xml.etree import ElementTree

import mujoco

from vla_bench.core.errors import ConfigurationError

VISUAL_GROUP = 1  # robosuite's convention: only this group is rendered
_EMPTY_MODEL = "<mujoco/>"


def asset_cache_bytes() -> int:
    """Return the size of MuJoCo's cache of meshes and textures."""
    return int(mujoco.mj_getCacheSize(mujoco.mj_getCache()))


def release_compiler_memory() -> None:
    """Empty MuJoCo's asset cache and return free memory; existing models and specifications stay valid."""
    mujoco.mj_clearCache(mujoco.mj_getCache())
    mujoco.MjModel.from_xml_string(_EMPTY_MODEL)  # replaces the last file read, which MuJoCo keeps in memory
    give_back_free_memory()


def give_back_free_memory() -> None:
    """Return the C library's free memory to the operating system."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only; others return memory by themselves
        if trim is not None:
            trim(ctypes.c_size_t(0))


def read_mjcf(path: Path) -> mujoco.MjSpec:
    """Read a scene or an object; raise `ConfigurationError` if the file is not MJCF."""
    _require_file(path)
    try:
        return mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise _not_mjcf(path, error) from None


def read_robot_mjcf(path: Path) -> mujoco.MjSpec:
    """Read a robot's arm or gripper as robosuite does; raise `ConfigurationError` if the file is not MJCF.

    robosuite merges such files into one whose angles are in radians, keeps the first of several assets with the same
    name, and ignores all attributes of a `default` except its class. Mesh files get absolute paths.
    """
    _require_file(path)
    try:
        spec = mujoco.MjSpec.from_string(_repaired(path))
    except (ValueError, ElementTree.ParseError) as error:
        raise _not_mjcf(path, error) from None
    for mesh in spec.meshes:
        mesh.file = str(path.parent / spec.meshdir / mesh.file)
    spec.meshdir = ""
    return spec


def require_names(
    description: Path, field: str, kind: str, wanted: Iterable[str], known: Iterable[str], of: Path
) -> None:
    """Raise `ConfigurationError` for the first name of a description that its MJCF lacks; suggest similar names."""
    names = sorted(filter(None, known))
    for name in wanted:
        if name not in names:
            near = get_close_matches(name, names, n=3)
            expected = " or ".join(map(repr, near)) if near else f"one of {', '.join(names)}"
            raise ConfigurationError(description, field, f"{of} has no {kind} named {name!r}", expected)


def one_line(error: Exception) -> str:
    """Return MuJoCo's message on one line."""
    return " ".join(str(error).split())


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigurationError(path, "(whole file)", "the file does not exist", "an existing MJCF file")


def _not_mjcf(path: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(path, "(whole file)", f"is not MJCF: {one_line(error)}")


def _repaired(path: Path) -> str:
    root = ElementTree.parse(path).getroot()
    compiler = root.find("compiler")
    if compiler is None:
        compiler = ElementTree.SubElement(root, "compiler")
    compiler.set("angle", "radian")
    for asset in root.iter("asset"):
        seen: set[tuple[str, str | None]] = set()
        for element in list(asset):
            key = element.tag, element.get("name")
            if key in seen:
                asset.remove(element)
            seen.add(key)
    for default in root.iter("default"):
        default.attrib = {key: value for key, value in default.attrib.items() if key == "class"}
    return ElementTree.tostring(root, encoding="unicode")
