"""Errors that a user can act on."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

_LISTED = ("task", "suite", "policy")  # kinds that `vla-bench list` shows


class VlaBenchError(Exception):
    """Root of every error that the package raises on purpose; the command line prints it without a traceback."""

    def __reduce__(self) -> tuple[object, ...]:
        # Unpickled from its text, because __init__ takes other arguments: a process pool would wait forever on a
        # failure.
        return _with_text, (type(self), self.args)


def _with_text(kind: type[VlaBenchError], arguments: tuple[object, ...]) -> VlaBenchError:
    error = kind.__new__(kind)
    error.args = arguments
    return error


class UnknownNameError(VlaBenchError):
    """A task, policy, suite or other registered name that does not exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else f" Known: {', '.join(names)}."
        listed = " See `vla-bench list`." if kind in _LISTED else ""
        super().__init__(f"No {kind} named {name!r}.{hint}{listed}")


class ConfigurationError(VlaBenchError):
    """A TOML file (task, policy card, robot, scene) with a wrong or missing field."""

    def __init__(self, path: Path | str, field: str, problem: str, expected: str = "") -> None:
        self.source, self.field, self.problem, self.expected = str(path), field, problem, expected
        wanted = f" Expected {expected}." if expected else ""
        stop = "" if problem.endswith((".", "?")) else "."
        super().__init__(f"{path}: field `{field}`: {problem}{stop}{wanted}")


class DemonstrationFileError(VlaBenchError):
    """A demonstration file that cannot be read as one."""

    def __init__(self, path: Path, problem: str, *, recovered: int = 0) -> None:
        rescued = f" {recovered} whole demonstrations were recovered." if recovered else ""
        super().__init__(f"{path}: {problem}.{rescued}")


class CheckpointError(VlaBenchError):
    """A checkpoint folder that is incomplete or does not fit the model."""

    def __init__(self, path: Path | str, problem: str) -> None:
        super().__init__(f"Checkpoint {path}: {problem}.")


class ConventionError(VlaBenchError):
    """A policy card, an environment and a demonstration file with different conventions."""


class RenderingError(VlaBenchError):
    """No off-screen OpenGL on this machine."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"Cannot render off screen: {cause}. Install EGL (`apt-get install libegl1 libgl1-mesa-dri libgles2`) "
            "or OSMesa (`apt-get install libosmesa6`, then set MUJOCO_GL=osmesa)."
        )


class OutputInUseError(VlaBenchError):
    """An output path that another process is writing to."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"{path} is in use by another run ({holder}). Wait for it, stop it, or choose another --output."
        )


class OutputPathError(VlaBenchError):
    """An output path that names the working folder or the root."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"--output {path}: expected the name of a file or folder to create, such as {path / 'output'}."
        )


class OutputMismatchError(VlaBenchError):
    """An existing output that was made with another configuration than the requested one."""

    def __init__(self, path: Path, differences: Iterable[str]) -> None:
        super().__init__(
            f"{path} was made with another configuration: {'; '.join(differences)}. "
            "Use the same options to continue it, or choose another --output."
        )


class MissingExtraError(VlaBenchError):
    """A feature whose optional dependency is not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f'{feature} needs {package}: `pip install "vla-bench[{extra}]"`.')
