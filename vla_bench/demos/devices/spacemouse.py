"""A person with a SpaceMouse."""

from vla_bench.demos.devices.device import DeviceSpec, devices
from vla_bench.demos.devices.hand import HandDevice

_MOTIONS = "move and twist the cap: the hand follows   left button held: gripper closes"


@devices.named("spacemouse")
def spacemouse_device(spec: DeviceSpec) -> HandDevice:
    """Return a person with a SpaceMouse, by robosuite's driver."""
    from vla_bench.envs.hand_controllers import spacemouse

    return HandDevice("spacemouse", spacemouse(), _MOTIONS)
