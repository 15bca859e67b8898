"""Construction of robosuite environments, optionally with additional objects in their scenes."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any
from xml.etree import ElementTree

from vla_bench.core.errors import ConventionError, UnknownNameError
from vla_bench.core.types import CONTROL_HZ
from vla_bench.envs.descriptions import describe_object, mjcf_path
from vla_bench.envs.mjcf import VISUAL_GROUP, read_mjcf
from vla_bench.envs.robosuite.items.objects import guest_body_name

# ~ Objects of ours that stand as guests in robosuite's scenes: beside its own things, which stay as they are.

_COLLISION_GROUP = 0  # robosuite's convention: only this group has mass
_PARKING_POSITION_M = (5.0, 5.0, 1.0)  # out of sight, where a reset leaves them; each 1 m from the next
_COLORED = "body"  # what the names of geoms begin with that have the description's colour


def add_guest_objects(xml: str, kinds: Sequence[str]) -> str:
    """Return robosuite's MJCF with an object of each of our `kinds`, free to move, after everything else.

    A geom becomes two, as with robosuite's own objects: one that touches and has mass, and one that is drawn.
    """
    root = ElementTree.fromstring(xml)
    world = root.find("worldbody")
    assert world is not None, "robosuite's MJCF has a worldbody"
    for number, kind in enumerate(kinds):
        world.append(_body(kind, number))
    return ElementTree.tostring(root, encoding="unicode")


def _body(kind: str, number: int) -> ElementTree.Element:
    description, name = describe_object(kind), guest_body_name(kind)
    written = ElementTree.fromstring(read_mjcf(mjcf_path("objects", description.mjcf)).to_xml())
    plain = written.find("worldbody/body")
    assert plain is not None, f"{description.mjcf} has a body"
    x, y, z = _PARKING_POSITION_M
    body = ElementTree.Element("body", name=name, pos=f"{x + number} {y} {z}")
    ElementTree.SubElement(body, "freejoint", name=f"{name}/free")
    rgba = " ".join(map(str, description.rgba))
    for part in plain:
        part.set("name", f"{name}/{part.get('name')}")
        if part.tag == "geom":
            body.extend(_geoms(part, rgba))
        else:
            body.append(part)
    return body


def _geoms(geom: ElementTree.Element, rgba: str) -> Iterator[ElementTree.Element]:
    name = geom.get("name", "")
    if name.rpartition("/")[2].startswith(_COLORED):
        geom.set("rgba", rgba)
    if geom.get("contype") != "0":
        yield ElementTree.Element("geom", {**geom.attrib, "group": str(_COLLISION_GROUP)})
    drawn = {"name": f"{name}_visual", "group": str(VISUAL_GROUP), "contype": "0", "conaffinity": "0", "mass": "0"}
    yield ElementTree.Element("geom", {**geom.attrib, **drawn})


# ~ Building a stock robosuite environment.

_ROBOTS = {"panda": "Panda"}
_SIZE_SEED = 0  # robosuite draws the size of Lift's cube when it builds the model: the same cube in every environment
_FIXED_OPTIONS: dict[str, object] = {  # options that are the same in every task
    "has_renderer": False,
    "has_offscreen_renderer": False,
    "use_camera_obs": False,
    "use_object_obs": False,
    "control_freq": CONTROL_HZ,
    "ignore_done": True,  # the horizon is the task's
    "hard_reset": False,  # compiling anew takes two seconds
    "seed": _SIZE_SEED,
}


def make_robosuite_env(robot: str, guests: Sequence[str] = (), *, env_name: object = "", **options: object) -> Any:
    """Return robosuite's environment `env_name` with one robot, or two where it takes two; `options` are its own.

    `guests` are kinds of our objects that stand in its scene besides.
    """
    with _quiet_logging():
        import robosuite
        from robosuite.environments.manipulation.two_arm_env import TwoArmEnv

        check_options(env_name=env_name, **options)
        if robot not in _ROBOTS:
            raise ConventionError(f"Suite `robosuite` has no robot {robot!r}. Known: {', '.join(_ROBOTS)}.")
        two_arms = issubclass(robosuite.environments.REGISTERED_ENVS[env_name], TwoArmEnv)
        env = robosuite.make(
            env_name,
            robots=[_ROBOTS[robot]] * (2 if two_arms else 1),
            **_FIXED_OPTIONS,
            **options,
        )
        if guests:
            env.set_xml_processor(lambda xml: add_guest_objects(xml, guests))
            env._initialize_sim()  # compiles the same model, processed; a hard reset would draw sizes anew
            env.reset()
        return env


def check_options(*, env_name: object = "", **options: object) -> None:
    """Raise `UnknownNameError` for an environment that robosuite lacks, or an option that it does not leave to us."""
    with _quiet_logging():
        import robosuite

        if env_name not in robosuite.ALL_ENVIRONMENTS:
            raise UnknownNameError("robosuite environment", str(env_name), robosuite.ALL_ENVIRONMENTS)
        kinds = robosuite.environments.REGISTERED_ENVS[env_name].__mro__
        names = {name for kind in kinds if "__init__" in vars(kind) for name in signature(kind.__init__).parameters}
        known = names - {"self", "args", "kwargs", "robots", *_FIXED_OPTIONS}
        for option in options:
            if option not in known:
                raise UnknownNameError(f"option of robosuite's {env_name}", option, known)


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """Keep robosuite's remarks about optional packages and controller files off the user's terminal."""
    logger = logging.getLogger("robosuite_logs")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before  # one silence may lie within another
