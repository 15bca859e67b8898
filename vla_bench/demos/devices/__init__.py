"""What may act in a recorded episode: an expert, a policy, a recording, a person. A module a device."""

from vla_bench.demos.devices.device import Decision, Device, DeviceError, DeviceSpec, Verdict, devices

__all__ = ["Decision", "Device", "DeviceError", "DeviceSpec", "Verdict", "devices"]
