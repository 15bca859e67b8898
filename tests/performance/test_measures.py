"""Every registered measure and peer fulfills its contract; slow ones are marked."""

import ast
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from vla_bench.core import egl_devices
from vla_bench.core.errors import UnknownNameError
from vla_bench.performance import registry
from vla_bench.performance.benchmark import BenchmarkOptions, run_benchmark, run_measure
from vla_bench.performance.hardware import gpu_name
from vla_bench.performance.peers import peers
from vla_bench.performance.record import MeasureResult
from vla_bench.performance.registry import MeasureSettings, measures
from vla_bench.performance.workload_processes import WorkloadTurns

TINY = MeasureSettings(turns=1, seconds=0.02, scale=0.01, workers=1)
CHEAP = ("gpu-environments", "gpu-episodes", "gpu-inference", "mujoco-warp", "peers")
TARGETS = {  # measure -> metrics with a target
    "tabletop-images": {"tabletop-ratio"},
    "robosuite-images": {"fast-ratio", "faithful-ratio"},
    "resets": {"tabletop-ratio", "robosuite-ratio"},
    "physics": {"tabletop-simulate-share", "robosuite-simulate-share"},
    "scheduling": {"two-against-one", "overhead-share"},
    "evaluation": {"minutes"},
    "demonstrations": {"per-minute"},
    "memory": {"tabletop-worker", "robosuite-worker"},
}


def _check_contract(name: str) -> None:
    outcome = run_measure(name, TINY)
    assert not outcome.failed, outcome.not_run
    assert bool(outcome.figures) != bool(outcome.not_run)
    names = [figure.name for figure in outcome.figures]
    assert len(names) == len(set(names))
    assert not any("." in figure for figure in names)  # `measure.figure` names it in a record
    assert outcome.not_run or {figure.name for figure in outcome.figures if figure.aim} == TARGETS.get(name, set())
    assert all(value > 0 for figure in outcome.figures if figure.kind != "share" for value in figure.turns)
    assert MeasureResult.model_validate_json(outcome.model_dump_json()) == outcome


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.gpu) if name.startswith("gpu-") and gpu_name() else name for name in CHEAP],
)
def test_cheap_measure_fulfills_the_contract(name: str) -> None:
    _check_contract(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(measures) - set(CHEAP)))
def test_slow_measure_fulfills_the_contract(name: str) -> None:
    _check_contract(name)


def test_every_target_has_its_measure() -> None:
    assert set(TARGETS) <= set(measures)


@pytest.mark.skipif(bool(gpu_name()), reason="the machine has a GPU")
@pytest.mark.parametrize("name", ["gpu-environments", "gpu-episodes", "gpu-inference"])
def test_gpu_measures_report_a_missing_gpu(name: str) -> None:
    assert run_measure(name, TINY).not_run.startswith(
        "this machine has no GPU. `--rehearse` runs the same measures on the CPU"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch has a GPU")
def test_gpu_missing_in_torch_or_opengl_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "gpu_name", lambda: "1 x A GPU")
    for name in ("gpu-episodes", "gpu-inference"):
        assert "finds no GPU, but nvidia-smi does. Install a build of torch for CUDA" in run_measure(name, TINY).not_run
    monkeypatch.setattr(egl_devices, "egl_devices", lambda: ())
    assert "in a container, set NVIDIA_DRIVER_CAPABILITIES=all" in run_measure("gpu-environments", TINY).not_run


@pytest.mark.skipif(find_spec("mujoco_warp") is not None, reason="mujoco_warp is installed")
def test_missing_mujoco_warp_gives_the_installation_command() -> None:
    reason = run_measure("mujoco-warp", TINY).not_run
    assert f"pip install mujoco=={version('mujoco')} mujoco-warp==" in reason
    assert "--peer mujoco-warp=/path/bin/python" in reason


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpu-environments", "gpu-episodes", "gpu-inference"])
def test_rehearsal_runs_the_gpu_measures(name: str) -> None:
    outcome = run_measure(name, replace(TINY, rehearse=True))
    assert not outcome.not_run
    assert outcome.notes[0].startswith("A rehearsal: openvla-nano")
    assert all(value > 0 for figure in outcome.figures for value in figure.turns)


def test_peers_explain_the_option() -> None:
    assert (
        "--peer NAME=/path/bin/python with NAME one of libero, maniskill, metaworld."
        in run_measure("peers", TINY).not_run
    )


def test_unknown_measure_suggests_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"No measure named 'tabletop-image'\. Did you mean 'tabletop-images'"):
        run_benchmark(BenchmarkOptions(only=("tabletop-image",)), "")


@pytest.mark.parametrize("name", sorted(peers))
def test_peer_imports_the_standard_library_only_outside_make(name: str) -> None:
    tree = ast.parse(peers[name].module.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(module.startswith("vla_bench") for module in imported)
    outside = {name for node in tree.body if isinstance(node, ast.Import) for name in (a.name for a in node.names)}
    assert outside <= {"builtins", "os"}
    assert peers[name].title
    assert peers[name].distributions


def test_workload_server_supports_old_python_versions() -> None:
    script = Path(peers["robosuite"].module).parents[1] / "workload_server.py"
    ast.parse(script.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_stock_robosuite_runs_a_turn() -> None:
    with WorkloadTurns({"stock": peers["robosuite"].workload(image_size=64, cameras=0)}) as turns:
        assert turns.versions["robosuite"] == "1.5.2"
        assert turns.one("stock", steps=3, resets=1).steps == 3
