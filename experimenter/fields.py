"""The fields of a JSON object in one of our own files: read strictly, as a crash or a hand may have left anything."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

_T = TypeVar("_T")
_LARGEST_PID = 2**31 - 1  # pid_t


class BadField(ValueError):
    """A field that is missing, or of another type or range than it is written with."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The object that a file holds. Each method returns one field of it, or raises BadField."""

    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what a file holds; nothing if it is gone, or holds no JSON object."""
        try:
            value = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return cls(value) if isinstance(value, dict) else None

    def has(self, key: str) -> bool:
        """Say whether there is such a field, with a value."""
        return self.values.get(key) is not None

    def maybe(self, read: Callable[[str], _T], key: str) -> _T | None:
        """Return a field as a method reads it; nothing if it is missing or null."""
        return read(key) if self.has(key) else None

    def text(self, key: str, *, is_right: Callable[[str], object] = lambda _: True) -> str:
        """Return a text, which may be empty, and for which `is_right` holds."""
        return self._checked(key, str, is_right)

    def texts(self, key: str) -> list[str]:
        """Return a list of texts."""
        return self._checked(key, list, lambda items: all(isinstance(one, str) for one in items))

    def path(self, key: str) -> Path:
        """Return a path that a system call takes."""
        return Path(self.text(key, is_right=_is_path))

    def count(self, key: str, *, most: int = 2**63 - 1) -> int:
        """Return a whole number from 0 to `most`."""
        return self._checked(key, int, lambda count: 0 <= count <= most)

    def pid(self, key: str) -> int:
        """Return a process id."""
        return self._checked(key, int, lambda pid: 0 < pid <= _LARGEST_PID)

    def number(self, key: str) -> float:
        """Return a finite number that is not negative."""
        kind = float if isinstance(self.values.get(key), float) else int
        return self._checked(key, kind, lambda number: number >= 0 and _is_finite(number))

    def flag(self, key: str) -> bool:
        """Return a boolean."""
        return self._checked(key, bool, lambda _: True)

    def inner(self, key: str) -> "Fields":
        """Return the fields of an object within this one."""
        return Fields(self._checked(key, dict, lambda _: True))

    def items(self, key: str, is_item: Callable[[Any], object]) -> list[Any]:
        """Return a list of values for each of which `is_item` holds."""
        return self._checked(key, list, lambda items: all(map(is_item, items)))

    def _checked(self, key: str, kind: type[_T], is_right: Callable[[_T], object]) -> _T:
        value = self.values.get(key)
        if type(value) is not kind or not is_right(value):  # True is an int, but no number
            raise BadField(key)
        return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _is_path(text: str) -> bool:
    try:
        return text != "" and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
