"""The registry of measures, their settings, and the device that GPU measures use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vla_bench.core import egl_devices
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.registry import Registry
from vla_bench.performance.hardware import gpu_name
from vla_bench.performance.record import Metric

# ~ The registry of measures. A new one is one new module in `vla_bench/performance/measures/`.


class NotRunError(VlaBenchError):
    """A measure that this machine cannot take; its text says why."""


@dataclass(frozen=True)
class MeasureSettings:
    """How thoroughly a measure is taken, and what it finds on the machine."""

    turns: int = 5
    seconds: float = 2.0  # of work in a turn of one subject
    scale: float = 1.0  # of everything that is counted instead: episodes, steps, demonstrations
    workers: int = 2  # processes of what runs in several
    full: bool = False  # take what is projected otherwise
    rehearse: bool = False  # take what needs a GPU on the processor, at a size that it can run
    peers: Mapping[str, str] = field(default_factory=dict)  # name -> Python that has the peer installed
    workspace: Path = Path()  # for what a measure writes; removed afterwards
    note: Callable[[str], None] = lambda text: None  # hears what a reader of the figures must know

    def quick(self) -> "MeasureSettings":
        """Return a setting for a look of about a minute."""
        return replace(self, turns=2, seconds=0.4, scale=0.2)

    def note_versions(self, versions: Mapping[str, str]) -> None:
        """Note the versions of what a peer brought along."""
        if versions:
            self.note("Versions of the peers: " + ", ".join(f"{name} {text}" for name, text in versions.items()) + ".")

    def scaled(self, count: int, least: int = 1) -> int:
        """Return how many of what the default run takes `count` of."""
        return max(least, round(count * self.scale))


MeasureFunction = Callable[[MeasureSettings], Sequence[Metric]]


@dataclass(frozen=True)
class Measure:
    """One thing that is measured."""

    title: str
    take: MeasureFunction  # raises `NotRunError` where it cannot be taken
    in_quick: bool = True  # whether a quick look takes it without being asked to


measures: Registry[Measure] = Registry("measure", package="vla_bench.performance.measures")


def measure(name: str, title: str, *, in_quick: bool = True) -> Callable[[MeasureFunction], Measure]:
    """Return a decorator that registers a function as the measure `name`."""
    return lambda take: measures.register(Measure(title, take, in_quick), name=name)


# ~ What the measures of a GPU machine run on: the GPU and the published size, or a rehearsal on the processor.


@dataclass(frozen=True)
class DeviceSetup:
    """A device, and the network that is measured on it."""

    device: str  # torch's name
    network: str  # a policy card, and a name of `vla_bench.models.openvla.config.ARCHITECTURES`
    dtype: str
    batches: tuple[int, ...]

    @property
    def title(self) -> str:
        """What is measured, in words."""
        return f"{self.network}, random weights in {self.dtype}, {self.device}"


_GPU_SETUP = DeviceSetup("cuda", "openvla-7b", "bfloat16", (1, 4, 8, 16, 32))
_REHEARSAL_SETUP = DeviceSetup("cpu", "openvla-nano", "float32", (1, 4, 8))


def device_setup(setting: MeasureSettings) -> DeviceSetup:
    """Return what to measure; raise `NotRunError` where torch has no GPU and nobody asked for a rehearsal."""
    require_gpu(setting)
    if setting.rehearse:
        return replace(_REHEARSAL_SETUP, device="cuda" if _torch_has_gpu() else "cpu")
    if not _torch_has_gpu():
        import torch

        raise NotRunError(f"torch {torch.__version__} sees no GPU, nvidia-smi does: install a build of torch for CUDA.")
    return _GPU_SETUP


def require_gpu(setting: MeasureSettings) -> None:
    """Raise `NotRunError` where there is no GPU and nobody asked for a rehearsal."""
    if setting.rehearse:
        setting.note(
            f"A rehearsal: {_REHEARSAL_SETUP.network} and whatever draws here, in place of a 7B network on a GPU."
        )
    elif not gpu_name():
        raise NotRunError("no GPU. `--rehearse` takes the same measures on the processor, with a small network.")


def require_rendering_gpu(setting: MeasureSettings) -> None:
    """Raise `NotRunError` where software would draw, and nobody asked for a rehearsal."""
    require_gpu(setting)
    if not setting.rehearse and not egl_devices.egl_gpus():
        raise NotRunError(
            "nvidia-smi shows a GPU, EGL has none, so software would draw. Install libegl1 and the OpenGL part of the "
            "driver (libnvidia-gl of its version); in a container, set NVIDIA_DRIVER_CAPABILITIES=all."
        )


def _torch_has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
