"""torch.compile for the parts of a network that a batch goes through."""

from vla_bench.models.openvla.network import OpenVLA


def compile_network(model: OpenVLA) -> None:
    """Compile towers, projector and decoder in place, at their first call; names of tensors stay as they are.

    Batch sizes vary, and so do lengths while tokens are generated, so shapes are left open after the first change.
    Needs a C++ compiler on the CPU, and Triton on a GPU.
    """
    for part in (model.vision_backbone, model.projector, model.language_model.model):
        part.compile()
