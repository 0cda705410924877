"""Tables: what fits, what is left out for it, and numbers below each other."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experimenter.layout import Column, fitted, laid_out, numbers, rounded


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.001], ["0.1", "0.001"]),
        ([0.0001329227995784916, 0.9230424014270339], ["0.0001329", "0.923"]),
        ([0.91234567, 0.91234568], ["0.91234567", "0.91234568"]),
        ([0.9123, 0.91231], ["0.9123", "0.91231"]),
        ([1 / 3, 1 / 3], ["0.3333", "0.3333"]),
        ([0.1 + 0.2, 0.3], ["0.30000000000000004", "0.3"]),
        ([1, 1.0, 20.0], ["1", "1.0", "20.0"]),
        ([123456.789, 1234567890123], ["123456.8", "1234567890123"]),
        ([1e-7, 1.2345678e22, 0.0, -0.5], ["1e-07", "1.235e+22", "0.0", "-0.5"]),
        ([5e-324, 1.7976931348623157e308], ["4.941e-324", "1.798e+308"]),
        ([math.nan, math.inf, -math.inf, None], ["NaN", "Infinity", "-Infinity", "-"]),
        ([10**30], ["1" + "0" * 30]),
        ([9.99999, 99999.96], ["10.0", "100000.0"]),
        ([], []),
    ],
)
def test_numbers_are_rounded_to_what_differs(values: list[float | None], expected: list[str]) -> None:
    assert rounded(values) == expected


def test_points_stand_below_each_other() -> None:
    assert numbers([0.1, 12.25, 3, None, 1e-9, math.nan]) == [
        "  0.1  ",
        " 12.25 ",
        "  3    ",
        "  -    ",
        "  1e-09",
        "NaN    ",
    ]


@given(st.lists(st.one_of(st.none(), st.integers(), st.floats()), max_size=20))
@settings(deadline=None)
def test_different_numbers_stay_different_and_equal_ones_equal(values: list[float | None]) -> None:
    shown = numbers(values)

    assert len({len(cell) for cell in shown}) <= 1
    floats = {
        value: cell for value, cell in zip(values, shown, strict=True) if isinstance(value, float) and value == value
    }
    assert len(set(floats.values())) == len(floats)


def lines(*columns: Column, width: int | None) -> list[str]:
    shown, _ = laid_out(columns, width=width)
    return shown


TEXT = Column(heading="TEXT", cells=["x" * 50, "short"])
NUMBER = Column(heading="a_long_heading", cells=["0.125", "0.5  "], is_right=True, is_rigid=True, rank=(2,))
SAME = Column(heading="SAME", cells=["same", "same"], rank=(1,))


def test_what_has_the_lowest_rank_is_left_out_first() -> None:
    left_out = {
        width: [one.heading for one in laid_out([TEXT, NUMBER, SAME], width=width)[1]] for width in (90, 28, 20)
    }

    assert left_out == {90: [], 28: ["SAME"], 20: ["a_long_heading", "SAME"]}


def test_what_a_wide_one_makes_place_for_stays() -> None:
    narrow = [Column(heading=letter, cells=["1", "2"], rank=(place,)) for place, letter in enumerate("ab")]
    wide = Column(heading="wide", cells=["x" * 50], rank=(2,))
    shown, left_out = laid_out([TEXT, *narrow, wide], width=24)

    assert (shown[0].split(), left_out) == (["TEXT", "a", "b"], [wide])


def test_text_and_headings_are_cut_before_numbers() -> None:
    heading, first, _ = lines(TEXT, NUMBER, width=26)

    assert heading.split() == ["TEXT", "a_long_…"]
    assert first.endswith(" 0.125")
    assert first.startswith("xxxx") and "…" in first


@given(st.integers(1, 120))
@settings(deadline=None)
def test_no_line_is_wider_than_the_terminal_as_long_as_there_are_four_columns_each(width: int) -> None:
    shown = lines(TEXT, NUMBER, SAME, width=width)

    assert max(map(len, shown)) <= max(width, 4)


def test_elsewhere_nothing_is_cut_or_left_out() -> None:
    assert lines(TEXT, SAME, width=None) == [f"TEXT{' ' * 48}SAME", f"{'x' * 50}  same", f"short{' ' * 47}same"]


def test_only_painted_columns_and_the_heading_are_painted_and_stay_aligned() -> None:
    status = Column(heading="S", cells=["ok", "bad"], is_painted=True)
    shown, _ = laid_out([status, SAME], width=None, paint=lambda kind, text: f"<{kind}:{text}>")

    assert shown == ["<heading:S    SAME>", "<ok:ok>   same", "<bad:bad>  same"]


@pytest.mark.parametrize(
    ("text", "cut"),
    [("abc", "abc"), ("abcd", "ab…"), ("日本", "日…"), ("e\u0301e\u0301e\u0301e", "e\u0301e\u0301…"), ("", "")],
)
def test_a_text_is_cut_by_what_a_terminal_shows(text: str, cut: str) -> None:
    assert fitted(text, 3) == cut
