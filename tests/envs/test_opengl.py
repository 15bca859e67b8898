"""Rendering works where nobody chose a backend, and says what to install where there is none."""

import ctypes.util
import os
import subprocess
import sys

import pytest

_LOAD = "from vla_bench.envs.opengl import load_mujoco; load_mujoco()\n"
_DRAW = """
import mujoco
renderer = mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco><worldbody><light/></worldbody></mujoco>"), 16, 16)
renderer.update_scene(mujoco.MjData(renderer.model))
print(renderer.render().shape)
"""
_CHOICES = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY")
_ERROR = "vla_bench.core.errors.RenderingError: Cannot render off screen: MUJOCO_GL={} gives "


def _run(program: str, backend: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in _CHOICES}
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


@pytest.mark.skipif(ctypes.util.find_library("OSMesa") is not None, reason="OSMesa is installed here")
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


@pytest.mark.skipif(ctypes.util.find_library("OSMesa") is not None, reason="OSMesa is installed here")
def test_what_is_not_drawn_needs_no_opengl() -> None:
    done = _run(_STEP.replace("CAMERAS", "()"), backend="osmesa")
    assert done.stdout.split("\n")[0] == "(False, False) osmesa", done.stderr
    done = _run(_STEP.replace("CAMERAS", "('wrist',)"), backend="osmesa")
    assert _ERROR.format("osmesa") in done.stderr
