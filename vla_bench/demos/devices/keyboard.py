"""A person at a keyboard."""

from vla_bench.demos.devices.device import DeviceSpec, devices
from vla_bench.demos.devices.hand import HandDevice

_MOTIONS = "arrows: along the table   ; up   . down   o p: turn   y h, e r: tilt   space: gripper"


@devices.named("keyboard")
def keyboard_device(spec: DeviceSpec) -> HandDevice:
    """Return a person at a keyboard, by robosuite's driver."""
    from vla_bench.envs.hand_controllers import keyboard

    return HandDevice("keyboard", keyboard(), _MOTIONS)
