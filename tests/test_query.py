"""The language of `--where`, compared with plain Python, and what it says of mistakes."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experimenter.errors import BadCondition
from experimenter.query import parse

VALUES = {
    "lr": 0.1,
    "seed": 3,
    "name": "base line",
    "flag": True,
    "none": None,
    "tags": ["a", 1],
    "diverged": "NaN",
    "loss": "Infinity",
    "größe": 1,
    "學習率": 2,
    "क्षमता": 3,
    "batch-size": 4,
    "odd key, `x`": 5,
    "model": {"depth": 3},
    "and": 6,
}


def holds(text: str, values: dict[str, Any] = VALUES) -> bool:
    condition = parse(text)
    return condition.holds(values, {word: word for word in condition.places})


@pytest.mark.parametrize(
    "text",
    [
        "lr == 0.1", "lr == 1e-1", "lr==.1", "lr >= -1.5", "seed == 3.0", "seed != 4", "seed > +2", "seed == 3_0 or true == true",
        "name == 'base line'", 'name == "base line"', "1 < 2",
        "'line' in name", "not 'x' in name", "'x' not in name", "seed in (1, 2, 3)", "seed in [3]", "seed in (3,)", "not seed in ()",
        "'a' in tags", "1 in tags", "2 not in tags", "'depth' in model", "seed not in [4]", "name in 'the base line of it'",
        "flag == true", "flag != false", "none == null", "null == none", "'1' != seed", "not name < 3", "not flag < 'x'",
        "lr == 0.1 and seed == 3", "lr == 1 or seed == 3", "not lr == 1", "not not lr == 0.1", "(lr == 1 or lr == 0.1) and seed == 3",
        "lr == 0.1 or lr == 1 and seed == 4", "not (lr == 1 or seed == 1)", "0 < lr < 0.5", "not 0 < seed < 3", "0.1 == lr",
        "loss > 1e300", "not diverged > 0", "not diverged < 0", "diverged == 'NaN'", "loss == 'Infinity'", "seed < loss",
        "größe == 1", "學習率 == 2", "क्षमता == 3", "batch-size == 4", "`odd key, ``x``` == 5", "`and` == 6", "`lr` == 0.1",
        "not missing == 1", "not missing != 1", "not missing in (1, 2)", "not 1 in missing", "not missing not in (1)", "not missing < missing",
        r"""'a\'b' == "a'b" """, r"'\n' != '\\n'", "lr\n==\t0.1",
    ],
)  # fmt: skip
def test_what_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("", 0, "a key, a number or a quoted string was expected"),
        ("lr", 2, "a comparison was expected here: == != < <= > >= in"),
        ("lr = 0.1", 3, "write '=='"),
        ("lr == 1 && seed == 2", 8, "write 'and'"),
        ("lr == 1 || seed == 2", 8, "write 'or'"),
        ("!flag == true", 0, "write 'not'"),
        ("lr >=", 5, "a key, a number or a quoted string after '>=' was expected"),
        ("lr >= and seed == 1", 6, "after '>=' was expected"),
        ("name == 'base", 8, "the quotation that begins here has no end"),
        ("name == `base", 8, "the quotation that begins here has no end"),
        ("(lr == 1", 8, "')' was expected"),
        ("lr == 1)", 7, "'and', 'or' or the end was expected"),
        ("lr == 1 seed == 2", 8, "'and', 'or' or the end was expected"),
        ("lr * 2 == 1", 3, "only in quotes or backquotes"),
        ("lr+1 == 1", 2, "a comparison was expected"),
        ("lr == 1.2.3", 6, "no number"),
        ("lr == 5x", 6, "no number"),
        ("5fold == 1", 0, "no number"),
        ("seed in 3", 8, "a list in (…), a key or a quoted string after 'in' was expected"),
        ("seed in (1, lr)", 12, "a number, a quoted string or ')' was expected"),
        ("seed in (1 2)", 11, "',' or ')' was expected"),
        ("seed in (1, 2", 13, "',' or ')' was expected"),
        ("seed in [1, 2)", 13, "',' or ']' was expected"),
        ("seed not 1", 9, "'in' was expected"),
        (r"name == 'a\qb'", 10, r"there is no escape '\q'"),
        ("__import__('os')", 10, "a comparison was expected"),
        ("lr.__class__ == 1; x", 17, "only in quotes or backquotes"),
        ("lambda: 0", 6, "only in quotes or backquotes"),
        ("lr == 1_", 6, "no number"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_at_its_place(text: str, place: int, reason: str) -> None:
    with pytest.raises(BadCondition) as raised:
        parse(text)

    assert reason in raised.value.message
    assert raised.value.details == (text, " " * place + "^")


@pytest.mark.parametrize("text", ["(" * 3000 + "lr == 1" + ")" * 3000, "not " * 3000 + "lr == 1"])
def test_of_a_long_condition_the_place_is_shown(text: str) -> None:
    with pytest.raises(BadCondition, match="more than 100 deep") as raised:
        parse(text)

    shown, caret = raised.value.details
    assert len(shown) < 300 and shown[len(caret) - 1] in "n("


def test_the_caret_stands_below_its_place_whatever_is_wide_or_not_shown() -> None:
    with pytest.raises(BadCondition) as raised:
        parse("學習\x1b' == 1")

    assert raised.value.details[1].index("^") == len("學習") * 2 + len("\\x1b") - 4


def test_says_where_each_key_stands() -> None:
    assert parse("lr > 0.1 and not (model.depth == 3 or lr < 1)").places == {"lr": 0, "model.depth": 18}


# Random conditions, as text for us and as a function in plain Python.

_KEYS = st.sampled_from(["a", "b.c", "absent"])
_CONSTANTS = st.one_of(
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False, width=16),
    st.booleans(),
    st.none(),
    st.text("ab", max_size=3),
)
_OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Case = tuple[str, Callable[[dict[str, Any]], bool]]


def literal(value: Any) -> str:
    words = {True: "true", False: "false", None: "null"}
    return words[value] if value is None or isinstance(value, bool) else repr(value)


def compared(key: str, word: str, value: Any) -> Case:
    def expected(record: dict[str, Any]) -> bool:
        try:
            return key in record and bool(_OPERATORS[word](record[key], value))
        except TypeError:
            return False

    return f"{key} {word} {literal(value)}", expected


def contained(key: str, values: list[Any]) -> Case:
    text = f"{key} in ({', '.join(map(literal, values))})"
    return text, lambda record: key in record and record[key] in values


def negated(case: Case) -> Case:
    return f"not ({case[0]})", lambda record: not case[1](record)


def joined(word: str, first: Case, second: Case) -> Case:
    def expected(record: dict[str, Any]) -> bool:
        both = first[1](record), second[1](record)
        return all(both) if word == "and" else any(both)

    return f"({first[0]}) {word} ({second[0]})", expected


_COMPARISONS = st.one_of(
    st.builds(compared, _KEYS, st.sampled_from(sorted(_OPERATORS)), _CONSTANTS),
    st.builds(contained, _KEYS, st.lists(_CONSTANTS, max_size=3)),
)
_CASES = st.recursive(
    _COMPARISONS,
    lambda inner: st.one_of(st.builds(negated, inner), st.builds(joined, st.sampled_from(["and", "or"]), inner, inner)),
    max_leaves=8,
)


@given(_CASES, st.fixed_dictionaries({}, optional={"a": _CONSTANTS, "b.c": _CONSTANTS}))
@settings(deadline=None, max_examples=500)
def test_a_condition_holds_where_the_same_in_python_is_true(case: Case, record: dict[str, Any]) -> None:
    text, expected = case

    assert holds(text, record) is expected(record)


@given(st.text(st.sampled_from("ab.1 '\"`()[]<=>!,\\-+_éandortin")))
@settings(deadline=None, max_examples=500)
def test_any_text_is_a_condition_or_a_mistake_with_a_place(text: str) -> None:
    try:
        parse(text)
    except BadCondition as error:
        assert error.details[0] == text
        assert "^" in error.details[1]
