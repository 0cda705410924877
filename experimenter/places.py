"""Places in nested parameters: a path of keys, which in a list are the numbers of its elements, from 0."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experimenter.errors import BadParameters
from experimenter.storable import REDACTED, dumps, is_secret, merged, without_credentials
from experimenter.text import visible

_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,17})", re.ASCII)
_SHOWN = 60  # characters of a value
_NOTHING = object()


def placed(parameters: Mapping[str, Any], places: Iterable[tuple[Sequence[str], Any]]) -> dict[str, Any]:
    """Return the parameters with values at places, later ones over earlier; a mapping goes into one deeply.

    Mappings on the way that are not there are made. Raises BadParameters for an element that a list does not have, and
    for a place below a value that has none.
    """
    found = dict(parameters)
    for path, value in places:
        found = _placed(found, path, 0, value)
    return found


def at(parameters: Mapping[str, Any], path: Sequence[str]) -> Any:
    """Return the value at a place; raise BadParameters for an element that a list does not have, else KeyError."""
    value: Any = parameters
    for depth, part in enumerate(path):
        if isinstance(value, list):
            value = value[_element(value, path, depth)]
        elif isinstance(value, Mapping):
            value = value[part]
        else:
            raise KeyError(part)
    return value


def _placed(there: Any, path: Sequence[str], depth: int, value: Any) -> Any:
    if depth == len(path):
        return merged(there, value) if isinstance(there, dict) and isinstance(value, dict) else value
    if there is _NOTHING:
        return {path[depth]: _placed(_NOTHING, path, depth + 1, value)}
    if isinstance(there, dict):
        below = there.get(path[depth], _NOTHING)
        return {**there, path[depth]: _placed(below, path, depth + 1, value)}
    if isinstance(there, list):
        number = _element(there, path, depth)
        return [*there[:number], _placed(there[number], path, depth + 1, value), *there[number + 1 :]]
    key, rest = ".".join(path[:depth]), ".".join(path[depth:])
    is_shown = not any(map(is_secret, path[:depth]))
    shown = dumps(without_credentials(there))[:_SHOWN] if is_shown else REDACTED
    raise BadParameters(
        visible(f"{key} is {shown}, which has no {rest} below it; to replace it, give a mapping: {key}='{{{rest}: …}}'")
    )


def _element(there: Sequence[Any], path: Sequence[str], depth: int) -> int:
    """Return the number of an element of a list, whose place begins `path`."""
    if _NUMBER.fullmatch(path[depth]) and int(path[depth]) < len(there):
        return int(path[depth])
    key = ".".join(path[:depth])
    last = len(there) - 1
    has = (
        f"the elements {key}.0 to {key}.{last}" if last > 0 else f"one element, {key}.0" if not last else "no elements"
    )
    raise BadParameters(visible(f"there is no {key}.{path[depth]}; the list {key} has {has}"))
