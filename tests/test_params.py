import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experimenter.environment import of_parameters
from experimenter.errors import BadParameters
from experimenter.params import collect
from experimenter.template import filled

LISTS = """
layers: [64, 32, 10]
stages: [{lr: 1}, {lr: 2, wd: 0}]
grid: [[1, 2], [3, 4]]
model: {sizes: [8], 0: zero}
none: []
lr: 0.1
name: x
off: false
nothing:
api_key: hunter2
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def refusal(files: list[Path], assignments: list[str]) -> str:
    with pytest.raises(BadParameters) as refused:
        collect(files, assignments)
    assert refused.value.message.isprintable()
    return refused.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[(text, None) for text in ("", "~", "null", "Null", "NULL", "!!null ''")],
        *[(text, "#a") for text in ("'#a'", '"#a" ', "!!str '#a'")],
        *[(text, text) for text in ("a#b", "c#")],
        *[(text, True) for text in ("true", "True", "TRUE", "!!bool true")],
        *[(text, False) for text in ("false", "False", "FALSE")],
        *[(text, text) for text in ("yes", "no", "on", "off", "y", "n", "Yes", "NO", "On", "OFF", "tRUE", "nULL", "none")],
        *[("0", 0), ("-19", -19), ("+12", 12), ("0o17", 15), ("0x1F", 31), ("9" * 40, int("9" * 40))],
        *[(text, text) for text in ("0b11", "1_000", "12:30", "1:30:00", "-0x1f", "0o8", "0xg", "1,000", "1e", "1 2", "٣")],
        *[("1e-3", 0.001), ("1E3", 1000.0), ("+1e+3", 1000.0), ("-.5", -0.5), ("1.", 1.0), ("0.", 0.0), ("1.5e300", 1.5e300)],
        *[(text, text) for text in (".", "+", "+.", "1.2.3", ".e3", "e3", "inf", "nan", "-.nan", "Infinity", "NaN.")],
        *[(".inf", "Infinity"), ("+.Inf", "Infinity"), ("-.INF", "-Infinity"), (".nan", "NaN"), (".NaN", "NaN")],
        *[(text, text) for text in ("695e0514", "12e99999", "1e400", "-1e400", "+1E999", "1e-400", "-0.5e-9999", "9" * 400 + ".5")],
        *[(text, text) for text in ("007", "01", "-01", "+007", "00", "-00", "00.5", "01.50", "01e5", "08", "0123456789")],
        *[("0", 0), ("-0", 0), ("0.0", 0.0), ("-0.0", -0.0), ("0e999", 0.0), ("0.10", 0.1), ("1e05", 1e5), ("0x0F", 15)],
        *[("3.10", 3.1), ("1e308", 1e308), ("5e-324", 5e-324), ("9" * 400, int("9" * 400)), ("[007, 1e400, 1]", ["007", "1e400", 1])],
        *[(text, text) for text in ("2026-01-01", "2026-01-01T00:00:00Z", "a=b", "a.b", "=", "<", "größe 🎉", "C:\\x")],
        *[("'1'", "1"), ('"true"', "true"), ('"\\u00fc\\n"', "ü\n"), ("'it''s'", "it's"), ("!!str 1", "1"), ("!!int '1'", 1)],
        *[("[1, a, ~, [2.0]]", [1, "a", None, [2.0]]), ("[]", []), ("{}", {}), ("{a: {b: 1}}", {"a": {"b": 1}})],
        *[('{"a":1,"b":[true]}', {"a": 1, "b": [True]}), ("{1: a, true: b, ~: c, 1e3: d}", {"1": "a", "true": "b", "~": "c", "1e3": "d"})],
        *[("[&a {x: 1}, *a]", [{"x": 1}, {"x": 1}]), ("{<<: {a: 1, b: 2}, b: 3}", {"a": 1, "b": 3})],
        *[("{'<<': 1}", {"<<": 1}), ("!!set {a, b}", ["a", "b"])],
    ],
)  # fmt: skip
def test_values_are_read_by_the_core_schema(text: str, expected: Any) -> None:
    (found,) = collect([], [f"x={text}"]).values()

    assert json.dumps(found) == json.dumps(expected)


@pytest.mark.parametrize("text", ["#ff0000", "red #1", "[1, 2] # both", "'#' # x", "{a: 1} #", "a: 1 # x"])
def test_a_comment_in_a_word_is_refused(text: str) -> None:
    with pytest.raises(BadParameters, match="what # begins would be a comment; as text it stands in quotes"):
        collect([], [f"x={text}"])


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["lr=0.1"], {"lr": 0.1}),
        (["lr="], {"lr": None}),
        (["a.b.c=1", "a.b.d=2", "a.e=3"], {"a": {"b": {"c": 1, "d": 2}, "e": 3}}),
        (["a.b=2", "a=1"], {"a": 1}),
        (["a={b: 1}", "a.c=2"], {"a": {"b": 1, "c": 2}}),
        (["a=1", "a=2"], {"a": 2}),
        (["url=http://h/?a=b"], {"url": "http://h/?a=b"}),
        (["größe x=1", "1.2=3", "max-steps=5"], {"größe x": 1, "1": {"2": 3}, "max-steps": 5}),
        ([], {}),
    ],
)
def test_assignments_have_dotted_keys(assignments: list[str], expected: dict[str, Any]) -> None:
    assert collect([], assignments) == expected


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["layers.0=128"], {"layers": [128, 32, 10]}),
        (["layers.2={a: 1}", "layers.2.b=2"], {"layers": [64, 32, {"a": 1, "b": 2}]}),
        (["stages.1.lr=3"], {"stages": [{"lr": 1}, {"lr": 3, "wd": 0}]}),
        (["stages.1={lr: 3}", "stages.0.new.key=1"], {"stages": [{"lr": 1, "new": {"key": 1}}, {"lr": 3, "wd": 0}]}),
        (["grid.1.0=9"], {"grid": [[1, 2], [9, 4]]}),
        (["model.sizes.0=7"], {"model": {"sizes": [7], "0": "zero"}}),
        (["model.0=one", "model.00=two"], {"model": {"sizes": [8], "0": "one", "00": "two"}}),
        (["layers=5"], {"layers": 5}),
        (["layers=[1]", "layers.0=2"], {"layers": [2]}),
        (["new.0=1"], {"new": {"0": 1}}),
    ],
)
def test_a_key_leads_into_lists(write: Any, assignments: list[str], expected: dict[str, Any]) -> None:
    assert collect([write("a.yaml", LISTS)], assignments) == collect([write("a.yaml", LISTS)], []) | expected


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("layers.3=1", "there is no layers.3; the list layers has the elements layers.0 to layers.2"),
        ("layers.-1=1", "there is no layers.-1; the list layers has the elements layers.0 to layers.2"),
        ("layers.00=1", "there is no layers.00;"),
        ("layers.+1=1", "there is no layers.+1;"),
        ("layers.٣=1", "there is no layers.٣;"),
        ("layers.first=1", "there is no layers.first;"),
        (f"layers.{'9' * 5000}=1", "the list layers has the elements"),
        ("layers.1.x=1", "layers.1 is 32, which has no x below it"),
        ("stages.2.lr=1", "there is no stages.2; the list stages has the elements stages.0 to stages.1"),
        ("model.sizes.1=1", "there is no model.sizes.1; the list model.sizes has one element, model.sizes.0"),
        ("none.0=1", "there is no none.0; the list none has no elements"),
        ("lr.decay=0.5", "lr is 0.1, which has no decay below it; to replace it, give a mapping: lr='{decay: …}'"),
        ("lr.0=0.5", "lr is 0.1, which has no 0 below it"),
        ("name.a.b=1", 'name is "x", which has no a.b below it'),
        ("off.x=1", "off is false, which has no x below it"),
        ("nothing.x=1", "nothing is null, which has no x below it"),
        ("api_key.x=1", "api_key is <redacted>, which has no x below it"),
    ],
)
def test_a_key_without_a_place_is_told_what_there_is(write: Any, assignment: str, said: str) -> None:
    found = refusal([write("a.yaml", LISTS)], ["good=1", assignment])

    assert found.startswith(f"-p {assignment}: ")
    assert said in found


def test_a_key_below_a_value_of_another_assignment_is_refused() -> None:
    assert "a is 1, which has no b below it" in refusal([], ["a=1", "a.b=2"])


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [("a.yaml", "'': 1", ""), ("a.yaml", "{m: {n: {'': {x: 1}}}}", " in m.n"), ("a.json", '{"": {}}', "")],
)
def test_an_empty_key_in_a_file_is_refused(write: Any, name: str, text: str, place: str) -> None:
    path = write(name, text)

    assert refusal([path], []) == f"the parameter file {path} has an empty key{place}; give it a name"


@pytest.mark.parametrize("text", ["lr", "", "=1", "a..b=1", ".a=1", "a.=1", "."])
def test_an_assignment_of_another_form_is_shown_the_form(text: str) -> None:
    said = refusal([], [text])

    assert "KEY=VALUE" in said
    assert f"'{text}'" in said


@pytest.mark.parametrize(
    "value",
    [
        "[1", "{a: 1, a: 2}", "{[1]: 2}", "*nowhere", "&a [*a]", "@x", "\x1b[0m", "a: b: c", "a\n---\nb", "%", "'",
        "!!bool maybe", "!!int x", "!!float x", "!!timestamp x", "!!binary eA==", "!!binary ü", "!!python/name:os.system",
        "!unknown x", "!!map 1", "[" * 2000, "9" * 5000, "0x" + "f" * 5000, "!!omap [1]", "!!pairs 1",
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_read_is_named_with_its_assignment(value: str) -> None:
    assert refusal([], ["good=1", f"model.x={value}"]).startswith("-p model.x=")


def test_json_keeps_what_no_float_can_hold_as_text(write: Any) -> None:
    path = write("a.json", '{"rev": 695e0514, "low": [-1e400, 1e-400], "zero": 0e999, "py": 3.10, "text": "007"}')

    assert collect([path], []) == {
        "rev": "695e0514", "low": ["-1e400", "1e-400"], "zero": 0.0, "py": 3.1, "text": "007",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        *[(text, text) for text in ("3.10", "1.0", "+1", ".5", "5.", "0x1F", "0o17", "-0", "12345e6", "1234e56", "1E3")],
        *[(text, text) for text in ("0.1000000000000000055511151231257827", "123456789012345678.5", "12345678901234567890")],
        *[("1e-3", "0.001"), ("0.001", "0.001"), ("-2E-2", "-0.02"), ("'3.10'", "3.10"), ("TRUE", "true"), ("~", "")],
    ],
)  # fmt: skip
def test_a_number_is_given_to_the_command_as_it_was_written(write: Any, text: str, shown: str) -> None:
    parameters = collect([write("a.yaml", f"file: {text}\n")], [f"word={text}"])

    variables, _ = of_parameters(parameters)
    assert (variables["EXPERIMENTER_PARAM_FILE"], variables["EXPERIMENTER_PARAM_WORD"]) == (shown, shown)
    assert filled(["{file}", "{word}"], parameters) == [shown, shown]


def test_a_value_that_is_not_utf8_is_shown_as_git_quotes_it() -> None:
    assert r"x=caf\351" in refusal([], ["x=caf\udce9"])


def test_files_are_yaml_or_json(write: Any) -> None:
    yaml = write("a.yaml", "# comment\nlr: 1e-3\nmodel:\n  depth: 3\n  name: größe\non: no\n")
    json_ = write("b.JSON", '{\n\t"lr": 1e-3,\n\t"a": {"b": [1, null, true, NaN, "\\ud83c\\udf89"]}\n}')
    other = write("params", "\ufeffa: 1")

    assert collect([yaml], []) == {"lr": 0.001, "model": {"depth": 3, "name": "größe"}, "on": "no"}
    assert collect([json_], []) == {"lr": 0.001, "a": {"b": [1, None, True, "NaN", "🎉"]}}
    assert collect([other], []) == {"a": 1}


def test_later_files_override_earlier_ones_deeply_and_assignments_all(write: Any) -> None:
    first = write("1.yaml", "{lr: 1, model: {depth: 3, width: 4, layers: [1, 2]}, data: {path: a}}")
    second = write("2.json", '{"model": {"depth": 5, "layers": [3]}, "data": null}')

    assert collect([first, second], ["model.width=9", "new.key=x"]) == {
        "lr": 1,
        "model": {"depth": 5, "width": 9, "layers": [3]},
        "data": None,
        "new": {"key": "x"},
    }


def test_yaml_files_may_use_anchors_and_merge_keys(write: Any) -> None:
    path = write(
        "a.yaml",
        "base: &base {lr: 1, steps: 5}\nmore: &more {seed: 1}\none:\n  <<: *base\n  lr: 2\n"
        "two:\n  <<: [*base, *more]\nnumber: &n 5\nagain: *n\n",
    )

    assert collect([path], []) == {
        "base": {"lr": 1, "steps": 5},
        "more": {"seed": 1},
        "one": {"steps": 5, "lr": 2},
        "two": {"seed": 1, "lr": 1, "steps": 5},
        "number": 5,
        "again": 5,
    }


@pytest.mark.parametrize("text", ["{&x 5: a, b: *x}", "{b: &x 5, *x : a}"])
def test_a_number_that_is_also_a_key_stays_a_number(text: str) -> None:
    assert collect([], [f"m={text}"])["m"] == {"5": "a", "b": 5}


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n", "---\n", "{}", "null"])
def test_an_empty_file_holds_no_parameters(write: Any, text: str) -> None:
    assert collect([write("a.yaml", text)], []) == {}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "a: 1\nb: 2\na: 3\n", "line 3, column 1: the key 'a' is there twice"),
        ("a.yaml", "m:\n  a: 1\n  a: 1\n", "line 3, column 3: the key 'a' is there twice"),
        ("a.yaml", "1: a\n'1': b\n", "line 2, column 1: the key '1' is there twice"),
        ("a.yaml", "? [1]\n: 2\n", "line 1, column 3: a key must be text"),
        ("a.yaml", "a: 1\nb: [1, 2\n", "line 3"),
        ("a.yaml", "a:\n\t- 1\n", "line 2"),
        ("a.yaml", "a: 1\n--- \nb: 2\n", "line 2"),
        ("a.yaml", "a: b\x1b\n", "not allowed"),
        ("a.yaml", "- 1\n- 2\n", "mapping"),
        ("a.yaml", "just text\n", "mapping"),
        ("a.yaml", "x: !!binary eA==\n", "tag:yaml.org,2002:binary"),
        ("a.json", '{\n  "a": 1,\n  "a": 2\n}', "the key 'a' is there twice"),
        ("a.json", '{"m": [{"a\\u001b": 1, "a\\u001b": 1}]}', r"the key 'a\x1b' is there twice"),
        ("a.json", '{\n  "a": 1,\n}', "line 3, column 1"),
        ("a.json", "a: 1", "line 1, column 1"),
        ("a.json", "", "line 1, column 1"),
        ("a.json", "[1]", "mapping"),
        ("a.json", '{"a": ' + "[" * 99999, "a.json"),
        ("a.json", '{"a": ' + "9" * 5000 + "}", "a.json"),
        ("a.yaml", b"a: caf\xe9\n", "not UTF-8, at byte 6"),
        ("a.json", b'{"a": "\xe9"}', "not UTF-8, at byte 7"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_place(
    write: Any, name: str, text: str | bytes, said: str
) -> None:
    path = write(name, text)

    found = refusal([path], [])

    assert str(path) in found
    assert said in found


def test_a_file_that_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    assert "no\\n.yaml: No such file or directory" in refusal([tmp_path / "no\n.yaml"], [])
    assert f"{tmp_path}: Is a directory" in refusal([tmp_path], [])


def test_an_emoji_escaped_as_json_does_it_is_one_in_yaml_too() -> None:
    assert collect([], [f"x={json.dumps('🎉')}"]) == {"x": "🎉"}


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        # YAML allows a key of 1,024 characters on a line, escapes included.
        | st.dictionaries(st.text(st.characters(max_codepoint=0xD7FF), max_size=80), inner)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
@settings(deadline=None, max_examples=60)
@example({"<<": {"a": 1}, "": 0, "~": None, "a\n": "\0\x7f\x85"})
@example("0o17")
@example([1e16, 1e-7, -0.0, 5e-324])
def test_json_is_yaml(value: Any) -> None:
    (found,) = collect([], [f"x={json.dumps(value)}"]).values()

    assert json.dumps(found) == json.dumps(value)


@pytest.mark.parametrize("mark", ["-", "|", ">", "|-", ">+", "?", ":", "---", "..."])
def test_a_mark_of_yaml_that_stands_alone_in_a_word_is_text(mark: str) -> None:
    assert collect([], [f"sep={mark}"]) == {"sep": mark}
