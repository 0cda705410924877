import dataclasses
import datetime
import enum
import json
import math
import time
from collections import namedtuple
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experimenter.errors import NotStorable
from experimenter.storable import (
    REDACTED,
    dotted,
    dumps,
    is_secret,
    loads,
    merged,
    redacted,
    redacted_command,
    storable,
    without_credentials,
)


class Colour(enum.Enum):
    RED = (1, 0.5)
    BLUE = "blue"


class Level(enum.IntEnum):
    HIGH = 3


class Mode(enum.StrEnum):
    FAST = "fast"


class Bits(enum.Flag):
    ONE = 1
    TWO = 2


@dataclasses.dataclass
class Model:
    depth: int
    path: Path


Point = namedtuple("Point", "x y")


class Tensor:
    """Like one of PyTorch's, of a type that NumPy lacks (bfloat16): `tolist` is the only way to its numbers."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def tolist(self) -> Any:
        return self._held

    def __array__(self, *_: object, **__: object) -> Any:
        raise TypeError("Got unsupported ScalarType BFloat16")

    def __bool__(self) -> bool:
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")

    def __iter__(self) -> Any:
        return iter([Tensor(0)])

    def __eq__(self, other: object) -> Any:
        return Tensor(False)

    __hash__ = object.__hash__


class Broken:
    def tolist(self) -> Any:
        raise RuntimeError("not on this\ndevice")


class Endless:
    def tolist(self) -> Any:
        return [Endless()]


def same(found: object, expected: object) -> bool:
    """Say whether two values are written alike in JSON: True is not 1, 1.0 is not 1."""
    return json.dumps(found, allow_nan=False) == json.dumps(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.bool_(True), True),
        (np.int64(-7), -7),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float16(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.longdouble(0.5), 0.5),
        (np.float32("nan"), "NaN"),
        (np.longdouble("-inf"), "-Infinity"),
        (np.str_("größe"), "größe"),
        (np.datetime64("2026-11-23"), "2026-11-23"),
        (np.datetime64("2026-11-23T03:19:36", "s"), "2026-11-23T03:19:36"),
        (np.array(3), 3),
        (np.array(0.5, dtype=np.longdouble), 0.5),
        (np.array([], dtype=np.int8), []),
        (np.array([True, False]), [True, False]),
        (np.array([[1, 2], [3, 4]], dtype=np.uint8), [[1, 2], [3, 4]]),
        (np.array([0.5, math.nan, math.inf], dtype=np.float16), [0.5, "NaN", "Infinity"]),
        (np.array([0.5, 2], dtype=np.longdouble), [0.5, 2.0]),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array(["2026-11-23"], dtype="datetime64[D]"), ["2026-11-23"]),
        (np.array([{"a": np.int8(1)}, None, Path("x")], dtype=object), [{"a": 1}, None, "x"]),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), [[1, 2.0]]),
        ([np.array([1]), (np.float32(2),)], [[1], [2.0]]),
        ({np.int64(3): np.bool_(False)}, {"3": False}),
        (Tensor(0.5), 0.5),
        (Tensor([[0.5, math.nan]]), [[0.5, "NaN"]]),
        ({"loss": [Tensor(True), Tensor([Tensor(1)])]}, {"loss": [True, [1]]}),
    ],
)
def test_converts_scalars_and_arrays(value: Any, expected: Any) -> None:
    assert same(storable(value), expected)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_moment_of_numpy_is_a_moment_whatever_its_unit(unit: str) -> None:
    moment = np.array("2026-11-23T03:19:36").astype(f"datetime64[{unit}]")[()]

    assert str(storable(moment)).startswith("2026-11-23T03:19:36")
    assert str(storable(np.array([moment]))[0]).startswith("2026-11-23T03:19:36")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (10**30, 10**30),
        (-0.0, -0.0),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (Path("a/b c"), "a/b c"),
        (PurePosixPath("/x"), "/x"),
        (Path("caf\udce9"), r'"caf\351"'),
        ("caf\udce9", r'"caf\351"'),
        (datetime.date(2026, 11, 23), "2026-11-23"),
        (datetime.time(3, 19), "03:19:00"),
        (datetime.datetime(2026, 11, 23, 3, 19, 36, 5, tzinfo=datetime.UTC), "2026-11-23T03:19:36.000005+00:00"),
        (Colour.RED, [1, 0.5]),
        (Colour.BLUE, "blue"),
        (Level.HIGH, 3),
        (Mode.FAST, "fast"),
        (Bits.ONE | Bits.TWO, 3),
        (Model(3, Path("m.pt")), {"depth": 3, "path": "m.pt"}),
        (Point(1, Path("y")), [1, "y"]),
        ((1, (2, [3])), [1, [2, [3]]]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (
            {2: "a", None: "b", True: "c", 1.5: "d", Mode.FAST: "e"},
            {"2": "a", "null": "b", "true": "c", "1.5": "d", "fast": "e"},
        ),
        ({datetime.date(2026, 1, 1): 1, Path("x"): 2}, {"2026-01-01": 1, "x": 2}),
    ],
)
def test_converts_what_python_has(value: Any, expected: Any) -> None:
    assert same(storable(value), expected)


def test_sets_of_mixed_types_have_one_order() -> None:
    values = ["b", 2, None, "a", 1.5, (1, 2)]

    assert storable(set(values)) == storable(frozenset(values[::-1]))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"model": {"layers": [1, object()]}}, r"^model\.layers\[1\] is a object"),
        ({"loss": {"final": b"raw"}}, r"^loss\.final is a bytes"),
        ({"f": len}, r"^f is a builtin_function"),
        ({"kind": Model}, r"^kind is a type"),
        ({"kind": np.float32}, r"^kind is a type"),
        ({"z": 1j}, r"^z is a complex"),
        ({"z": np.complex64(1j)}, r"^z is a complex"),
        ({"s": {1, (b"x",)}}, r"^s.* is a bytes"),
        ({"m": Model(3, object())}, r"^m\.path is a object"),  # type: ignore[arg-type]
        ({"m": {(1, 2): 3}}, r"^m has a key that is no text"),
        ({"m": {1: "a", "1": "b"}}, r"^m\.1 is there twice"),
        ({"t": Broken()}, r"^t cannot be converted: not on this\\ndevice"),
        ({"t": {"big": 10**5000}}, r"^t\.big"),
        (object(), r"^the value is a object"),
    ],
)
def test_refuses_anything_else_with_the_keys_path(value: Any, said: str) -> None:
    with pytest.raises(NotStorable, match=said):
        storable(value)


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["x\x1b"] = {"self": [value]}
    return value


@pytest.mark.parametrize("value", [cycle(), {"x": Endless()}])
def test_refuses_what_contains_itself_in_one_short_line(value: Any) -> None:
    with pytest.raises(NotStorable, match=r"contains itself") as refused:
        storable(value)

    assert len(refused.value.message) < 200
    assert refused.value.message.isprintable()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(max_size=3) | st.integers(), inner)
    ),
    max_leaves=8,
)


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


@given(ANYTHING)
@settings(deadline=None)
def test_whatever_is_converted_is_strict_json_and_stays_as_it_is(value: Any) -> None:
    try:
        once = storable(value)
    except NotStorable as error:
        assert "twice" in error.message  # the keys 1 and "1" are the only reason here
        return
    document = dumps(once)

    document.encode()
    assert json.loads(document, parse_constant=refuse) == once == storable(once)


@pytest.mark.parametrize("value", ["\x7f\x9b31m\u2028\u202e\x1b\0\n", {"\x85": ["\x00"]}])
def test_no_control_character_stands_in_a_document(value: Any) -> None:
    assert dumps(value).isprintable()
    assert json.loads(dumps(value)) == value


@pytest.mark.parametrize(
    ("document", "expected"),
    [('{"a": 1e999, "b": -1e999}', '{"a": "1e999", "b": "-1e999"}'), ('"\\ud800"', r'"\"\\355\\240\\200\""')],
)
def test_what_is_read_but_not_strict_is_written_strictly(document: str, expected: str) -> None:
    assert dumps(loads(document)) == expected


def test_reads_what_others_write() -> None:
    assert loads('[NaN, Infinity, -Infinity, "\\ud83c\\udf89"]') == ["NaN", "Infinity", "-Infinity", "🎉"]
    assert loads("[1e400, -1e400, 1e-400, 0e400, -0.0, 5e-324]") == ["1e400", "-1e400", "1e-400", 0.0, -0.0, 5e-324]
    assert loads(b'\xef\xbb\xbf{"a": "\xc3\xbc"}') == {"a": "ü"}


@pytest.mark.parametrize("document", [b"\xff", "", "{", "{} {}", "[" * 100_000])
def test_what_is_no_json_is_a_value_error(document: str | bytes) -> None:
    with pytest.raises(ValueError):
        loads(document)


SECRET_WORDS = [
    "password", "passwd", "secret", "api_key", "apikey", "access_key", "access_token", "auth_token", "private_key",
]  # fmt: skip


@pytest.mark.parametrize("word", SECRET_WORDS)
def test_each_secret_word_is_one_in_any_case_and_as_a_suffix(word: str) -> None:
    for key in (word, word.upper(), word.title(), word.replace("_", "-"), f"db_{word}", f"DB-{word}", f"_{word}"):
        assert is_secret(key), key
    for key in (f"{word}s", f"{word}_length", f"{word}_", f"x{word}", f"a {word}", f"no.{word}x"):
        assert not is_secret(key), key


@pytest.mark.parametrize(
    "key", ["max_tokens", "token", "tokens", "key", "keys", "n_keys", "secretary", "passwords", "user", "monkey", ""]
)
def test_keys_that_only_sound_similar_are_no_secrets(key: str) -> None:
    assert not is_secret(key)


def test_secret_parameters_are_redacted_at_any_depth_and_inside_lists() -> None:
    parameters = {
        "lr": 0.1,
        "max_tokens": 512,
        "password": "hunter2",
        "db": {"API-Key": "k", "user": "me", "list": [{"secret": "s", "n": 1}], "my_secret": ["a", ["b"], {"c": "d"}]},
        "secret": {"note": "n", "Private_Key": ""},
        "auth_token": None,
        "passwd": True,
    }

    assert redacted(parameters) == {
        "lr": 0.1,
        "max_tokens": 512,
        "password": REDACTED,
        "db": {
            "API-Key": REDACTED,
            "user": "me",
            "list": [{"secret": REDACTED, "n": 1}],
            "my_secret": [REDACTED, [REDACTED], {"c": "d"}],
        },
        "secret": {"note": "n", "Private_Key": REDACTED},
        "auth_token": None,
        "passwd": True,
    }
    assert parameters["password"] == "hunter2"


@pytest.mark.parametrize("key", ["db.password", "model.hub-api.API-Key"])
def test_a_dotted_key_is_as_secret_as_the_nested_one(key: str) -> None:
    assert redacted({key: "hunter2", f"{key}.user": "me"}) == {key: REDACTED, f"{key}.user": "me"}


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("x --api-key V y", "x --api-key <redacted> y"),
        ("x --api-key=V=W y", "x --api-key=<redacted> y"),
        ("x -p=api_key=V --lr=a=b", "x -p=api_key=<redacted> --lr=a=b"),
        ("x --password -V --secret --y", "x --password <redacted> --secret --y"),
        ("x --API_KEY V --Db-Password=V", "x --API_KEY <redacted> --Db-Password=<redacted>"),
        ("x -password V", "x -password <redacted>"),
        ("x --db.password V --db.secret=V", "x --db.password <redacted> --db.secret=<redacted>"),
        ("x password=V +db.api_key=V ++secret=V", "x password=<redacted> +db.api_key=<redacted> ++secret=<redacted>"),
        ("x --secret a=b", "x --secret <redacted>"),
        ("x --password --verbose y", "x --password --verbose y"),
        ("x --max-tokens 5 --max_tokens=5 --token V", "x --max-tokens 5 --max_tokens=5 --token V"),
        ("password V secret", "password V secret"),
        ("x --password", "x --password"),
    ],
)
def test_values_of_secret_options_are_redacted_in_a_command(command: str, shown: str) -> None:
    assert redacted_command(command.split()) == shown.split()


def test_a_secret_with_newlines_is_redacted_whole() -> None:
    assert redacted_command(["x", "--private-key=a\nb", "--private-key", "a\nb"]) == [
        "x", "--private-key=<redacted>", "--private-key", "<redacted>",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pw@host/path", "https://<redacted>@host/path"),
        ("https://token@host", "https://<redacted>@host"),
        ("git+ssh://git@host:22/x", "git+ssh://<redacted>@host:22/x"),
        ("https://me:p@w@host/", "https://<redacted>@host/"),
        (
            "see http://a:b@c, HTTP://d@e\nftp://f:g@[::1]/",
            "see http://<redacted>@c, HTTP://<redacted>@e\nftp://<redacted>@[::1]/",
        ),
        ("http://a:b@c/,http://d:e@f", "http://<redacted>@c/,http://<redacted>@f"),
        ("https://host/@me/a@b?mail=a@b#a@b", "https://host/@me/a@b?mail=a@b#a@b"),
        ("https://host?mail=a@b", "https://host?mail=a@b"),
        (
            "get https://host/a.git?private_token=a%2Fb&ref=main#token=x now",
            "get https://host/a.git?private_token=<redacted>&ref=main#token=x now",
        ),
        ("https://host?x-amz-signature=a&X-Amz-Date=b", "https://host?x-amz-signature=<redacted>&X-Amz-Date=b"),
        (
            "https://host?monkey=a&key=b&sig=c,d&api_key=",
            "https://host?monkey=a&key=<redacted>&sig=<redacted>&api_key=",
        ),
        ("a?token=b", "a?token=b"),
        ("https://p/?url=https://h/x?private_token=S&b", "https://p/?url=https://h/x?private_token=<redacted>&b"),
        ("https://h?accessToken='a'b&amp;sig=S;pwd=P", "https://h?accessToken=<redacted>&amp;sig=<redacted>"),
        ('{"u": "https://h?a=1;pass=S", "n": "x&y"}', '{"u": "https://h?a=1;pass=<redacted>", "n": "x&y"}'),
        ("https://host and me@example.com", "https://host and me@example.com"),
        ("git@host:path me@example.com", "git@host:path me@example.com"),
    ],
)
def test_urls_lose_their_credentials(text: str, shown: str) -> None:
    found = without_credentials({text: [text, {"x": text}], "n": 1})

    assert found == {shown: [shown, {"x": shown}], "n": 1}
    assert without_credentials(found) == found


@pytest.mark.parametrize(
    "piece",
    [
        "://",
        "http://",
        "@",
        "://a@",
        "a:",
        "?",
        "://a?",
        "&-",
        "?token=",
        "-_token",
        "://" + "a" * 30,
        "://a:b",
        "http://a b",
    ],
)
def test_redacting_megabytes_takes_no_longer_than_reading_them(piece: str) -> None:
    text = "://" + piece * (4_000_000 // len(piece))

    assert without_credentials(f"{text} https://me:pw@host").endswith("@host")  # would not end if it were quadratic


@pytest.mark.parametrize("piece", ["-", "+", ".", "-a", "_password", "a_"])
def test_redacting_a_long_word_takes_no_longer_than_reading_it(piece: str) -> None:
    def seconds(word: str) -> float:
        start = time.process_time()
        redacted_command([word])
        return time.process_time() - start

    assert seconds(piece * (10_000 // len(piece))) < 100 * max(seconds("x" * 10_000), 0.001)


def test_mappings_are_merged_deeply_and_stay_as_they_are() -> None:
    first = {"a": {"b": 1, "c": {"d": 2}}, "e": [1, 2], "f": {"g": 1}, "h": 1}
    second = {"a": {"c": {"d": 3, "x": 4}}, "e": [3], "f": None, "h": {"i": 1}}

    whole = merged(first, {}, second)
    whole["a"]["c"]["d"] = "changed"

    assert whole == {"a": {"b": 1, "c": {"d": "changed", "x": 4}}, "e": [3], "f": None, "h": {"i": 1}}
    assert first["a"] == {"b": 1, "c": {"d": 2}}
    assert second["a"] == {"c": {"d": 3, "x": 4}}


@given(st.dictionaries(st.text(max_size=2), st.integers() | st.dictionaries(st.text(max_size=2), st.integers())))
@settings(deadline=None)
@example({})
def test_merging_a_mapping_with_nothing_gives_it_back(mapping: dict[str, Any]) -> None:
    assert merged(mapping) == merged({}, mapping) == merged(mapping, {}) == merged(mapping, mapping) == mapping


def test_flattening_keeps_empty_mappings_and_lists_as_values() -> None:
    nested = {"a": {"b": {"c": 1}, "d": []}, "e": {}, "f": [{"g": 1}]}

    assert dotted(nested) == {"a.b.c": 1, "a.d": [], "e": {}, "f": [{"g": 1}]}
