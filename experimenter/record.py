"""The record: what a tag's message says of one experiment, as JSON of schema 1."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from json import JSONDecodeError
from typing import Any, Self

from experimenter.errors import NewerRecord, NotARecord, NotStorable
from experimenter.storable import dumps, loads, redacted, redacted_command, storable, without_credentials
from experimenter.text import visible

SCHEMA = 1
_LONGEST_LIST = 1000
_STATUS = re.compile(rb'\{\n  "schema": 1,\n(?:.*\n)*?  "status": "([a-z]+)"')
_DEEPEST = 110  # what we write is nested 100 deep at most, in a record
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # one that is alone is what UTF-8 cannot hold, and JSON can
_SHOWN = 100  # characters of a line with a mistake in it
KEYS = (
    "schema", "name", "description", "sweep", "rerun_of", "parent", "parameters", "results", "status", "submitted",
    "started", "finished", "command", "directory", "exit_code", "code", "drift", "resources", "host", "python",
    "experimenter",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Mapping[str, Any]):
    """One experiment's record: a mapping, as the JSON object is, `body`; keys that a later writer added stay."""

    body: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.body[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.body)

    def __len__(self) -> int:
        return len(self.body)

    @classmethod
    def begin(cls, *, name: str, started: datetime | None, command: Sequence[str], **more: Any) -> Self:
        """Return the record of an experiment that begins; keys whose value is None are left out."""
        given = {
            "schema": SCHEMA,
            "name": name,
            "parameters": {},
            "status": "running",
            "started": started and timestamp(started),
            "command": redacted_command(command),
            **more,
        }
        return cls(body=_in_order({key: value for key, value in given.items() if value is not None}))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the record that a tag's message holds; all of it can be stored again, and shown.

        Raises NotARecord, which says what is wrong where, if it holds none, NewerRecord for a schema that only a later
        version can read.
        """
        raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
        body = _parsed(raw)
        schema = body.get("schema")
        if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
            raise NotARecord("its message is no record: it has no 'schema' that is a number from 1 on")
        if schema > SCHEMA:
            shown = str(schema)[:_SHOWN]
            raise NewerRecord(f"its record has schema {shown}; this experimenter reads up to {SCHEMA}: update it")
        for key in ("parameters", "results", "code"):
            if not isinstance(body.get(key, {}), dict):
                raise NotARecord(f"its message is no record: '{key}' is no object")
        if sum(map(raw.count, (b"{", b"["))) > _DEEPEST and _is_deep(body):
            raise NotARecord(f"its message is no record: it is nested more than {_DEEPEST} deep")
        return cls(body=_all_storable(body) if _SURROGATE.search(raw) else body)

    @classmethod
    def status_in(cls, text: bytes) -> str:
        """Return the status of the record that a tag's message holds; of one as we write them the rest is not read.

        Raises as `from_json`.
        """
        is_plain = text.endswith(b"\n}\n") and not _SURROGATE.search(text)
        found = _STATUS.match(text) if is_plain else None
        return found[1].decode() if found else cls.from_json(text).status

    def to_json(self) -> str:
        """Return the message of a tag: strict JSON, indented by 2, without secrets, ending in a newline."""
        public = {**self.body, "parameters": redacted(self.parameters)}
        return dumps(without_credentials(_in_order(public)), indent=2) + "\n"

    def with_(self, **changes: Any) -> Self:
        """Return this record with other values; a value of None removes its key."""
        merged = {**self.body, **changes}
        return replace(self, body=_in_order({key: value for key, value in merged.items() if value is not None}))

    def with_facts(self, *, name: str, **code: str) -> Self:
        """Return this record with what git knows of its experiment: the name, and keys of `code`."""
        body = {**self.body, "name": name, "code": code | {**self.body.get("code", {})} | code}
        return replace(self, body=_in_order(body))

    @property
    def status(self) -> str:
        """How the experiment stands, or how it ended."""
        return str(self.body.get("status", ""))

    @property
    def command(self) -> list[str]:
        """The words of the command, of whatever kind the record has them; none where it has no list of them."""
        words = self.body.get("command")
        return list(map(str, words)) if isinstance(words, list) else []

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters, as JSON types."""
        return self._part("parameters")

    @property
    def results(self) -> Mapping[str, Any]:
        """The results; empty where there are none."""
        return self._part("results")

    def moment(self, key: str) -> datetime | None:
        """Return an aware datetime that the record holds; nothing if it holds none that can be read."""
        try:
            moment = datetime.fromisoformat(str(self.body.get(key)))
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _part(self, key: str) -> Mapping[str, Any]:
        part = self.body.get(key, {})
        assert isinstance(part, dict)
        return part


def timestamp(moment: datetime) -> str:
    """Return an aware datetime in the form of a record: `2026-11-23T03:19:36.123456Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def path_lists(**lists: Sequence[str]) -> dict[str, Any]:
    """Return lists of paths as a record holds them: cut at 1,000 each, with how many are missing in all."""
    cut: dict[str, Any] = {name: list(paths[:_LONGEST_LIST]) for name, paths in lists.items()}
    missing = sum(max(0, len(paths) - _LONGEST_LIST) for paths in lists.values())
    return cut | ({"truncated": missing} if missing else {})


def _parsed(raw: bytes) -> dict[str, Any]:
    """Return the object that a message holds. Raises NotARecord, which says what is wrong at which place."""
    try:
        body = loads(raw)
    except JSONDecodeError as error:
        line = visible(error.doc.split("\n")[error.lineno - 1])
        raise NotARecord(
            f"its message is not JSON: line {error.lineno}, column {error.colno}: {error.msg}",
            details=[line[:_SHOWN]] if line else [],
        ) from error
    except UnicodeDecodeError as error:
        place = raw.count(b"\n", 0, error.start) + 1
        raise NotARecord(f"its message is not UTF-8: line {place} has the byte 0x{raw[error.start]:02x}") from error
    except ValueError as error:  # too deep, or too many digits
        raise NotARecord(f"its message cannot be read: {visible(str(error))}") from error
    if not isinstance(body, dict):
        raise NotARecord("its message is no record: it is no object of JSON")
    return body


def _all_storable(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a message holds without lone surrogates. Raises NotARecord if it cannot be stored even so."""
    try:
        return {**storable(body)}
    except NotStorable as error:
        raise NotARecord(f"its message is no record: {error}") from error


def _is_deep(value: Any) -> bool:
    """Say whether a value is nested deeper than any that we write."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _in_order(body: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: body[key] for key in KEYS if key in body}
    return known | {key: value for key, value in body.items() if key not in known}
