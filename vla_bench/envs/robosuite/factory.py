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

_COLLISION_GROUP = 0  # robosuite's convention: only geoms of this group have mass
_PARKING_POSITION_M = (5.0, 5.0, 1.0)  # outside the scene, where a reset leaves guests; each 1 m from the next
_COLORED_GEOM_PREFIX = "body"  # of the names of geoms that have the description's color

_ROBOTS = {"panda": "Panda"}
_SIZE_SEED = 0  # robosuite chooses the size of Lift's cube when it builds the model: the same in every environment
_FIXED_OPTIONS: dict[str, object] = {  # options that are the same in every task
    "has_renderer": False,
    "has_offscreen_renderer": False,
    "use_camera_obs": False,
    "use_object_obs": False,
    "control_freq": CONTROL_HZ,
    "ignore_done": True,  # the task defines the horizon
    "hard_reset": False,  # a hard reset compiles the model again, which takes two seconds
    "seed": _SIZE_SEED,
}


def add_guest_objects(xml: str, kinds: Sequence[str]) -> str:
    """Return robosuite's MJCF with a free object of each of our `kinds` after all other bodies.

    As in robosuite's own objects, each geom is replaced by two: one for collisions and mass, and one for rendering.
    """
    root = ElementTree.fromstring(xml)
    world = root.find("worldbody")
    assert world is not None, "robosuite's MJCF has a worldbody"
    for number, kind in enumerate(kinds):
        world.append(_body(kind, number))
    return ElementTree.tostring(root, encoding="unicode")


def make_robosuite_env(robot: str, guests: Sequence[str] = (), *, env_name: object = "", **options: object) -> Any:
    """Return robosuite's environment `env_name` with one robot, or two for a two-arm environment.

    `guests` are kinds of our objects to add to its scene; `options` are the environment's own.

    Raises:
        ConventionError: for an unknown robot.
        UnknownNameError: for an unknown environment or option.
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
            env._initialize_sim()  # compiles the processed model; a hard reset would choose sizes again
            env.reset()
        return env


def check_options(*, env_name: object = "", **options: object) -> None:
    """Raise `UnknownNameError` for an environment that robosuite lacks, or an option that a task may not set."""
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
    """Suppress robosuite's log messages about optional packages and controller files."""
    logger = logging.getLogger("robosuite_logs")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before  # calls may be nested


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
    if name.rpartition("/")[2].startswith(_COLORED_GEOM_PREFIX):
        geom.set("rgba", rgba)
    if geom.get("contype") != "0":
        yield ElementTree.Element("geom", {**geom.attrib, "group": str(_COLLISION_GROUP)})
    visual = {"name": f"{name}_visual", "group": str(VISUAL_GROUP), "contype": "0", "conaffinity": "0", "mass": "0"}
    yield ElementTree.Element("geom", {**geom.attrib, **visual})
