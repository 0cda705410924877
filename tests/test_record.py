import itertools
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import make_repo, sh
from experimenter import store
from experimenter.errors import NewerRecord, NotARecord
from experimenter.names import tag
from experimenter.plumbing import Repo, find_repo
from experimenter.record import Record, path_lists, timestamp
from experimenter.text import encodable

AT = datetime(2026, 11, 23, 3, 19, 36, 123456, tzinfo=UTC)
SAMPLE = Path(__file__).parent / "data/schema-1.json"
EXAMPLE_KEYS = [
    "schema", "name", "description", "parameters", "results", "status", "started", "finished", "command", "directory",
    "exit_code", "code", "drift", "resources", "host", "python", "experimenter",
]  # fmt: skip


def begin(**more: Any) -> Record:
    return Record.begin(name="baseline", started=AT, command=["python", "train.py"], **more)


def strict(document: str) -> dict[str, Any]:
    """Parse by RFC 8259: no NaN, no control character in a string, no key twice."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)

    document.encode()
    value = json.loads(document, parse_constant=refuse, object_pairs_hook=unique)
    assert isinstance(value, dict)
    return value


def test_a_new_record_says_what_starts() -> None:
    assert strict(begin().to_json()) == {
        "schema": 1,
        "name": "baseline",
        "parameters": {},
        "status": "running",
        "started": "2026-11-23T03:19:36.123456Z",
        "command": ["python", "train.py"],
    }


def test_keys_stand_in_the_order_of_the_schema_whatever_the_order_of_writing() -> None:
    order = [*EXAMPLE_KEYS[:3], "sweep", "rerun_of", "parent", *EXAMPLE_KEYS[3:], "later", "even_later"]
    record = begin(later={"b": 1, "a": 2}).with_(even_later=1)

    for key in reversed(order):
        if key not in record.body:
            record = record.with_(**{key: {} if key in ("results", "code") else "x"})

    assert list(record.body) == list(strict(record.to_json())) == order
    assert list(record.body["later"]) == ["b", "a"]


def test_a_key_without_a_value_is_absent() -> None:
    record = begin(description=None, parent=None, host="node1")

    assert "null" not in record.to_json()
    assert "host" not in record.with_(host=None, drift=None).body
    assert record.with_(host=None).results == {}


def test_the_message_is_indented_by_two_and_ends_in_a_newline() -> None:
    message = begin(parameters={"lr": 0.1}).to_json()

    assert message == json.dumps(json.loads(message), indent=2) + "\n"
    assert '\n  "parameters": {\n    "lr": 0.1\n  },\n' in message


def test_text_is_written_as_utf8() -> None:
    assert "größe 🎉" in begin(description="größe 🎉").to_json()


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-3, minutes=-30))])
def test_times_are_in_utc_to_the_microsecond(zone: timezone) -> None:
    assert timestamp(AT.astimezone(zone)) == "2026-11-23T03:19:36.123456Z"
    assert timestamp(AT.replace(microsecond=0)) == "2026-11-23T03:19:36.000000Z"


def test_secrets_stay_out_wherever_they_stand() -> None:
    url = "https://me:hunter2@host/x"
    record = Record.begin(
        name="a",
        started=AT,
        command=["python", "--api-key", "hunter2", "--password=hunter2", url],
        parameters={"db": [{"password": "hunter2"}], "max_tokens": 5, url: [url]},
        description=f"see {url}",
        code={"branch": url, "changed": {"added": [url]}},
        later=[{"x": url}],
    ).with_(results={"where": url}, drift={"modified": [url], "deleted": []})

    message = record.to_json()

    assert "hunter2" not in message
    assert "me:" not in message
    assert strict(message)["parameters"] == {
        "db": [{"password": "<redacted>"}],
        "max_tokens": 5,
        "https://<redacted>@host/x": ["https://<redacted>@host/x"],
    }
    assert Record.from_json(message).to_json() == message


def test_words_that_are_not_utf8_are_written_as_git_quotes_them() -> None:
    record = Record.begin(name="a", started=AT, command=["python", "caf\udce9.py"])

    assert strict(record.to_json())["command"] == ["python", r'"caf\351.py"']


@pytest.mark.parametrize(
    ("count", "kept", "expected"),
    [
        ({"added": 0, "modified": 3}, {"added": 0, "modified": 3}, None),
        ({"added": 1000, "modified": 1000}, {"added": 1000, "modified": 1000}, None),
        ({"added": 1001, "modified": 1500}, {"added": 1000, "modified": 1000}, 501),
    ],
)
def test_lists_of_paths_are_cut_at_a_thousand(
    count: dict[str, int], kept: dict[str, int], expected: int | None
) -> None:
    lists = path_lists(**{name: [f"{number}" for number in range(length)] for name, length in count.items()})

    assert lists.pop("truncated", None) == expected
    assert {name: len(paths) for name, paths in lists.items()} == kept
    assert all(paths == [f"{number}" for number in range(len(paths))] for paths in lists.values())


@pytest.mark.parametrize(
    "message",
    [
        "", "release 1.0\n", "null", "[]", "{}", '"schema"', '{"schema": null}', '{"schema": true}', '{"schema": "1"}',
        '{"schema": 0}', '{"schema": 1', '{"schema": 1} trailing', b'{"schema": 1, "name": "\xff"}',
        '{"schema": 1, "parameters": []}', '{"schema": 1, "results": null}', '{"schema": 1, "code": "x"}', "[" * 99999,
    ],
)  # fmt: skip
def test_a_message_that_is_no_record_is_told_apart(message: str | bytes) -> None:
    with pytest.raises(NotARecord):
        Record.from_json(message)


@pytest.mark.parametrize("schema", [2, 10**30])
def test_a_newer_schema_is_told_apart_from_no_record(schema: int) -> None:
    with pytest.raises(NewerRecord, match=str(schema)):
        Record.from_json(json.dumps({"schema": schema, "parameters": "in another form"}))


def test_keys_that_we_do_not_know_are_kept() -> None:
    message = begin().to_json().replace('"schema": 1,', '"schema": 1, "later": {"z": [1e-5, null], "a": "é"},')

    assert strict(Record.from_json(message).with_(status="completed").to_json())["later"] == {
        "z": [1e-5, None],
        "a": "é",
    }


def test_records_of_schema_1_are_read_for_ever() -> None:
    written = SAMPLE.read_text(encoding="utf-8")

    record = Record.from_json(written)

    assert set(EXAMPLE_KEYS) <= set(record.body)
    assert record.body == json.loads(written)
    assert record.parameters["model"] == {"depth": 3, "kind": "größe", "pretrained": True, "init": None}
    assert record.results == {"accuracy": 0.93, "loss": {"train": 1e-05, "test": "NaN"}}
    assert record.body["code"]["changed"]["truncated"] == 3
    assert record.body["a_later_key"] == {"that": ["we don't know"]}
    assert record.to_json() == written


TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('\0\x1b\x7f\x9b\n\r"\\#/\u2028\U0001f389'))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
NUMBERS = itertools.count()


def expected(value: Any) -> Any:
    """Return what a JSON-like value is once it was stored."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {encodable(key): expected(item) for key, item in value.items()}
    return [expected(item) for item in value] if isinstance(value, list) else value


