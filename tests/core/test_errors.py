"""Every message says what is wrong, where, what would be right and what to do next."""

import pickle
from pathlib import Path

import pytest

from vla_bench.core import errors
from vla_bench.core.errors import VlaBenchError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            errors.UnknownNameError("task", "lift_cub", ["lift_cube", "open_drawer"]),
            "No task named 'lift_cub'. Did you mean 'lift_cube'? See `vla-bench list`.",
        ),
        (
            errors.UnknownNameError("suite", "xyz", ["tabletop", "robosuite"]),
            "No suite named 'xyz'. Known: robosuite, tabletop. See `vla-bench list`.",
        ),
        (
            errors.ConfigurationError(Path("a.toml"), "horizon", "-3 is too small", "at least 1"),
            "a.toml: field `horizon`: -3 is too small. Expected at least 1.",
        ),
        (errors.ConfigurationError("a.toml", "kind", "is missing"), "a.toml: field `kind`: is missing."),
        (
            errors.DemonstrationFileError(Path("d.hdf5"), "is cut off", recovered=7),
            "d.hdf5: is cut off. 7 whole demonstrations were recovered.",
        ),
        (
            errors.DemonstrationFileError(Path("d.hdf5"), "is not an HDF5 file"),
            "d.hdf5: is not an HDF5 file.",
        ),
        (errors.CheckpointError("c", "config.json is missing"), "Checkpoint c: config.json is missing."),
        (
            errors.OutputInUseError(Path("runs/x"), "process 12"),
            "runs/x is in use by another run (process 12). Wait for it, stop it, or choose another --output.",
        ),
        (
            errors.OutputMismatchError(Path("runs/x"), ["seed 0, not 1", "policy a, not b"]),
            "runs/x was made with another configuration: seed 0, not 1; policy a, not b. "
            "Use the same options to continue it, or choose another --output.",
        ),
        (
            errors.MissingExtraError("Serving", "websockets", "serving"),
            'Serving needs websockets: `pip install "vla-bench[serving]"`.',
        ),
    ],
)
def test_message(error: VlaBenchError, text: str) -> None:
    assert str(error) == text


def test_rendering_error_says_what_to_install() -> None:
    message = str(errors.RenderingError("no EGL device"))
    assert "no EGL device" in message
    assert "apt-get install libegl1" in message
    assert "MUJOCO_GL=osmesa" in message


@pytest.mark.parametrize(
    "error",
    [
        errors.UnknownNameError("task", "lift_cub", ["lift_cube"]),
        errors.DemonstrationFileError(Path("d.hdf5"), "is cut off", recovered=7),
        errors.RenderingError("no EGL device"),
    ],
)
def test_an_error_comes_out_of_another_process_as_it_was(error: VlaBenchError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_every_error_can_be_caught_as_one() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 5
    assert all(issubclass(kind, VlaBenchError) for kind in kinds)
