from pathlib import Path
from typing import Any

import pytest

from experimenter.errors import BadParameters, BadTemplate
from experimenter.grid import Interval, Values, axes, cells, size
from experimenter.template import filled


def values(text: str) -> list[Any]:
    (axis,) = axes([], [f"x={text}"])
    assert isinstance(axis, Values)
    return list(axis.values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1,0.01", [0.1, 0.01]),
        ("1e-3, 1e-4", [1e-3, 1e-4]),
        ("a,b,c", ["a", "b", "c"]),
        ("0.1", [0.1]),
        ("choice(a,b)", ["a", "b"]),
        (" choice( a , 'b,c' ) ", ["a", "b,c"]),
        ("range(3)", [0, 1, 2]),
        ("range(1,4)", [1, 2, 3]),
        ("range(4,0,-2)", [4, 2]),
        ("range(0,1,0.25)", [0.0, 0.25, 0.5, 0.75]),
        ("range(0,0.4,0.1)", [0.0, 0.1, 0.2, 0.3]),
        ("'a,b',c", ["a,b", "c"]),
        ("'it''s','x'", ["it's", "x"]),
        ('"a\\",b",c', ['a",b', "c"]),
        ("it's,so", ["it's", "so"]),
        ("[1,2],[3]", [[1, 2], [3]]),
        ("{a: 1, b: 2},{a: 3}", [{"a": 1, "b": 2}, {"a": 3}]),
        ("true,null,1,1.0,'1'", [True, None, 1, 1.0, "1"]),
        ("'f(x)',g", ["f(x)", "g"]),
        ("695e0514,12e99999", ["695e0514", "12e99999"]),
        ("choice(01,1)", ["01", 1]),
        ("''", [""]),
    ],
)
def test_values_are_written_as_in_hydra(text: str, expected: list[Any]) -> None:
    found = values(text)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


@pytest.mark.parametrize(
    ("text", "reason", "place"),
    [
        ("1,,2", "a value is missing", ","),
        ("1,", "a value is missing", ""),
        ("[1,2", "'[' is not closed", "[1,2"),
        ("a,'b", "the quotation is not closed", "'b"),
        ("range(0)", "this range is empty", "0)"),
        ("range(5,1)", "this range is empty", "5,1)"),
        ("range(1,2,0)", "the step of a range cannot be 0", "0)"),
        ("range(1,2,3,4)", "range takes", "4)"),
        ("range(1,x)", "'x' is no number", "x)"),
        ("range(1e9)", "more than 1,000,000 values", "1e9)"),
        ("choice()", "choice() is empty", ")"),
        ("rnage(5)", "there is no function rnage; did you mean range?", "rnage(5)"),
        ("1,{a: 1", "'{' is not closed", "{a: 1"),
        ("1,a: b: c", "mapping values are not allowed", "a: b: c"),
        ("interval(2,1)", "interval(a,b) takes two numbers", "2,1)"),
        ("range(1e400,3e400,1e400)", "these numbers are too large", "1e400,3e400,1e400)"),
        ("interval(1e-400,1.0)", "a float can hold no such number", "1e-400,1.0)"),
        ("log(0,1)", "log(a,b) takes numbers above 0", "0,1)"),
    ],
)
def test_a_mistake_is_shown_at_its_place(text: str, reason: str, place: str) -> None:
    with pytest.raises(BadParameters) as raised:
        values(text)

    shown, caret = raised.value.details
    assert reason in raised.value.message
    assert shown == f"-p x={text}"
    assert shown[caret.index("^") :].startswith(place)


def test_values_that_are_one_number_are_refused_with_the_way_to_have_text() -> None:
    with pytest.raises(
        BadParameters, match=r"the value 3\.1 of x twice; a text that looks like a number stands in quotes"
    ):
        values("3.1,3.10")

    assert values("'3.1','3.10'") == ["3.1", "3.10"]


@pytest.mark.parametrize("text", ["x=", "=1,2", "x", "x..y=1", "x=1,1", "x='a',a", "api_key=a,b", "db.password=a,b"])
def test_what_makes_no_grid_is_refused(text: str) -> None:
    with pytest.raises(BadParameters):
        axes([], [text])


def test_a_secret_may_have_one_value() -> None:
    assert list(cells(axes([], ["api_key=a", "x=1,2"]), {})) == [{"api_key": "a", "x": 1}, {"api_key": "a", "x": 2}]


@pytest.mark.parametrize("other", ["lr=3", "lr.a=3"])
def test_a_key_that_is_there_twice_is_refused(other: str) -> None:
    with pytest.raises(BadParameters, match=r"the grid has the key .* twice"):
        axes([], ["lr=1,2", other])


