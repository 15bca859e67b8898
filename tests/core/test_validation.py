"""A mistake in a TOML file names the file, the field and what is expected."""

import copy
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from vla_bench.core.configuration import read_toml, salvaged, validated
from vla_bench.core.errors import ConfigurationError


class Wheel(BaseModel):
    model_config = ConfigDict(extra="forbid")
    radius_m: float
    colour: Literal["black", "red"] = "black"


class Cart(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    horizon: int = Field(default=1, ge=1)
    wheel: tuple[Wheel, ...] = ()
    spare: Wheel | None = None


GOOD = {"name": "cart", "wheel": [{"radius_m": 0.1}, {"radius_m": 0.2}], "spare": {"radius_m": 0.1}}


def test_what_is_right_comes_back_as_the_model() -> None:
    assert validated(Cart, GOOD, "cart.toml").wheel[1].radius_m == 0.2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"horizn": 3}, "cart.toml: field `horizn`: is not a known field. Expected 'horizon'."),
        ({"xyz": 3}, "cart.toml: field `xyz`: is not a known field. Expected one of name, horizon, wheel, spare."),
        ({"horizon": -1}, "cart.toml: field `horizon`: -1: Input should be greater than or equal to 1."),
        ({"wheel": [{}]}, "cart.toml: field `wheel.0.radius_m`: is missing."),
        ({"wheel": [{"radius": 1}]}, "cart.toml: field `wheel.0.radius`: is not a known field. Expected 'radius_m'."),
        ({"spare": {"radius": 1}}, "cart.toml: field `spare.radius`: is not a known field. Expected 'radius_m'."),
        (
            {"spare": {"radius_m": 1, "colour": "blue"}},
            "cart.toml: field `spare.colour`: 'blue': Input should be 'black' or 'red'.",
        ),
        ({"name": list(range(1000))}, "cart.toml: field `name`: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_mistake_is_named(change: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        validated(Cart, {**GOOD, **change}, "cart.toml")
    assert str(caught.value).startswith(text)
    assert len(str(caught.value)) < 160


def test_a_table_within_a_file_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"my\.toml: field `robot\.cart\.name`: is missing"):
        validated(Cart, {}, "my.toml", within="robot.cart")


@pytest.mark.parametrize(("content", "text"), [(b"a = [", "is not valid TOML"), (b"\xff\xfe", "is not valid TOML")])
def test_what_is_not_toml_is_told(content: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=text):
        read_toml(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.toml: .* cannot be read: No such file or directory"):
        read_toml(tmp_path / "a.toml")


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    size: Annotated[int, Field(ge=1)] = 1


class Shelf(BaseModel):
    model_config = ConfigDict(extra="forbid")
    label: str
    height: int
    entry: Annotated[tuple[Entry, ...], Field(min_length=1)]


def test_all_mistakes_are_found_and_the_rest_is_kept() -> None:
    content = {
        "lable": "a",
        "height": "tall",
        "entry": [{"size": 2}, {"name": "b", "size": 0}, {"size": 3}, {"name": "d", "colour": 1}],
    }
    before = copy.deepcopy(content)
    shelf, found = salvaged(Shelf, content, "shelf.toml", {"label": "?", "height": 0})
    assert [error.field for error in found] == [
        "height",
        "entry.0.name",
        "entry.1.size",
        "entry.2.name",
        "entry.3.colour",
        "lable",
    ]
    assert str(found[-1]) == "shelf.toml: field `lable`: is not a known field. Expected 'label'."
    assert shelf == Shelf(label="?", height=0, entry=(Entry(name="b"), Entry(name="d")))
    assert content == before


def test_where_nothing_is_left_the_mistakes_are_still_told() -> None:
    shelf, found = salvaged(Shelf, {"label": "a", "height": 1, "entry": [{}]}, "shelf.toml", {"label": "?"})
    assert shelf is None
    assert [str(error) for error in found] == ["shelf.toml: field `entry.0.name`: is missing."]
