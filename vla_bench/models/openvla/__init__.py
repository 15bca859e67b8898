"""The OpenVLA architecture: network, processor, action tokens, and checkpoint folders in the published layout."""

from vla_bench.models.openvla.predictor import OpenVLAPredictor, load

__all__ = ["OpenVLAPredictor", "load"]