def test_the_product_is_in_order_over_the_base() -> None:
    grid = axes([], ["model.depth=1,2", "seed=range(2)"])

    assert size(grid) == 4
    assert list(cells(grid, {"model": {"width": 8, "depth": 0}})) == [
        {"model": {"width": 8, "depth": depth}, "seed": seed} for depth in (1, 2) for seed in (0, 1)
    ]


def test_a_file_has_lists(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text("lr: [1e-1, 1e-2]\nmodel: {depth: [1, 2], kind: cnn}\nseed: range(2)\nname: 'f(x)'\n")
    grid = axes([file], ["extra=1"])

    assert [(axis.key, list(axis.values)) for axis in grid if isinstance(axis, Values)] == [
        ("lr", [0.1, 0.01]),
        ("model.depth", [1, 2]),
        ("model.kind", ["cnn"]),
        ("seed", [0, 1]),
        ("name", ["f(x)"]),
        ("extra", [1]),
    ]


@pytest.mark.parametrize(
    "text",
    ["lr: []", "lr: [1, 1]", "lr: 1\nlr: 2", "lr: range(0)", "", "'': [1, 2]", "{a: {'': 1}}", "a..b: [1]", "a.: [1]"],
)
def test_a_file_that_makes_no_grid_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(text)
    with pytest.raises(BadParameters, match=r"grid\.yaml|the grid has the value"):
        axes([file], [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(1,10)", (1, 10, False)),
        ("interval(1.0,10)", (1.0, 10.0, False)),
        ("log(1e-5,1e-1)", (1e-5, 1e-1, True)),
        ("log(1,1000)", (1, 1000, True)),
    ],
)
def test_intervals_are_whole_if_both_ends_are(text: str, expected: tuple[Any, ...]) -> None:
    (axis,) = axes([], [f"x={text}"])
    assert isinstance(axis, Interval)
    assert (axis.low, axis.high, axis.is_log) == expected
    assert isinstance(axis.low, type(expected[0]))


def test_an_axis_leads_into_lists_of_the_base(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text("stages: {1: {lr: [3, 4]}}\n")
    base = {"layers": [64, 32], "stages": [{"lr": 1}, {"lr": 2, "wd": 0}]}

    found = list(cells(axes([file], ["layers.0=1,2"]), base))

    assert [(one["layers"], one["stages"][1]) for one in found] == [
        ([layer, 32], {"lr": lr, "wd": 0}) for lr in (3, 4) for layer in (1, 2)
    ]
    assert base == {"layers": [64, 32], "stages": [{"lr": 1}, {"lr": 2, "wd": 0}]}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("layers.2", "there is no layers.2; the list layers has the elements layers.0 to layers.1"),
        ("lr.decay", "lr is 0.1, which has no decay below it"),
    ],
)
def test_an_axis_without_a_place_in_the_base_is_refused(key: str, said: str) -> None:
    with pytest.raises(BadParameters, match=said):
        list(cells(axes([], [f"{key}=1,2"]), {"layers": [64, 32], "lr": 0.1}))


def test_parameters_fill_the_words_of_a_command() -> None:
    parameters = {"lr": 1e-3, "model": {"depth": 3}, "on": True, "none": None, "text": "a b", "list": [1, 2]}
    words = ["--lr={lr}", "{model.depth}{text}", "{on}", "{none}", "{list}", "{{lr}}", "plain", "{model}", "{list.1}"]

    assert filled(words, parameters) == [
        "--lr=0.001", "3a b", "true", "", "[1, 2]", "{lr}", "plain", '{"depth": 3}', "2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("{lrr}", "there is no parameter lrr for {lrr} in '{lrr}'; did you mean lr?"),
        ("{}", "there is no parameter"),
        ("{lr.x}", "there is no parameter"),
        ("{layers.2}", "'{layers.2}': there is no layers.2; the list layers has the elements layers.0 to layers.1"),
        ("{layers.x}", "there is no layers.x;"),
        ("{layers.0.x}", "there is no parameter layers.0.x"),
        ("a}", "'}' is alone at character 2 of 'a}'; the brace itself is }}"),
        ("{lr", "'{' is alone at character 1"),
    ],
)
def test_a_template_with_a_mistake_is_refused(word: str, reason: str) -> None:
    with pytest.raises(BadTemplate) as raised:
        filled([word], {"lr": 1, "layers": [64, 32]})
    assert reason in str(raised.value)
