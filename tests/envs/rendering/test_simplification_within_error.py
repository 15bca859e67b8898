"""Simplification of visual meshes within an error bound, with textures."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from vla_bench.envs.rendering.backend import load_mujoco
from vla_bench.envs.rendering.mesh_simplification import Surface, Tolerance, set_mesh_surface, simplify_mesh_file

load_mujoco()

_BOUND_M = 0.002
_TOLERANCE = Tolerance(share=1.0, least_m=0.0, most_m=_BOUND_M)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLA_BENCH_CACHE", str(tmp_path / "cache"))


def _can(folder: Path) -> Path:
    """Write a can, 8 cm wide and 12 cm high, of 6400 faces whose texture surrounds it once, with a seam."""
    around, up = 80, 40
    lines = [
        f"v {0.04 * np.cos(angle):.7f} {0.04 * np.sin(angle):.7f} {0.12 * row / up:.7f}"
        for row in range(up + 1)
        for angle in 2 * np.pi * np.arange(around) / around
    ]
    lines += [f"vt {column / around:.7f} {row / up:.7f}" for row in range(up + 1) for column in range(around + 1)]
    for row in range(up):
        for column in range(around):
            corners = [(row, column), (row, column + 1), (row + 1, column + 1), (row + 1, column)]
            names = [f"{r * around + c % around + 1}/{r * (around + 1) + c + 1}" for r, c in corners]
            lines += [f"f {names[0]} {names[1]} {names[2]}", f"f {names[0]} {names[2]} {names[3]}"]
    path = folder / "can.obj"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _distance_m(surface: Surface, path: Path) -> float:
    """Largest distance from the file's surface to the simplified one and back [m], by points on both."""
    whole = trimesh.load_mesh(path, process=False)
    kept = trimesh.Trimesh(surface.vertices, surface.faces, process=False)
    points = [trimesh.sample.sample_surface(mesh, 60000, seed=0)[0] for mesh in (whole, kept)]
    return max(float(cKDTree(one).query(other)[0].max()) for one, other in (points, points[::-1]))


def test_the_surface_stays_within_its_bound_and_loses_most_faces(tmp_path: Path) -> None:
    path = _can(tmp_path)
    surface = simplify_mesh_file(path, _TOLERANCE, scale=1.0, textured=True)
    assert 20 < len(surface.faces) < 6400 / 20
    assert _distance_m(surface, path) < _BOUND_M + 0.0015  # which is how far apart the points are


def test_texture_coordinates_belong_to_their_vertices(tmp_path: Path) -> None:
    surface = simplify_mesh_file(_can(tmp_path), _TOLERANCE, scale=1.0, textured=True)
    x, y, z = surface.vertices.T
    across, up = surface.texture.T
    assert len(surface.texture) == len(surface.vertices)
    turned = np.exp(2j * np.pi * across)
    assert np.allclose(turned, (x + 1j * y) / 0.04, atol=1e-4)
    assert np.allclose(1 - up, z / 0.12, atol=1e-4) or np.allclose(up, z / 0.12, atol=1e-4)
    corners = across[surface.faces]
    assert np.ptp(corners, axis=1).max() < 0.5  # no face spans the seam the wrong way round


def test_a_mesh_without_texture_has_no_seam(tmp_path: Path) -> None:
    path = _can(tmp_path)
    plain, textured = (simplify_mesh_file(path, _TOLERANCE, scale=1.0, textured=one) for one in (False, True))
    assert plain.texture.size == 0
    assert len(plain.vertices) < len(textured.vertices)


def test_the_bound_is_in_meters_for_every_unit_of_the_file(tmp_path: Path) -> None:
    path = _can(tmp_path)
    metres = simplify_mesh_file(path, _TOLERANCE, scale=1.0, textured=False)
    large = simplify_mesh_file(path, _TOLERANCE, scale=10.0, textured=False)  # the file's unit is 10 m
    assert len(large.faces) > 2 * len(metres.faces)


def test_a_simplified_mesh_is_cached(tmp_path: Path) -> None:
    path = _can(tmp_path)
    first, again = (simplify_mesh_file(path, _TOLERANCE, scale=1.0, textured=True) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    assert len(list((tmp_path / "cache" / "meshes").iterdir())) == 1


def test_a_simplified_mesh_has_the_pose_of_the_original(tmp_path: Path) -> None:
    path, models = _can(tmp_path), []
    for simplified in (False, True):
        spec = mujoco.MjSpec()
        mesh = spec.add_mesh(name="can", file=str(path), scale=[2.0, 2.0, 2.0])
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="can", pos=[1.0, 2.0, 3.0])
        if simplified:
            set_mesh_surface(simplify_mesh_file(path, _TOLERANCE, scale=2.0, textured=True), mesh)
        model = spec.compile()
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        vertices = model.mesh_vert @ data.geom_xmat[0].reshape(3, 3).T + data.geom_xpos[0]
        models.append((vertices.min(axis=0), vertices.max(axis=0)))
        assert model.mesh_texcoordadr[0] >= 0
    assert np.allclose(models[0], models[1], atol=2 * _BOUND_M)
