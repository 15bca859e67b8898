"""Report and record of a benchmark run."""

from pathlib import Path

import matplotlib.image
import pytest

from tests.performance.example_records import PROFILE, SCALING, metric, record
from vla_bench.performance.record import RecordError, Target, format_number, read_record
from vla_bench.performance.report import report_page, save_scaling_plots, write_report


def test_report_lists_targets_and_method() -> None:
    text = report_page(
        record(
            metric("fast enough", 16.0, 15.0, 17.0, aim=Target(bound=15.0)),
            metric("too slow", 2.0, aim=Target(bound=4.0)),
        )
    )
    assert "| fast enough | at least 15 | 16 x | 15 to 17 | yes |" in text
    assert "| too slow | at least 4 | 2 x |  | no |" in text
    assert "- Hardware: Xeon, 2 cores, 24 GB, x86_64, no GPU" in text
    assert "- Command: `vla-bench benchmark`" in text
    assert "- speed: a note." in text


def test_report_gives_the_reason_of_missing_measures() -> None:
    assert "- Speed (`speed`): no GPU." in report_page(record(not_run="no GPU."))


def test_report_has_tables_of_profiles_and_scaling() -> None:
    text = report_page(record(metric("ratio", 1.0)).model_copy(update={"profiles": (PROFILE,), "growths": (SCALING,)}))
    assert "| physics | 1.00 | 0.90 to 1.20 | 25% |" in text
    assert "| total | 4.00 |  | 100% |" in text
    assert "1.00 [0.98, 1.02]" in text
    assert "![Episodes in one run](performance/episodes.png)" in text


def test_record_round_trip(tmp_path: Path) -> None:
    written = record(metric("ratio", 1.5, 2.0)).model_copy(update={"profiles": (PROFILE,), "growths": (SCALING,)})
    assert read_record(written.write(tmp_path)) == written
    assert write_report(written, tmp_path).read_text(encoding="utf-8") == report_page(written)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "field `(whole file)` is invalid: Invalid JSON"),
        ('{"date": "today"}', "field `command` is invalid: Field required"),
    ],
)
def test_invalid_record_names_the_field(content: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "performance.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecordError) as raised:
        read_record(path)
    assert str(path) in str(raised.value)
    assert text in str(raised.value)


def test_scaling_curve_is_plotted(tmp_path: Path) -> None:
    (path,) = save_scaling_plots([SCALING], tmp_path)
    assert path == tmp_path / "performance" / "episodes.png"
    assert matplotlib.image.imread(path).std() > 0.05
    assert path.stat().st_size < 60_000


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234"), (99.96, "100.0"), (15.04, "15.0"), (1.234, "1.23"), (0.0123, "0.0123"), (0, "0"), (20.0, "20")],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert format_number(value) == text
