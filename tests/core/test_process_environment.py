"""Environment variables of worker processes, and the OpenGL backend that commands and workers select."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vla_bench.core.process_environment import opengl_backend, process_variables


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    for name in ("LP_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert process_variables(3)["LP_NUM_THREADS"] == "2"
    assert process_variables(8)["LP_NUM_THREADS"] == "0"
    assert process_variables(2)["NUMBA_NUM_THREADS"] == "4"
    assert process_variables(16)["OMP_NUM_THREADS"] == "1"


def test_variables_of_the_user_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("LP_NUM_THREADS", "5")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    variables = process_variables(8)
    assert variables["LP_NUM_THREADS"] == "5"
    assert variables["OMP_NUM_THREADS"] == variables["OPENBLAS_NUM_THREADS"] == "7"


@pytest.mark.skipif(sys.platform != "linux", reason="MuJoCo selects the backend on other systems")
@pytest.mark.parametrize(
    ("egl", "osmesa", "backend"), [(True, True, "egl"), (False, True, "osmesa"), (False, False, "egl")]
)
@pytest.mark.filterwarnings("ignore:EGL does not work")
def test_osmesa_replaces_egl_only_if_it_works_better(
    monkeypatch: pytest.MonkeyPatch, egl: bool, osmesa: bool, backend: str
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "")  # no choice
    monkeypatch.setattr("vla_bench.core.process_environment._egl_works", lambda start_driver: egl)
    monkeypatch.setattr("vla_bench.core.process_environment.has_osmesa", lambda: osmesa)
    assert opengl_backend() == backend
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    assert opengl_backend() == "glfw"


# Python runs this module at the start of every process whose PYTHONPATH holds it, so of worker processes too: a machine
# without EGL and with OSMesa. `load_mujoco` is replaced by a report, because OSMesa may not be installed.
_MACHINE_WITHOUT_EGL = """
import ctypes, ctypes.util, os, sys

find_library, CDLL = ctypes.util.find_library, ctypes.CDLL
ctypes.util.find_library = lambda name: {"EGL": None, "OSMesa": "libOSMesa.fake"}.get(name, find_library(name))
ctypes.CDLL = lambda name, *rest, **options: None if name == "libOSMesa.fake" else CDLL(name, *rest, **options)


class Report:
    def find_spec(self, name, path=None, target=None):
        if name == "mujoco":
            print("backend", os.environ.get("MUJOCO_GL"), file=sys.stderr, flush=True)
            os._exit(9)


sys.meta_path.insert(0, Report())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="MuJoCo selects the backend on other systems")
@pytest.mark.parametrize("workers", [1, 2])
def test_commands_and_their_workers_use_osmesa_if_there_is_no_egl(tmp_path: Path, workers: int) -> None:
    (tmp_path / "sitecustomize.py").write_text(_MACHINE_WITHOUT_EGL)
    root = Path(__file__).parents[2]
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(root)])
    command = [sys.executable, "-c", "from vla_bench.cli import main; main()", "generate-demos"]
    options = ["--suite", "tabletop_pick", "--task", "pick_red_cube", "--episodes", "2", "--workers", str(workers)]
    done = subprocess.run(
        [*command, *options, "--output", str(tmp_path / "demos.hdf5")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    backends = [line for line in done.stderr.splitlines() if line.startswith("backend")]
    assert set(backends) == {"backend osmesa"}, json.dumps([done.stdout, done.stderr])
