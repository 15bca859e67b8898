"""The page of tasks agrees with the registry and the table, and has an image of every task."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import vla_bench
from tests.authoring.task_files import TWO_TASKS, written
from vla_bench.authoring.images import NoTaskImageError, is_current, render_task_image
from vla_bench.authoring.page import IMAGES_FOLDER, TaskRow, image_name, read_rows, tasks_page
from vla_bench.core.files import TASKS_VARIABLE
from vla_bench.tasks import get_task, load_suite, suites, task_ids

ROOT = Path(vla_bench.__file__).parent.parent
DOCS = ROOT / "docs"
ROW = TaskRow("kitchen.can_on_plate", "panda", 200, 199, (7,), 64.4, 90, 160, 2, 200, 98, 41.6, "abc", "2026-11-25")


def test_the_page_in_the_docs_is_what_would_be_written_now() -> None:
    page = tasks_page(suites(), read_rows(ROOT / "results" / "tasks.csv"))
    assert (DOCS / "tasks.md").read_text(encoding="utf-8") == page, "run `vla-bench docs tasks`"


def test_every_task_has_a_picture_and_every_picture_a_task() -> None:
    pictures = {path.name for path in (DOCS / IMAGES_FOLDER).glob("*")}
    stale = [name for name in task_ids() if not is_current(get_task(name), DOCS / IMAGES_FOLDER / f"{name}.jpg")]
    assert stale == [], "run `vla-bench docs tasks`"
    assert pictures == {image_name(get_task(name)) for name in task_ids()}, "run `vla-bench docs tasks`"
    assert sum(path.stat().st_size for path in (DOCS / IMAGES_FOLDER).glob("*")) < 2e6


def test_a_page_says_what_a_task_is_and_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TWO_TASKS.replace('name = "can', 'horizon = 99\nmust_not = ["moved(plate)"]\nname = "can')
    monkeypatch.setenv(TASKS_VARIABLE, str(written(tmp_path, text)))
    page = tasks_page(["kitchen"], {(ROW.task, ROW.robot): ROW})
    section = page[page.index("### kitchen.can_on_plate") :]
    for said in (
        "![put the can on the plate](images/tasks/kitchen.can_on_plate.jpg)",
        "**“put the can on the plate”**",
        "- Goal: `on(can, plate)` and `released(can)`",
        "- Must not: `moved(plate)`",
        "- Objects: mug, can, plate",
        "- Start: `in_region(plate, right)`, `in_region(mug, middle)`, `in_region(can, middle)`",
        "- Horizon: 99 steps",
        "- Same start: 2 tasks",
        "- panda: expert 99.5 % of 200 (interval 97.2 to 99.9); 64 steps on average, 90 at most; blind 49.0 %, chance "
        "50.0 %; 42 demonstrations per minute",
        "- Paraphrases: “one fashion”; ",
    ):
        assert said in section
    assert "- panda" not in page[: page.index("### kitchen.can_on_plate")]


def test_a_picture_shows_start_and_end(tmp_path: Path) -> None:
    mug, _ = load_suite(written(tmp_path, TWO_TASKS))
    render_task_image(mug, tmp_path / "mug.jpg")
    with Image.open(tmp_path / "mug.jpg") as picture:
        assert picture.size == (448, 224)
        start, end = (picture.convert("L").crop((left, 0, left + 224, 224)) for left in (0, 224))
        assert start.tobytes() != end.tobytes()
    assert is_current(mug, tmp_path / "mug.jpg")
    assert not is_current(replace(mug, scene="counter"), tmp_path / "mug.jpg")
    assert is_current(replace(mug, instruction="lay the table"), tmp_path / "mug.jpg")


def test_a_task_that_is_never_solved_has_no_picture(tmp_path: Path) -> None:
    mug, _ = load_suite(written(tmp_path, TWO_TASKS.replace("160", "20")))
    with pytest.raises(
        NoTaskImageError, match=r"kitchen\.mug_on_plate succeeded in none of 5 episodes: see `vla-bench ch"
    ):
        render_task_image(mug, tmp_path / "mug.jpg")
    assert not (tmp_path / "mug.jpg").exists()
