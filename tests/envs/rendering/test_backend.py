"""Choice of the OpenGL backend, its threads and GPUs, and messages for machines without OpenGL."""

import os
import subprocess
import sys

import pytest

from vla_bench.core import egl_devices as egl
from vla_bench.core.process_environment import has_osmesa, opengl_variables

_LOAD = "from vla_bench.envs.rendering.backend import load_mujoco; load_mujoco()\n"
_RENDER = """
import mujoco
renderer = mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco><worldbody><light/></worldbody></mujoco>"), 16, 16)
renderer.update_scene(mujoco.MjData(renderer.model))
print(renderer.render().shape)
"""
_CHOICES = (  # of the user, which must not influence the tests
    *("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY", "MUJOCO_EGL_DEVICE_ID", "CUDA_VISIBLE_DEVICES", "LP_NUM_THREADS"),
)
_NO_DEVICE = "999"  # more EGL devices than any machine has

_ERROR = "vla_bench.core.errors.RenderingError: Cannot render off screen: MUJOCO_GL={} gives "


def _run(program: str, backend: str | None, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in _CHOICES} | variables
    if backend is not None:
        environment["MUJOCO_GL"] = backend
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="MuJoCo chooses the backend on other systems")
def test_a_backend_is_chosen_by_default() -> None:
    done = _run(_LOAD + _RENDER, backend=None)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["(16,", "16,", "3)"]


def test_an_unknown_backend_is_an_error() -> None:
    done = _run(_LOAD, backend="nonsense")
    assert _ERROR.format("nonsense") + "RuntimeError: invalid value" in done.stderr
    assert "Install EGL (`apt-get install" in done.stderr


@pytest.mark.skipif(has_osmesa(), reason="OSMesa is installed here")
def test_a_backend_that_is_not_installed_is_an_error() -> None:
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
def test_simulation_without_cameras_needs_no_opengl() -> None:
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
def test_osmesa_renders_if_egl_does_not_work() -> None:
    done = _run(_ENVIRONMENT, backend=None, MUJOCO_EGL_DEVICE_ID=_NO_DEVICE)
    assert done.stdout.split() == ["True", "osmesa"], done.stderr
    assert "EGL does not work on this machine. OSMesa renders on the CPU instead" in done.stderr


@pytest.mark.skipif(not has_osmesa(), reason="OSMesa is not installed here")
def test_osmesa_renders_after_an_environment_without_cameras() -> None:
    without_cameras = 'import vla_bench; vla_bench.make("tabletop_pick.pick_red_cube", cameras=()).reset(seed=0)'
    done = _run(without_cameras + _ENVIRONMENT, backend=None, MUJOCO_EGL_DEVICE_ID="9")
    assert done.stdout.split() == ["True", "osmesa"], done.stderr


@pytest.mark.skipif(has_osmesa(), reason="OSMesa is installed here")
def test_the_error_of_egl_is_reported_if_no_backend_works() -> None:
    done = _run(_ENVIRONMENT, backend=None, MUJOCO_EGL_DEVICE_ID=_NO_DEVICE)
    assert _ERROR.removesuffix("MUJOCO_GL={} gives ") in done.stderr
    assert "must be an integer between 0 and" in done.stderr


def test_the_choice_of_the_user_is_not_replaced() -> None:
    done = _run(_ENVIRONMENT, backend="egl", MUJOCO_EGL_DEVICE_ID=_NO_DEVICE)
    assert done.returncode != 0
    assert "MUJOCO_EGL_DEVICE_ID" in done.stderr


_THREADS = """
import os, vla_bench
environment = vla_bench.make("tabletop_pick.pick_red_cube", image_size=32)
environment.reset(seed=0)
threads = [open(f"/proc/self/task/{each}/comm").read() for each in os.listdir("/proc/self/task")]
print(os.environ["LP_NUM_THREADS"], sum(name.startswith("llvmpipe") for name in threads))
"""


@pytest.mark.skipif(
    not egl.egl_devices() or not egl.egl_devices()[0].is_software(), reason="the first EGL device is a GPU"
)
def test_software_opengl_uses_the_chosen_number_of_threads() -> None:
    assert _run(_THREADS, backend=None, LP_NUM_THREADS="3").stdout.split() == ["3", "3"]
    environment = {"LP_NUM_THREADS": opengl_variables()["LP_NUM_THREADS"]}
    assert _run(_THREADS, backend=None, **environment).stdout.split() == [environment["LP_NUM_THREADS"]] * 2


@pytest.mark.parametrize(("cores", "workers", "threads"), [(1, 1, 0), (2, 1, 2), (2, 2, 0), (8, 3, 2), (64, 2, 8)])
def test_rendering_threads_share_the_cores_with_workers(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    assert opengl_variables(workers)["LP_NUM_THREADS"] == str(threads)


class _Device:
    def __init__(self, number: int, software: bool, cuda: int | None = None) -> None:
        self.number, self._software, self._cuda = number, software, cuda

    def is_software(self) -> bool:
        return self._software

    def cuda_number(self) -> int | None:
        return self._cuda


def test_workers_take_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = (_Device(0, False), _Device(1, True), _Device(2, False))
    monkeypatch.setattr(egl, "egl_devices", lambda: gpus)
    chosen = [opengl_variables(4, worker).get("MUJOCO_EGL_DEVICE_ID") for worker in range(4)]
    assert chosen == ["0", "2", "0", "2"]
    assert "MUJOCO_EGL_DEVICE_ID" not in opengl_variables(1)  # MuJoCo uses the first one that works
    monkeypatch.setattr(egl, "egl_devices", lambda: gpus[:2])
    assert "MUJOCO_EGL_DEVICE_ID" not in opengl_variables(4)


_FOUR = tuple(_Device(number, False, cuda) for number, cuda in enumerate((2, 1, 0, 3)))  # in EGL's order


@pytest.mark.parametrize(
    ("devices", "visible", "rendering"),
    [
        (_FOUR, "2", [0]),
        (_FOUR, "3, 0", [3, 2]),
        (_FOUR, "7", [0, 1, 2, 3]),
        (_FOUR, "GPU-5a1f", [0, 1, 2, 3]),
        (_FOUR, "", [0, 1, 2, 3]),
        (
            (_Device(0, False, 1), _Device(1, False, 0), _Device(2, True)),
            "4,5",
            [1, 0],
        ),  # a renumbering driver
        ((_Device(0, False), _Device(1, False)), "1", [0, 1]),  # a driver without CUDA numbers
    ],
)
def test_gpus_hidden_from_cuda_do_not_render(
    monkeypatch: pytest.MonkeyPatch, devices: tuple[_Device, ...], visible: str, rendering: list[int]
) -> None:
    monkeypatch.setattr(egl, "egl_devices", lambda: devices)
    assert [device.number for device in egl.egl_gpus(visible)] == rendering
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    workers = [opengl_variables(8, worker).get("MUJOCO_EGL_DEVICE_ID", "0") for worker in range(len(rendering))]
    assert [int(number) for number in workers] == rendering


def test_one_process_renders_on_the_gpu_that_it_computes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egl, "egl_devices", lambda: _FOUR)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert opengl_variables(1)["MUJOCO_EGL_DEVICE_ID"] == "2"


@pytest.mark.skipif(not [device for device in egl.egl_devices() if device.is_software()], reason="no software OpenGL")
def test_software_devices_have_no_cuda_number() -> None:
    assert [device.cuda_number() for device in egl.egl_devices() if device.is_software()] == [None]
