"""The record: what a tag's message says of one experiment, as JSON of schema 1."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from experimenter.errors import NewerRecord, NotARecord
from experimenter.storable import dumps, loads, redacted, redacted_command, without_credentials

SCHEMA = 1
_LONGEST_LIST = 1000
_STATUS = re.compile(rb'\{\n  "schema": 1,\n(?:.*\n)*?  "status": "([a-z]+)"')
_DEEPEST = 110  # what we write is nested 100 deep at most, in a record
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
        """Return the record that a tag's message holds.

        Raises NotARecord if it holds none, NewerRecord for a schema that only a later version can read.
        """
        try:
            body = loads(text)
        except ValueError as error:
            raise NotARecord("the message is not JSON") from error
        schema = body.get("schema") if isinstance(body, dict) else None
        if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
            raise NotARecord("the message is not a record")
        if schema > SCHEMA:
            raise NewerRecord(f"its record has schema {schema}; this experimenter reads up to {SCHEMA}")
        if not all(isinstance(body.get(key, {}), dict) for key in ("parameters", "results", "code")):
            raise NotARecord("its parameters, results or code are not objects")
        brackets = ("{", "[") if isinstance(text, str) else (b"{", b"[")
        if sum(map(text.count, brackets)) > _DEEPEST and _is_deep(body):  # type: ignore[arg-type]
            raise NotARecord(f"it is nested more than {_DEEPEST} deep")
        return cls(body=body)

    @classmethod
    def status_in(cls, text: bytes) -> str:
        """Return the status of the record that a tag's message holds; of one as we write them the rest is not read.

        Raises as `from_json`.
        """
        found = _STATUS.match(text)
        return found[1].decode() if found else cls.from_json(text).status

    def to_json(self) -> str:
        """Return the message of a tag: strict JSON, indented by 2, without secrets, ending in a newline."""
        public = {**self.body, "parameters": redacted(self.parameters)}
        return dumps(without_credentials(_in_order(public)), indent=2) + "\n"

    def with_(self, **changes: Any) -> Self:
        """Return this record with other values; a value of None removes its key."""
        merged = {**self.body, **changes}
        return replace(self, body=_in_order({key: value for key, value in merged.items() if value is not None}))

    @property
    def status(self) -> str:
        """How the experiment stands, or how it ended."""
        return str(self.body.get("status", ""))

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
