"""The registry of measures, their settings, and the device that GPU measures use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vla_bench.core import egl_devices
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.registry import Registry
from vla_bench.performance.hardware import gpu_name
from vla_bench.performance.record import Metric


class NotRunError(VlaBenchError):
    """A measure that this machine cannot run; the message gives the reason."""


@dataclass(frozen=True)
class MeasureSettings:
    """Amount of work per measure, and the resources available to it."""

    turns: int = 5
    seconds: float = 2.0  # of work of one workload in a turn
    scale: float = 1.0  # factor of counted work: episodes, steps, demonstrations
    workers: int = 2  # worker processes of runs
    full: bool = False  # run completely what is otherwise projected from a sample
    rehearse: bool = False  # run GPU measures on the CPU, with a small network
    peers: Mapping[str, str] = field(default_factory=dict)  # name -> Python interpreter in which the peer is installed
    workspace: Path = Path()  # temporary folder of a measure
    note: Callable[[str], None] = lambda text: None  # receives remarks for the report

    def quick(self) -> "MeasureSettings":
        """Return settings for a run of about one minute."""
        return replace(self, turns=2, seconds=0.4, scale=0.2)

    def note_versions(self, versions: Mapping[str, str]) -> None:
        """Add the versions of a peer's packages to the notes."""
        if versions:
            self.note("Versions of the peers: " + ", ".join(f"{name} {text}" for name, text in versions.items()) + ".")

    def scaled(self, count: int, least: int = 1) -> int:
        """Return `count` of the default run, scaled and at least `least`."""
        return max(least, round(count * self.scale))


MeasureFunction = Callable[[MeasureSettings], Sequence[Metric]]


@dataclass(frozen=True)
class Measure:
    """A registered measure."""

    title: str
    take: MeasureFunction  # raises `NotRunError` where a requirement is missing
    in_quick: bool = True  # included in `--quick`


measures: Registry[Measure] = Registry("measure", package="vla_bench.performance.measures")


def measure(name: str, title: str, *, in_quick: bool = True) -> Callable[[MeasureFunction], Measure]:
    """Return a decorator that registers a function as the measure `name`."""
    return lambda take: measures.register(Measure(title, take, in_quick), name=name)


@dataclass(frozen=True)
class DeviceSetup:
    """A device and the network that is measured on it.

    The GPU measures use a GPU and the published network size, or, in a rehearsal, the CPU and a small network.
    """

    device: str  # torch's name
    network: str  # name of a policy card and in `vla_bench.models.openvla.config.ARCHITECTURES`
    dtype: str
    batches: tuple[int, ...]

    @property
    def title(self) -> str:
        """Description for titles of metrics."""
        return f"{self.network}, random weights in {self.dtype}, {self.device}"


_GPU_SETUP = DeviceSetup("cuda", "openvla-7b", "bfloat16", (1, 4, 8, 16, 32))
_REHEARSAL_SETUP = DeviceSetup("cpu", "openvla-nano", "float32", (1, 4, 8))


def device_setup(setting: MeasureSettings) -> DeviceSetup:
    """Return device and network; raise `NotRunError` where torch has no GPU and no rehearsal is requested."""
    require_gpu(setting)
    if setting.rehearse:
        return replace(_REHEARSAL_SETUP, device="cuda" if _torch_has_gpu() else "cpu")
    if not _torch_has_gpu():
        import torch

        raise NotRunError(
            f"torch {torch.__version__} finds no GPU, but nvidia-smi does. Install a build of torch for CUDA."
        )
    return _GPU_SETUP


def require_gpu(setting: MeasureSettings) -> None:
    """Raise `NotRunError` where the machine has no GPU and no rehearsal is requested."""
    if setting.rehearse:
        setting.note(
            f"A rehearsal: {_REHEARSAL_SETUP.network} and the available renderer replace a 7B network on a GPU."
        )
    elif not gpu_name():
        raise NotRunError(
            "this machine has no GPU. `--rehearse` runs the same measures on the CPU, with a small network."
        )


def require_rendering_gpu(setting: MeasureSettings) -> None:
    """Raise `NotRunError` where only software rendering is available and no rehearsal is requested."""
    require_gpu(setting)
    if not setting.rehearse and not egl_devices.egl_gpus():
        raise NotRunError(
            "nvidia-smi finds a GPU, but EGL does not, so rendering would run in software. Install libegl1 and the "
            "OpenGL "
            "part of the driver (libnvidia-gl of its version); in a container, set NVIDIA_DRIVER_CAPABILITIES=all."
        )


def _torch_has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
