"""What the measures of a GPU machine run on: the GPU and the published size, or a rehearsal on the processor."""

from dataclasses import dataclass, replace

from vla_bench.benchmarking.machine import gpu
from vla_bench.benchmarking.measures import NotRunError, Setting
from vla_bench.envs import egl


@dataclass(frozen=True)
class Accelerated:
    """A device, and the network that is measured on it."""

    device: str  # torch's name
    network: str  # a policy card, and a name of `vla_bench.models.openvla.presets.ARCHITECTURES`
    dtype: str
    batches: tuple[int, ...]

    @property
    def title(self) -> str:
        """What is measured, in words."""
        return f"{self.network}, random weights in {self.dtype}, {self.device}"


_ON_GPU = Accelerated("cuda", "openvla-7b", "bfloat16", (1, 4, 8, 16, 32))
_REHEARSAL = Accelerated("cpu", "openvla-nano", "float32", (1, 4, 8))


def accelerated(setting: Setting) -> Accelerated:
    """Return what to measure; raise `NotRunError` where torch has no GPU and nobody asked for a rehearsal."""
    require_gpu(setting)
    if setting.rehearse:
        return replace(_REHEARSAL, device="cuda" if _torch_has_gpu() else "cpu")
    if not _torch_has_gpu():
        import torch

        raise NotRunError(f"torch {torch.__version__} sees no GPU, nvidia-smi does: install a build of torch for CUDA.")
    return _ON_GPU


def require_gpu(setting: Setting) -> None:
    """Raise `NotRunError` where there is no GPU and nobody asked for a rehearsal."""
    if setting.rehearse:
        setting.note(f"A rehearsal: {_REHEARSAL.network} and whatever draws here, in place of a 7B network on a GPU.")
    elif not gpu():
        raise NotRunError("no GPU. `--rehearse` takes the same measures on the processor, with a small network.")


def require_drawing_gpu(setting: Setting) -> None:
    """Raise `NotRunError` where software would draw, and nobody asked for a rehearsal."""
    require_gpu(setting)
    if not setting.rehearse and not egl.gpus():
        raise NotRunError(
            "nvidia-smi shows a GPU, EGL has none, so software would draw. Install libegl1 and the OpenGL part of the "
            "driver (libnvidia-gl of its version); in a container, set NVIDIA_DRIVER_CAPABILITIES=all."
        )


def _torch_has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