@cache
def repo_in(folder: Path) -> Repo:
    return find_repo(make_repo(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "repo"


@given(parameters=st.dictionaries(TEXT, VALUES, max_size=4), results=st.dictionaries(TEXT, VALUES, max_size=4))
@settings(deadline=None, max_examples=25)
@example({"big": 10**4000, "huge": 1e999, "small": 5e-324}, {"": [[], {}, [None]]})
@example({"# no comment\n# here": "\n\n#\n"}, {"-----BEGIN PGP SIGNATURE-----\n": "\n-----BEGIN PGP SIGNATURE-----\n"})
@example({"caf\udce9": "\ud800\udfff"}, {"\udce9": ["\udce9"]})
def test_what_goes_into_a_tag_comes_out_of_it(
    folder: Path, parameters: dict[str, Any], results: dict[str, Any]
) -> None:
    repo = repo_in(folder)
    name = tag("baseline", AT + timedelta(microseconds=next(NUMBERS)))

    store.create(repo, name, head(folder), begin(parameters=parameters, results=results))
    message = sh(f"git for-each-ref --format='%(contents)' refs/tags/{name}", cwd=folder)
    found = store.read(repo, name).record

    assert strict(message) == found.body
    assert found.parameters == expected(parameters)
    assert found.results == expected(results)
    assert list(found.parameters) == [encodable(key) for key in parameters]
    assert found.to_json() + "\n" == message


@cache
def head(folder: Path) -> str:
    return sh("git rev-parse HEAD", cwd=folder).strip()
