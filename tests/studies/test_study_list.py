"""`studies/README.md` lists every script, and its links are valid."""

import re
from pathlib import Path

import vla_bench

FOLDER = Path(vla_bench.__file__).parent.parent / "studies"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_readme_lists_every_script() -> None:
    scripts = {path.name for path in FOLDER.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
    assert set(re.findall(r"`(\w+\.py)`", PAGE)) == scripts


def test_links_of_the_readme_exist() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert links
    assert [link for link in links if not (FOLDER / link).exists()] == []
