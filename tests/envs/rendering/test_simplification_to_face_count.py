"""Simplification of visual meshes to a number of faces, and its cache."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from vla_bench.core.types import FloatArray
from vla_bench.envs.rendering.mesh_simplification import simplify_to_face_count

_FACES = 160


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLA_BENCH_CACHE", str(tmp_path / "cache"))


def _ellipsoid(folder: Path) -> Path:
    """Write an ellipsoid of 1280 faces, 20 x 10 x 40 cm, each face with vertices of its own."""
    mesh = trimesh.creation.icosphere(subdivisions=3)
    corners = (np.asarray(mesh.vertices) * (0.1, 0.05, 0.2))[mesh.faces].reshape(-1, 3)
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in corners]
    lines += [f"f {corner} {corner + 1} {corner + 2}" for corner in range(1, len(corners), 3)]
    path = folder / "ellipsoid.obj"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _cached(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "meshes").iterdir())


def _extent(vertices: FloatArray) -> FloatArray:
    return np.stack([vertices.min(axis=0), vertices.max(axis=0)])


def test_simplification_keeps_the_bounding_box_and_a_closed_surface(tmp_path: Path) -> None:
    vertices, faces = simplify_to_face_count(_ellipsoid(tmp_path), _FACES)
    assert _FACES / 2 < len(faces) <= _FACES
    assert np.allclose(_extent(vertices), [[-0.1, -0.05, -0.2], [0.1, 0.05, 0.2]], atol=0.008)
    mesh = trimesh.Trimesh(vertices, faces)
    assert mesh.is_watertight  # the split vertices were welded
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.1 * 0.05 * 0.2, rel=0.08)


def test_a_small_mesh_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "box.stl"
    trimesh.creation.box((0.1, 0.2, 0.3)).export(path)
    vertices, faces = simplify_to_face_count(path, _FACES)
    assert len(faces) == 12
    assert np.allclose(_extent(vertices), [[-0.05, -0.1, -0.15], [0.05, 0.1, 0.15]])


def test_a_simplified_mesh_is_read_from_the_cache(tmp_path: Path) -> None:
    path = _ellipsoid(tmp_path)
    first = simplify_to_face_count(path, _FACES)
    (cached,) = _cached(tmp_path)
    again = simplify_to_face_count(path, _FACES)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    np.savez(cached, vertices=np.full((3, 3), 7.0), faces=np.zeros((1, 3), dtype=np.int32))  # marked
    assert np.array_equal(simplify_to_face_count(path, _FACES)[0], np.full((3, 3), 7.0))


def test_each_mesh_and_number_of_faces_has_its_own_cache_entry(tmp_path: Path) -> None:
    path = _ellipsoid(tmp_path)
    many = simplify_to_face_count(path, _FACES)[1]
    few = simplify_to_face_count(path, _FACES // 2)[1]
    path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    simplify_to_face_count(path, _FACES)
    assert len(few) < len(many)
    assert len(_cached(tmp_path)) == 3


@pytest.mark.parametrize("damage", ["empty", "cut off", "bits", "foreign", "incomplete"])
def test_a_damaged_cache_entry_is_regenerated(tmp_path: Path, damage: str) -> None:
    path = _ellipsoid(tmp_path)
    vertices, faces = simplify_to_face_count(path, _FACES)
    (cached,) = _cached(tmp_path)
    whole = cached.read_bytes()
    middle = whole.index(vertices.tobytes()) + vertices.nbytes // 2
    contents = {
        "empty": b"",
        "cut off": whole[:middle],
        "bits": whole[:middle] + b"\0\1\2\3" + whole[middle + 4 :],
        "foreign": b"something else",
    }
    if damage == "incomplete":
        np.savez(cached, vertices=vertices)
    else:
        cached.write_bytes(contents[damage])
    again = simplify_to_face_count(path, _FACES)
    assert np.array_equal(again[0], vertices)
    assert np.array_equal(again[1], faces)
    with np.load(cached) as arrays:
        assert np.array_equal(arrays["vertices"], vertices)
