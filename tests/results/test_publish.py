import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.results.made_up import episode, episodes, frame_of, made_run
from vla_bench.results import leaderboard_page
from vla_bench.results.errors import RunFolderError
from vla_bench.results.leaderboard import LeaderboardKey, leaderboard
from vla_bench.results.leaderboard_page import LeaderboardFiles, write_leaderboard
from vla_bench.results.notes import leaderboard_notes
from vla_bench.results.run_info import RunInfo
from vla_bench.results.runs import media_stem, merged_episodes, read_comparable_runs


class Links(HTMLParser):
    """Collects what a page refers to, and checks that its elements are closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.targets += [value or "" for name, value in attributes if name in ("href", "src")]
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> LeaderboardFiles:
    """Two runs, one unfinished and with an error and a video, and their leaderboard. Tests leave them as they are."""
    tmp_path = tmp_path_factory.mktemp("published")
    good = made_run(tmp_path / "runs" / "expert", episodes("ssss"), planned={"lift": 4})
    records = episodes("sffe", policy="my_policy", phase="reach")
    bad = made_run(tmp_path / "runs" / "mine #1", records, planned={"lift": 5})
    (bad / "videos").mkdir()
    (bad / "videos" / f"{media_stem(records[1].identity)}.mp4").write_bytes(b"video")
    (bad / "videos" / ".unfinished.tmp.mp4").write_bytes(b"vid")
    return write_leaderboard([good, bad], tmp_path / "results")


def test_every_file_is_written(published: LeaderboardFiles) -> None:
    folder = published.csv.parent
    assert {path.name for path in folder.iterdir()} == {
        "leaderboard.csv",
        "leaderboard.md",
        "leaderboard.tex",
        "leaderboard_full.tex",
        "success.png",
        "success.pdf",
        "report.html",
    }
    assert {path.name for path in published.paths} == {path.name for path in folder.iterdir()}
    assert list(pd.read_csv(published.csv)["policy"]) == ["expert", "expert", "my_policy", "my_policy"]
    assert published.pdf.read_bytes().startswith(b"%PDF")


def test_notes_tell_what_is_unfinished_broken_and_unpaired(published: LeaderboardFiles) -> None:
    unfinished = published.csv.parent.parent / "runs" / "mine #1"
    assert f"Unfinished: {unfinished} (my_policy) has 4 of 5 episodes." in published.notes
    assert any(note.startswith("1 episode of my_policy ended in an error") for note in published.notes)
    assert not any(note.startswith("Not paired") for note in published.notes)
    assert "has 4 of 5 episodes" in published.markdown.read_text(encoding="utf-8")


def test_policies_that_met_other_episodes_are_noted(tmp_path: Path) -> None:
    first = made_run(tmp_path / "first", episodes("sss"))
    second = made_run(tmp_path / "second", episodes("ss", policy="b"))
    notes = notes_of(first, second)
    assert any("episodes of robosuite (clean): b 2, expert 3; 2 in common" in note for note in notes)


def test_an_episode_with_another_scene_for_another_policy_is_noted(tmp_path: Path) -> None:
    moved = [episodes("ss", policy="b")[0], replace(episode(1, policy="b"), scene_hash="elsewhere")]
    notes = notes_of(made_run(tmp_path / "first", episodes("ss")), made_run(tmp_path / "second", moved))
    assert any(note.startswith("Different scenes: 1 of 2 episodes") for note in notes)


def test_other_versions_are_noted(tmp_path: Path) -> None:
    first = made_run(tmp_path / "first", episodes("s"))
    second = made_run(tmp_path / "second", episodes("s", policy="b"))
    info = RunInfo.read(second)
    info.model_copy(update={"versions": {**info.versions, "mujoco": "2.0"}}).write(second)
    assert any(note.startswith("Different versions") and '"2.0"' in note for note in notes_of(first, second))


def notes_of(*folders: Path) -> tuple[str, ...]:
    runs = read_comparable_runs(folders)
    return leaderboard_notes(runs, merged_episodes(runs))


def test_report_stands_alone_and_its_links_lead_to_the_videos(published: LeaderboardFiles) -> None:
    page = published.report.read_text(encoding="utf-8")
    inside: list[str] = []
    outside: list[str] = []
    for target in Links(page).targets:
        (inside if target.startswith("data:image/png;base64,") else outside).append(target)
    assert len(inside) == 1
    assert not re.search(r"https?:|<script|@import|url\(", page)
    (video,) = outside
    assert (published.report.parent / unquote(video)).read_bytes() == b"video"


def test_report_says_how_the_numbers_came_about(published: LeaderboardFiles) -> None:
    page = published.report.read_text(encoding="utf-8")
    for text in (
        "33.3 [6.1, 79.2]*†",  # my_policy: one of three, one error, one missing
        "vla-bench run --policy expert --output &#39;runs/with a space&#39;",
        "wait_steps",
        "numpy",
        "my_policy on robosuite",
        "reach",
        "RuntimeError: EGL &lt;lost&gt;",
        "1 of 5 missing of robosuite.lift",
        '<span class="failure">failure</span>',
    ):
        assert text in page, text


def test_a_bad_folder_leaves_the_last_leaderboard_alone(published: LeaderboardFiles) -> None:
    output = published.csv.parent
    before = {path: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(RunFolderError):
        write_leaderboard([output.parent / "runs" / "expert", output.parent / "nowhere"], output)
    assert {path: path.read_bytes() for path in output.iterdir()} == before


def test_the_same_runs_make_the_same_files(published: LeaderboardFiles) -> None:
    before = {path: path.read_bytes() for path in published.paths}
    write_leaderboard(sorted((published.csv.parent.parent / "runs").iterdir()), published.csv.parent)
    assert {path: path.read_bytes() for path in published.paths} == before


def share_of(path: Path, colour: tuple[int, int, int]) -> float:
    """Return the share of the picture's pixels that have this colour."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    return float((pixels == colour).all(axis=-1).mean())


