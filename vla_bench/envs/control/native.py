"""Calls of MuJoCo's C functions from compiled code, so that a control step runs its physics steps without Python.

numba caches compiled code only if it contains no addresses, so the addresses of the functions are arguments.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import mujoco
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


class Functions(NamedTuple):
    """Addresses of MuJoCo's functions in this process."""

    step1: int  # (model, data)
    step2: int  # (model, data)
    jacobian_of_site: int  # (model, data, position (3, nv), rotation (3, nv), site)
    full_mass: int  # (model, mass (nv, nv), data.qM)


@cache
def library() -> ctypes.CDLL:
    """Return the library that the `mujoco` package has loaded; raise OSError if it cannot be opened."""
    folder = Path(mujoco.__file__).parent
    (found,) = [*folder.glob("libmujoco.so*"), *folder.glob("libmujoco*.dylib"), *folder.glob("mujoco.dll")][:1]
    return ctypes.CDLL(str(found))  # returns the library already in memory


@cache
def functions() -> Functions:
    """Return the addresses in the library that the `mujoco` package has loaded; raise OSError if it does not open."""
    loaded = library()
    names = ("mj_step1", "mj_step2", "mj_jacSite", "mj_fullM")
    return Functions(*(ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value or 0 for name in names))


@intrinsic
def _call(typing_context, address, arguments):  # type: ignore[no-untyped-def]
    if not isinstance(arguments, types.BaseTuple):
        return None

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        parts = cgutils.unpack_tuple(builder, values[1], len(arguments))  # type: ignore[no-untyped-call]
        kind = ir.FunctionType(ir.VoidType(), [word] * len(parts))
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), parts)
        return context.get_dummy_value()

    words = types.UniTuple(types.int64, len(arguments))  # type: ignore[no-untyped-call]
    return types.void(types.int64, words), generate


call: Callable[[int, tuple[int, ...]], None] = cast(Any, _call)
"""Call the C function at an address with addresses and integers, from compiled code; the result is discarded."""
