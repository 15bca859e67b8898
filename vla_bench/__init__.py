"""Demonstrations, fine-tuning, evaluation and a leaderboard for vision-language-action policies.

`vla_bench.make("<suite>.<task>")` and, after `import vla_bench`, `gymnasium.make("vla_bench/<suite>.<task>-v1")` return
an environment; `vla_bench.make_vec` and `gymnasium.make_vec` return many of them in worker processes. Importing this
loads neither torch nor mujoco.
"""

import os
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import TASKS_VARIABLE, add_user_tasks, suite_files

if TYPE_CHECKING:
    from vla_bench.envs.environment import make
    from vla_bench.envs.vector.environment import make_vec


__version__ = "0.1.0"
__all__ = ["__version__", "make", "make_vec", "register_tasks"]


def register_tasks(*paths: Path | str) -> None:
    """Add your own task files, or folders of them, to the suites of this process and its worker processes.

    The environment variable `VLA_BENCH_TASKS` and the option `vla-bench --tasks` do the same. Your own objects, scenes
    and robots are read from a folder `envs` next to the task files.

    Raises:
        ConfigurationError: a file is missing or invalid, with file and field; nothing is added then.
    """
    before = os.environ.get(TASKS_VARIABLE, "")
    add_user_tasks(*paths)
    from vla_bench.tasks import task_ids

    try:
        task_ids()
    except VlaBenchError:
        os.environ[TASKS_VARIABLE] = before
        raise
    _register_environments()


def __getattr__(name: str) -> object:
    if name == "make":
        from vla_bench.envs.environment import make

        return make
    if name == "make_vec":
        from vla_bench.envs.vector.environment import make_vec

        return make_vec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _task_names() -> Iterator[str]:
    """Yield `suite.task` of every task; files are validated later, when a task is used, to keep the import fast."""
    for path in suite_files():
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        yield from (f"{content['suite']}.{table['name']}" for table in content["task"])


def _register_environments() -> None:
    try:
        names = list(_task_names())
    except (VlaBenchError, OSError, ValueError, LookupError, TypeError) as error:  # raised again when a task is used
        warnings.warn(f"No environments registered with Gymnasium: {error}", ImportWarning, stacklevel=2)
        return
    for name in names:
        if (environment := f"vla_bench/{name}-v1") not in gymnasium.registry:
            gymnasium.register(
                environment,
                "vla_bench.envs.environment:make_registered",
                vector_entry_point="vla_bench.envs.vector.environment:make_vec_registered",
                kwargs={"task_id": name},
            )


_register_environments()
