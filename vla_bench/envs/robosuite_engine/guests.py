"""Objects of ours that stand as guests in robosuite's scenes: beside its own things, which stay as they are."""

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from vla_bench.envs.descriptions import describe_object, mjcf_path
from vla_bench.envs.mjcf import VISUAL_GROUP, read_mjcf
from vla_bench.envs.robosuite_world.kinds.guest import guest_body

_COLLISION_GROUP = 0  # robosuite's convention: only this group has mass
_WAITING_M = (5.0, 5.0, 1.0)  # out of sight, where a reset leaves them; each 1 m from the next
_COLOURED = "body"  # what the names of geoms begin with that have the description's colour


def with_guests(xml: str, kinds: Sequence[str]) -> str:
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
    description, name = describe_object(kind), guest_body(kind)
    written = ElementTree.fromstring(read_mjcf(mjcf_path("objects", description.mjcf)).to_xml())
    plain = written.find("worldbody/body")
    assert plain is not None, f"{description.mjcf} has a body"
    x, y, z = _WAITING_M
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
    if name.rpartition("/")[2].startswith(_COLOURED):
        geom.set("rgba", rgba)
    if geom.get("contype") != "0":
        yield ElementTree.Element("geom", {**geom.attrib, "group": str(_COLLISION_GROUP)})
    drawn = {"name": f"{name}_visual", "group": str(VISUAL_GROUP), "contype": "0", "conaffinity": "0", "mass": "0"}
    yield ElementTree.Element("geom", {**geom.attrib, **drawn})
