import io
import re

import pandas as pd
import pytest

from tests.results.made_up import episodes, frame_of
from vla_bench.results.leaderboard import LEADERBOARD_COLUMNS, LeaderboardKey, leaderboard
from vla_bench.results.leaderboard_tables import (
    compact_tables,
    full_tables,
    latex_compact,
    latex_full,
    leaderboard_csv,
    leaderboard_markdown,
)


def board(*parts: str, tasks: int = 2) -> pd.DataFrame:
    """Return the leaderboard of policies `p0`, `p1`... with these outcomes on each of some tasks."""
    records = [
        record
        for number, outcomes in enumerate(parts)
        for task in range(tasks)
        for record in episodes(outcomes, policy=f"p{number}", task=f"task_{task}")
    ]
    return leaderboard(frame_of(records))


def test_csv_is_read_back_with_every_column_and_number() -> None:
    table = board("sssf", "se", "f")
    again = pd.read_csv(io.StringIO(leaderboard_csv(table))).fillna({"rank": "", "group": ""})
    assert list(again.columns) == list(LEADERBOARD_COLUMNS)
    pd.testing.assert_frame_equal(again, table, check_dtype=False, rtol=1e-9)


def test_compact_cells_are_percent_with_interval() -> None:
    (table,) = compact_tables(leaderboard(frame_of(episodes("s" * 35 + "f" * 25))))
    assert table.rows == (("expert", "58.3 [45.7, 69.9]", "58.3 [45.7, 69.9]"),)


def test_policies_go_down_the_page_until_tasks_are_too_many() -> None:
    (few,) = compact_tables(board("s", "f", tasks=5))
    assert few.header == ("policy", *(f"task_{task}" for task in range(5)), "(all)", "group")
    assert [row[0] for row in few.rows] == ["p0", "p1"]
    (many,) = compact_tables(board("s", "f", tasks=6))
    assert many.header == ("task", "p0", "p1")
    assert many.rows[0] == ("task_0", "100.0 [20.7, 100.0]", "0.0 [0.0, 79.3]")
    assert [row[0] for row in many.rows[-2:]] == ["(all)", "group"]


def test_ranks_and_groups_stand_where_there_are_several_policies() -> None:
    (compact,), (full,) = (
        compact_tables(board("s" * 20, "f" * 20)),
        full_tables(board("s" * 20, "f" * 20)),
    )
    assert [row[-1] for row in compact.rows] == ["a", "b"]
    assert full.header[-2:] == ("rank", "group")
    assert [row[-2:] for row in full.rows if row[1] == "(all)"] == [("1", "a"), ("2", "b")]
    (alone,) = full_tables(board("sf"))
    assert "rank" not in alone.header


def test_average_shows_its_interval_as_a_sample_of_tasks() -> None:
    (table,) = full_tables(leaderboard(frame_of([*episodes("s" * 20), *episodes("f" * 20, task="stack")])))
    column = table.header.index("as a sample")
    assert [row[column] for row in table.rows] == ["\N{EN DASH}", "\N{EN DASH}", "[0.0, 100.0]"]


def test_a_policy_that_did_not_meet_a_task_has_an_empty_cell() -> None:
    records = [*episodes("s", policy="a"), *episodes("s", policy="a", task="stack"), *episodes("f", policy="b")]
    (table,) = compact_tables(leaderboard(frame_of(records)))
    assert dict(zip(table.header, table.rows[1], strict=True))["stack"] == "\N{EN DASH}"


def test_unfinished_and_broken_cells_are_marked_and_the_marks_explained() -> None:
    frame = frame_of([*episodes("sf", policy="a"), *episodes("se", policy="b")])
    (table,) = compact_tables(leaderboard(frame, {LeaderboardKey("robosuite", "clean", "a", "lift"): 3}))
    cells = {row[0]: row[1] for row in table.rows}
    assert cells["a"].endswith("]*")
    assert cells["b"].endswith("]\N{DAGGER} (1 error: 50.0 to 100.0)"), "the rate with errors as failures, as successes"
    assert [note[0] for note in table.footnotes] == ["*", "\N{DAGGER}"]
    told = {"robosuite": ("Protocol: rendering fast",)}
    assert compact_tables(leaderboard(frame), told)[0].footnotes[-1] == "Protocol: rendering fast"
    (clean,) = compact_tables(board("s"))
    assert clean.footnotes == ()


def test_error_columns_appear_only_where_there_are_errors() -> None:
    (clean,), (broken,) = full_tables(board("sf")), full_tables(board("se"))
    assert "errors" not in clean.header
    assert broken.header[-3:] == ("errors", "if errors fail %", "if errors succeed %")
    assert broken.rows[0][-3:] == ("1", "50.0", "100.0")


def test_each_suite_and_variant_has_its_table() -> None:
    records = [*episodes("s"), *episodes("s", variant="dark"), *episodes("s", suite="tabletop")]
    assert [table.title for table in full_tables(leaderboard(frame_of(records)))] == [
        "robosuite (clean)",
        "robosuite (dark)",
        "tabletop (clean)",
    ]


def unescaped(latex: str) -> str:
    """Return what LaTeX would print of a cell."""
    names = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">"}
    names["textbar"] = "|"
    latex = re.sub(r"\\(text[a-z]+)\{\}", lambda found: "\0" + names[found[1]], latex)
    return re.sub(r"\\([&%$#_{}])", r"\1", latex).replace("\0", "")


def latex_rows(text: str) -> list[list[str]]:
    """Return the cells of every row, split where LaTeX splits them."""
    body = [line.strip() for line in text.splitlines() if line.endswith(r" \\")]
    return [re.split(r"(?<!\\) & ", line.removesuffix(r" \\").removeprefix("{}")) for line in body]


@pytest.mark.parametrize(
    "name", ["lora_openvla", r"50%_of$100 & #1 {x} \n ~^", "politique n° 4 é", "a<b>|c", "[7] first"]
)
def test_latex_prints_names_as_they_are(name: str) -> None:
    records = episodes("sf", policy=name, task=name, suite="my_suite")
    for text in (
        latex_compact(leaderboard(frame_of(records))),
        latex_full(leaderboard(frame_of(records))),
    ):
        header, *rows = latex_rows(text)
        assert {len(row) for row in rows} == {len(header)}
        assert unescaped(rows[0][0]) == name
        assert "my\\_suite." in text
        assert text.count("\\toprule") == text.count("\\bottomrule") == text.count("\\end{tabular}") == 1


def test_a_latex_row_never_begins_with_a_bracket() -> None:
    text = latex_compact(leaderboard(frame_of(episodes("s", policy="[7] first"))))
    assert not re.search(r"\\\\\s*\[|\\midrule\s*\[", text)


def test_markdown_tables_keep_their_columns_whatever_the_names() -> None:
    records = episodes("sf", policy="a|b *c* <i> _d_", task="red_cube_in_basket")
    text = leaderboard_markdown(leaderboard(frame_of(records)), notes=["1 < 2 | x"])
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4, 9}  # compact and full
    assert r"a\|b \*c\* \<i\> \_d\_" in text
    assert "red_cube_in_basket" in text
    assert r"- 1 \< 2 \| x" in text
