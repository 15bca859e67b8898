"""One command makes every page that some runs have the episodes for, and tells which ones are not what they make."""

from pathlib import Path

from tests.results.made_up import episodes, made_run
from vla_bench.results.certificates import CERTIFICATES_NAME, Certificate, add_certificates
from vla_bench.results.pages import stale_pages, write_pages

PROTOCOL = {"rendering": "fast", "robot": "panda"}


def _runs(tmp_path: Path) -> list[Path]:
    own = [*episodes("ssfsf", policy="p"), *episodes("sfffs", policy="p", variant="camera=2")]
    expert = [*episodes("sssss"), *episodes("sssss", variant="camera=2")]
    late = {**PROTOCOL, "latency": "120ms"}
    run = made_run(tmp_path / "runs" / "p", own, protocol=PROTOCOL)
    certificates = [Certificate(one.identity, one.scene_hash, "physics", True, 40, one.variant) for one in own]
    add_certificates(run / CERTIFICATES_NAME, certificates, [one.identity for one in own])
    return [
        run,
        made_run(tmp_path / "runs" / "expert", expert, protocol=PROTOCOL),
        made_run(tmp_path / "runs" / "late", episodes("ffffs", policy="p"), protocol=late),
    ]


def test_every_page_is_made_and_checked(tmp_path: Path) -> None:
    runs, output = _runs(tmp_path), tmp_path / "results"
    pages = write_pages(runs, output)
    names = {path.name for path in pages.paths}
    assert names >= {"leaderboard.md", "comparison.md", "failures.md", "latency.md", "latency.png", "robustness.md"}
    texts = {path for path in pages.paths if path.suffix in (".md", ".csv", ".tex")}
    for path in texts:
        assert path.suffix == ".csv" or "Protocol: rendering fast, robot panda" in path.read_text(), path.name
    page = output / "latency.md"
    page.write_text(page.read_text().replace("120ms", "20ms"))
    compared, stale = stale_pages(runs, output)
    assert set(compared) == texts
    assert list(stale) == [page], "the only one that is not what the ledgers make"
    assert "20ms" in stale[page]


def test_a_page_that_the_runs_no_longer_make_is_named(tmp_path: Path) -> None:
    runs, output = _runs(tmp_path), tmp_path / "results"
    write_pages(runs, output)
    (output / "performance.md").write_text("of another command")
    _, stale = stale_pages(runs[:1], output)
    left = {path.name for path, line in stale.items() if line == "not generated from these runs"}
    assert left == {"comparison.md", "comparison.csv", "comparison.tex", "latency.md", "latency.png"}


def test_runs_without_a_common_episode_have_no_comparison(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / "a", episodes("s")), made_run(tmp_path / "b", episodes("s", policy="p", seed=1))]
    assert not any(path.name.startswith("comparison") for path in write_pages(runs, tmp_path / "results").paths)
