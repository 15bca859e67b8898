"""Parts of objects that a task may speak of, such as a drawer of a cabinet, by the objects' descriptions."""

from collections.abc import Mapping
from functools import cache

from vla_bench.core.paths import data_folder, user_env_folders
from vla_bench.core.validation import read_toml


def parts_of(objects: Mapping[str, str]) -> tuple[str, ...]:
    """Return `<object>_<part>` for every part of the objects, given as name -> asset; assets unknown here have none."""
    return tuple(f"{name}_{part}" for name, asset in objects.items() for part in _declared(asset))


@cache
def _declared(asset: str) -> tuple[str, ...]:
    for folder in (data_folder("envs"), *user_env_folders()):
        if (path := folder / "objects" / f"{asset}.toml").is_file():
            return tuple(read_toml(path).get("parts", {}))
    return ()
