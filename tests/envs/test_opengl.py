"""Rendering works where nobody chose a backend, and says what to install where there is none."""

import os
import subprocess
import sys

import pytest

from vla_bench.envs import egl
from vla_bench.envs.opengl import has_osmesa, opengl_variables

_LOAD = "from vla_bench.envs.opengl import load_mujoco; load_mujoco()\n"
_DRAW = """
import mujoco
renderer = mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco><worldbody><light/></worldbody></mujoco>"), 16, 16)
renderer.update_scene(mujoco.MjData(renderer.model))
print(renderer.render().shape)
"""
_CHOICES = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY", "MUJOCO_EGL_DEVICE_ID")
_ERROR = "vla_bench.core.errors.RenderingError: Cannot render off screen: MUJOCO_GL={} gives "


def _run(program: str, backend: str | None, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in _CHOICES} | variables
    if backend is not None:
        environment["MUJOCO_GL"] = backend
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MuJoCo chooses")
def test_nobody_has_to_choose_a_backend() -> None:
    done = _run(_LOAD + _DRAW, backend=None)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["(16,", "16,", "3)"]


def test_a_backend_that_does_not_exist_is_told() -> None:
    done = _run(_LOAD, backend="nonsense")
    assert _ERROR.format("nonsense") + "RuntimeError: invalid value" in done.stderr
    assert "Install EGL (`apt-get install" in done.stderr


@pytest.mark.skipif(has_osmesa(), reason="OSMesa is installed here")
def test_a_backend_that_is_not_installed_is_told() -> None:
    done = _run(_LOAD, backend="osmesa")
    assert _ERROR.format("osmesa") in done.stderr
    assert "`apt-get install libosmesa6`" in done.stderr


_STEP = """
import os
import vla_bench
environment = vla_bench.make("tabletop_pick.pick_red_cube", cameras=CAMERAS)
environment.reset(seed=0)
print(environment.advance([0.1] * 7)[1:3], os.environ["MUJOCO_GL"])
"""


@pytest.mark.skipif(has_osmesa(), reason="OSMesa is installed here")
def test_what_is_not_drawn_needs_no_opengl() -> None:
    done = _run(_STEP.replace("CAMERAS", "()"), backend="osmesa")
    assert done.stdout.split("\n")[0] == "(False, False) osmesa", done.stderr
    done = _run(_STEP.replace("CAMERAS", "('wrist',)"), backend="osmesa")
    assert _ERROR.format("osmesa") in done.stderr


_ENVIRONMENT = """
import os
import vla_bench
environment = vla_bench.make("tabletop_pick.pick_red_cube", image_size=32)
print(environment.reset(seed=0)[0]["images"]["wrist"].std() > 5, os.environ["MUJOCO_GL"])
"""


@pytest.mark.skipif(not has_osmesa(), reason="OSMesa is not installed here")
def test_osmesa_draws_where_egl_does_not_work() -> None:
    done = _run(_ENVIRONMENT, backend=None, MUJOCO_EGL_DEVICE_ID="9")
    assert done.stdout.split() == ["True", "osmesa"], done.stderr
    assert "EGL does not work on this machine: OSMesa draws instead" in done.stderr


@pytest.mark.skipif(has_osmesa(), reason="OSMesa is installed here")
def test_where_nothing_works_egl_says_why() -> None:
    done = _run(_ENVIRONMENT, backend=None, MUJOCO_EGL_DEVICE_ID="9")
    assert _ERROR.removesuffix("MUJOCO_GL={} gives ") in done.stderr
    assert "must be an integer between 0 and" in done.stderr


def test_the_choice_of_the_user_stands() -> None:
    done = _run(_ENVIRONMENT, backend="egl", MUJOCO_EGL_DEVICE_ID="9")
    assert done.returncode != 0
    assert "MUJOCO_EGL_DEVICE_ID" in done.stderr


_THREADS = """
import os, vla_bench
environment = vla_bench.make("tabletop_pick.pick_red_cube", image_size=32)
environment.reset(seed=0)
threads = [open(f"/proc/self/task/{each}/comm").read() for each in os.listdir("/proc/self/task")]
print(os.environ["LP_NUM_THREADS"], sum(name.startswith("llvmpipe") for name in threads))
"""


@pytest.mark.skipif(not [device for device in egl.devices() if device.is_software()], reason="drawn by a GPU")
def test_software_opengl_uses_the_threads_that_were_chosen() -> None:
    assert _run(_THREADS, backend=None, LP_NUM_THREADS="3").stdout.split() == ["3", "3"]
    environment = {"LP_NUM_THREADS": opengl_variables()["LP_NUM_THREADS"]}
    assert _run(_THREADS, backend=None, **environment).stdout.split() == [environment["LP_NUM_THREADS"]] * 2


@pytest.mark.parametrize(("cores", "workers", "threads"), [(1, 1, 0), (2, 1, 2), (2, 2, 0), (8, 3, 2), (64, 2, 8)])
def test_drawing_threads_share_the_cores_with_workers(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    assert opengl_variables(workers)["LP_NUM_THREADS"] == str(threads)


class _Device:
    def __init__(self, number: int, software: bool) -> None:
        self.number, self._software = number, software

    def is_software(self) -> bool:
        return self._software


def test_workers_take_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = (_Device(0, False), _Device(1, True), _Device(2, False))
    monkeypatch.setattr(egl, "devices", lambda: gpus)
    chosen = [opengl_variables(4, worker).get("MUJOCO_EGL_DEVICE_ID") for worker in range(4)]
    assert chosen == ["0", "2", "0", "2"]
    assert "MUJOCO_EGL_DEVICE_ID" not in opengl_variables(1)  # MuJoCo takes the first that works
    monkeypatch.setattr(egl, "devices", lambda: gpus[:2])
    assert "MUJOCO_EGL_DEVICE_ID" not in opengl_variables(4)
