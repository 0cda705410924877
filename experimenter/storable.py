"""What may go into a record: values as JSON can hold them, without secrets."""

import dataclasses
import datetime
import enum
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from experimenter.errors import NotStorable
from experimenter.text import encodable, escaped_json, visible
from experimenter.written import Written, fraction

REDACTED = "<redacted>"
_DEEPEST = 100  # so deep, with what is around it, records are read
_LONGEST_INT_BITS = 13_288  # 4,000 digits; Python itself reads no more than 4,300

_SECRET_WORDS = (
    "password", "passwd", "secret", "api_key", "apikey", "access_key", "access_token", "auth_token", "private_key",
)  # fmt: skip
# A user part has no slash, so no scan passes the next `://`: linear on any text.
_URL_USER = re.compile(r"://[^/?#\s]*@")
_URL = re.compile(r"://\S+")
# The values of secret keys in a query, as of GitLab, Google, AWS and Azure; a value may be a URL with a query again.
_QUERY_SECRET = re.compile(
    r"(?<=[?&;])((?:amp;)?(?:[\w.%\[\]-]*(?:token|secret|password|passwd|signature|credential|(?:api|access|private)[-_]?key)"
    r"|(?:[\w.%\[\]-]*[-_.\[])?(?:auth|sig|pwd|pass)|key)\]?)=[^&#\s\"]+",
    re.IGNORECASE,
)


def _finite(number: float) -> float | str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


# In this order: a bool is an int, too.
_SCALARS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((type(None), bool), lambda value: value),
    (str, lambda value: encodable(str(value))),
    (Written, lambda value: value),
    (int, int),
    (float, lambda value: _finite(float(value))),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    (os.PathLike, lambda value: encodable(os.fsdecode(value))),
)


def storable(value: Any, *, path: str = "") -> Any:
    """Return `value` as JSON types alone: dict with str keys, list, str, int, finite float, bool, None.

    NaN and the infinities become the strings "NaN", "Infinity" and "-Infinity"; NumPy and PyTorch values, paths,
    dates, enums, dataclasses, tuples and sets are converted. Raises NotStorable, with the key's path, for the rest.
    """
    return _storable(value, path, 0)


def storable_parts(value: Any) -> tuple[dict[str, Any], list[NotStorable]]:
    """Return what `storable` makes of a mapping, and why of some values it makes nothing.

    Each is refused by itself, also in a mapping inside; in a list it takes the list with it. Raises TypeError for what
    is no mapping, nor a dataclass.
    """
    mapping = _mapping_of(value)
    if mapping is None:
        raise TypeError(f"a mapping is needed, not a {type(value).__name__}")
    refused: list[NotStorable] = []
    return _storable_mapping(mapping, "", 0, refused), refused


class _TooDeep(NotStorable):
    """A value is nested too deep, or contains itself: then so does what is around it."""