def test_figure_draws_intervals_as_wide_as_they_are(tmp_path: Path) -> None:
    blue = (0x00, 0x72, 0xB2)
    shares = {}
    for count in (8, 800):
        leaderboard_page.save_success_figure(
            leaderboard(frame_of(episodes("sf" * (count // 2)))), tmp_path / "figure.png"
        )
        shares[count] = share_of(tmp_path / "figure.png", blue)
    assert 0 < shares[800] < shares[8]


def test_figure_marks_unfinished_tasks_with_hollow_markers(tmp_path: Path) -> None:
    frame = frame_of(episodes("sf" * 400))
    blue = (0x00, 0x72, 0xB2)
    for name, missing in (("whole", 0), ("unfinished", 5)):
        table = leaderboard(frame, {LeaderboardKey("robosuite", "clean", "expert", "lift"): missing})
        leaderboard_page.save_success_figure(table, tmp_path / f"{name}.png")
    assert share_of(tmp_path / "unfinished.png", blue) < share_of(tmp_path / "whole.png", blue)


@pytest.mark.filterwarnings("error:.*layout:UserWarning")  # Matplotlib warns where a layout fails
def test_figure_takes_any_name_and_many_policies_and_tasks(tmp_path: Path) -> None:
    records = [
        record
        for policy in ("50$_of_$x", r"\alpha{", "é", *(f"policy_{number}" for number in range(6)))
        for suite in ("a_suite", "b")
        for task in range(3)
        for record in episodes("sfe", policy=policy, suite=suite, task=f"task_{task}")
    ]
    table = leaderboard(frame_of(records), {LeaderboardKey("b", "clean", "é", "not_begun"): 3})
    for suffix in (".png", ".pdf"):
        leaderboard_page.save_success_figure(table, tmp_path / f"figure{suffix}")
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width == pytest.approx(1360, abs=2)
