import tomllib

import pytest

from vla_bench.core.configuration import to_toml


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"a": 1, "b": 0.5, "c": 1e-8, "d": True, "e": 'quo"te\\ \u00fc\n'},
        {"list": ["x", "y"], "numbers": [1.5, 2], "empty": [], "nested": [[1], [2]]},
        {"table": {"a": 1, "inner": {"b": 2}}, "other": {"only": {"deep": {"c": 3}}}, "last": 4},
        {"by name": {"odd key": {"x": 1}}, "nothing": {}},
    ],
)
def test_what_is_written_is_read_again(content):
    assert tomllib.loads(to_toml(content)) == content


def test_what_is_none_is_left_out():
    assert tomllib.loads(to_toml({"a": None, "b": {"c": None, "d": 1}})) == {"b": {"d": 1}}