def _storable(value: Any, path: str, depth: int, refused: list[NotStorable] | None = None) -> Any:
    if depth > _DEEPEST:
        raise _TooDeep(f"{path[:80]}… is nested more than {_DEEPEST} deep, or contains itself")
    if isinstance(value, enum.Enum):
        return _storable(value.value, path, depth + 1, refused)
    if isinstance(value, int) and value.bit_length() > _LONGEST_INT_BITS:
        raise NotStorable(f"{path or 'the value'} is an integer of more than 4,000 digits, which few JSON readers take")
    for kinds, convert in _SCALARS:
        if isinstance(value, kinds):
            return convert(value)
    mapping = _mapping_of(value)
    if mapping is not None:
        return _storable_mapping(mapping, path, depth, refused)
    if isinstance(value, list | tuple):
        return [_storable(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return sorted((_storable(item, path, depth + 1) for item in value), key=json.dumps)
    return _storable(_native(value, path), path, depth + 1)


def _mapping_of(value: Any) -> Mapping[Any, Any] | None:
    """Return a mapping, or the fields of a dataclass; nothing for anything else."""
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _storable_mapping(
    mapping: Mapping[Any, Any], path: str, depth: int, refused: list[NotStorable] | None
) -> dict[str, Any]:
    """Return a mapping as JSON types; where there is a list for what is `refused`, without that."""
    stored: dict[str, Any] = {}
    for key, value in mapping.items():
        count = len(refused or ())
        try:
            name = _key(key, path)
            if name in stored:
                raise NotStorable(f"{_joined(path, name)} is there twice, once as another type of key")
            converted = _storable(value, _joined(path, name), depth + 1, refused)
        except NotStorable as error:
            if refused is None or (depth and isinstance(error, _TooDeep)):
                raise
            refused.append(error)
        else:
            if converted != {} or len(refused or ()) == count:  # else nothing of it is left
                stored[name] = converted
    return stored


def _key(key: Any, path: str) -> str:
    """Return a key as JSON has it: text, or what json.dumps makes of a number, true, false or null."""
    plain = _storable(key, path, _DEEPEST - 1) if not isinstance(key, str) else key
    if isinstance(plain, str):
        return encodable(plain)
    if plain is None or isinstance(plain, bool | int | float):
        return json.dumps(plain)
    raise NotStorable(f"{path or 'the mapping'} has a key that is no text: {visible(repr(key))[:80]}")


def _native(value: Any, path: str) -> Any:
    """Return what an array or a scalar of NumPy, PyTorch and their kin holds, as Python's own types.

    They all have `tolist`. One that answers with its own type again has no such form (NumPy's longdouble).
    """
    if getattr(getattr(value, "dtype", None), "kind", None) == "M":
        value = value.astype(str)  # its tolist gives nanoseconds as bare numbers
    convert = getattr(value, "tolist", None)
    if callable(convert) and not isinstance(value, type):
        try:
            native = convert()
            return float(value) if type(native) is type(value) else native
        except Exception as error:
            raise NotStorable(f"{path or 'the value'} cannot be converted: {visible(str(error))}") from error
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise NotStorable(f"{path or 'the value'} is a {kind}, which JSON cannot hold; convert it to numbers or text first")


def _joined(path: str, key: str) -> str:
    return f"{path}.{visible(key)}" if path else visible(key)


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Return `value` as a strict JSON document (RFC 8259) that UTF-8 can hold and a terminal can show.

    Raises NotStorable for what JSON cannot hold.
    """
    try:
        document = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
        document.encode()
    except (ValueError, TypeError, RecursionError):
        # Not strict as it is, which is rare: a float such as 1e999, a lone surrogate.
        document = json.dumps(storable(value), ensure_ascii=False, allow_nan=False, indent=indent)
    return escaped_json(document)


def loads(document: str | bytes) -> Any:
    """Return what a JSON document holds, with NaN and the infinities as the strings that stand for them.

    A number that no float can hold is the text that it was written as. Raises ValueError (or its UnicodeDecodeError)
    for what is not JSON or not UTF-8.
    """
    text = document.decode().removeprefix("\ufeff") if isinstance(document, bytes) else document
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError as error:
        if "integer string conversion" in str(error):  # a limit of Python's (sys.set_int_max_str_digits)
            raise ValueError("it has an integer of more than 4,300 digits; give it as text") from error
        raise


_DECODER = json.JSONDecoder(parse_constant=str, parse_float=fraction)


def is_secret(key: str) -> bool:
    """Say whether the value under `key` is to be kept out of records: `password`, `db_api_key`, …; not `max_tokens`."""
    last = key.rpartition(".")[2]
    return ("_" + last.lower().replace("-", "_")).endswith(tuple("_" + word for word in _SECRET_WORDS))


def redacted(value: Any, *, key: str = "") -> Any:
    """Return storable parameters with every text or number under a secret key replaced."""
    if isinstance(value, dict):
        return {name: redacted(item, key=name) for name, item in value.items()}
    if isinstance(value, list):
        return [redacted(item, key=key) for item in value]
    is_plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return REDACTED if is_plain and is_secret(key) else value


def redacted_command(words: Sequence[str]) -> list[str]:
    """Return a command's words with the values of secret options replaced: `--api-key V`, `--api-key=V`."""
    shown: list[str] = []
    value_is_secret = False
    for word in words:
        hidden = value_is_secret and not word.startswith("--")
        shown.append(REDACTED if hidden else _redacted_word(word))
        value_is_secret = word.startswith("-") and is_secret(word.lstrip("-"))
    return shown


def _redacted_word(word: str) -> str:
    """Return `--api-key=V`, `api_key=V` or `-p=api_key=V` without the value."""
    option, equals, value = word.partition("=")
    if not equals:
        return word
    return f"{option}={REDACTED if is_secret(option.lstrip('-+')) else _redacted_word(value)}"


def without_credentials(value: Any) -> Any:
    """Return a storable value whose URLs have lost their user part, and in the query values of secret keys.

    For the parts of a URL see RFC 3986, sections 3.2.1 and 3.4.
    """
    if isinstance(value, str):
        if "://" not in value:
            return value
        return _URL.sub(
            lambda url: _QUERY_SECRET.sub(rf"\1={REDACTED}", url[0]), _URL_USER.sub(f"://{REDACTED}@", value)
        )
    if isinstance(value, dict):
        return {without_credentials(name): without_credentials(item) for name, item in value.items()}
    return [without_credentials(item) for item in value] if isinstance(value, list) else value


def public(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return storable parameters as a record has them: without secrets."""
    found = without_credentials(redacted(dict(parameters)))
    assert isinstance(found, dict)
    return found


def merged(*mappings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mappings as one: later ones override earlier ones key by key, deeply."""
    result: dict[str, Any] = {}
    for mapping in mappings:
        for key, value in mapping.items():
            below = result.get(key)
            both = isinstance(below, dict) and isinstance(value, dict)
            result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def flattened(mapping: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value that is no mapping with its path of keys; an empty mapping as itself."""
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from (((key, *below), item) for below, item in flattened(value))
        else:
            yield (key,), value


def dotted(mapping: Mapping[str, Any], *, prefix: str = "", has_objects: bool = False) -> dict[str, Any]:
    """Return a nested mapping as a flat one with keys such as `model.depth`; one that is taken stands in backquotes.

    With `has_objects` also what is between is there: `model`, too.
    """
    found: dict[str, Any] = {}
    _fill(found, mapping, prefix, has_objects)
    return found


def _fill(found: dict[str, Any], mapping: Mapping[str, Any], prefix: str, has_objects: bool) -> None:
    for key, value in mapping.items():
        is_nested = value and isinstance(value, dict)
        if has_objects or not is_nested:
            place = prefix + key
            found[place if place not in found else f"{prefix}`{key}`"] = value
        if is_nested:
            _fill(found, value, f"{prefix}{key}.", has_objects)
