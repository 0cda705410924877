"""Grids: the values that each parameter is to take, written as in Hydra, and the cells that are their product."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

from experimenter.errors import BadParameters
from experimenter.params import assigned, from_file, from_word
from experimenter.places import placed
from experimenter.storable import dumps, is_secret, public
from experimenter.text import columns_of, visible
from experimenter.written import Written

_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*\((.*)\)\s*", re.DOTALL)
_FUNCTIONS = ("choice", "range", "interval", "log")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_LONGEST_RANGE = 1_000_000

Number = int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The values of one parameter, in their order: evenly spaced numbers if it `is_range`."""

    path: tuple[str, ...]
    values: Sequence[Any]
    is_range: bool = False

    @property
    def key(self) -> str:
        """The parameter's dotted key."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The numbers between two, both included, whole ones if both are; `is_log` for orders of magnitude."""

    path: tuple[str, ...]
    low: Number
    high: Number
    is_log: bool

    @property
    def key(self) -> str:
        """The parameter's dotted key."""
        return ".".join(self.path)


Axis = Values | Interval


def axes(files: Iterable[Path], assignments: Iterable[str]) -> list[Axis]:
    """Return the axes of a grid: those of files, which hold lists, then those of `KEY=VALUES`.

    Raises BadParameters with the file or the place in the text: for an empty list, a value or a key that is there
    twice, values that cannot be read, and several values of a parameter that is kept out of records.
    """
    found = [axis for file in files for axis in _in_file(file)]
    found += [_assigned(text) for text in assignments]
    for place, axis in enumerate(found):
        for other in found[:place]:
            if other.path[: len(axis.path)] == axis.path[: len(other.path)]:
                inside = "" if axis.path == other.path else f", inside or around {visible(other.key)}"
                twice = f"the grid has the key {visible(axis.key)} twice{inside}"
                raise BadParameters(f"{twice}; give all its values at once")
        _check(axis)
    return found


def cells(grid: Sequence[Axis], base: Mapping[str, Any], *, fill: Any = None) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each cell, over the `base` that all have; the first axis changes most slowly.

    Intervals, of which somebody else chooses a number, have the value `fill`. Raises BadParameters for a key that has
    no place in the base.
    """
    paths = [axis.path for axis in grid]
    for values in product(*(axis.values if isinstance(axis, Values) else (fill,) for axis in grid)):
        yield placed(base, zip(paths, values, strict=True))


def described(axis: Axis) -> Any:
    """Return what an axis holds, as JSON types."""
    return axis.values if isinstance(axis, Values) else ["log" if axis.is_log else "interval", axis.low, axis.high]


def size(grid: Iterable[Axis]) -> int:
    """Return the number of cells."""
    return math.prod(len(axis.values) for axis in grid if isinstance(axis, Values))


def _in_file(file: Path) -> Iterator[Axis]:
    """Yield the axes of a file: a list is the values of its key, a mapping leads to keys below it."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), from_file(file))]
    while pending:
        path, value = pending.pop(0)
        if path and not all(".".join(path).split(".")):
            key = visible(".".join(path))
            raise BadParameters(f"the grid {visible(str(file))} has the key '{key}', a part of which is empty")
        if isinstance(value, dict) and value:
            pending[:0] = [((*path, key), below) for key, below in value.items()]
        elif isinstance(value, str) and (call := _CALL.fullmatch(value)) and call[1] in _FUNCTIONS:
            yield _read(path, value, f"{visible(str(file))}: {visible('.'.join(path))}: ")
        elif value == [] or not path:
            raise BadParameters(
                f"the grid {visible(str(file))} has no values{visible(' of ' + '.'.join(path)) if path else ''}"
            )
        else:
            yield Values(path=path, values=value if isinstance(value, list) else [value])


def _assigned(text: str) -> Axis:
    path, values = assigned(text)
    if not values.strip():
        raise BadParameters(f"-p {visible(text)}: the grid has no values there; nothing is null, an empty text is ''")
    return _read(path, values, f"-p {'.'.join(path)}=")


def _check(axis: Axis) -> None:
    if isinstance(axis, Interval):
        if is_secret(axis.path[-1]):
            raise BadParameters(f"{visible(axis.key)} is kept out of records, so that nothing can be learned of it")
        return
    (shown, count), *_ = Counter(map(dumps, axis.values)).most_common(1)
    if count > 1:
        twice = f"the grid has the value {visible(shown)} of {visible(axis.key)} twice"
        is_text = any(isinstance(value, Written) and dumps(value) == shown for value in axis.values)
        raise BadParameters(f"{twice}{'; a text that looks like a number stands in quotes' if is_text else ''}")
    recorded = {dumps(public({axis.path[-1]: value})) for value in axis.values}
    if len(recorded) < len(axis.values):
        raise BadParameters(
            f"{visible(axis.key)}: what tells its values apart is kept out of records; give it one value"
        )


def _read(path: tuple[str, ...], text: str, before: str) -> Axis:
    """Return the axis that a text describes; `before` is what stands before the text where it was written."""
    reader = _Reader(text, before)
    call = _CALL.fullmatch(text)
    if not call:
        return Values(path=path, values=[reader.value(*part) for part in reader.parts(0, len(text))])
    name, (start, end) = call[1], call.span(2)
    if name not in _FUNCTIONS:
        close = get_close_matches(name, _FUNCTIONS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(_FUNCTIONS)}."
        reader.fail(f"there is no function {name}; {hint} Text stands in quotes", call.start(1))
    parts = reader.parts(start, end) if text[start:end].strip() else []
    if not parts:
        reader.fail(f"{name}() is empty", start)
    if name == "choice":
        return Values(path=path, values=[reader.value(*part) for part in parts])
    numbers = [reader.number(*part) for part in parts]
    if name == "range":
        return _range(path, reader, numbers, parts)
    if len(numbers) != 2 or numbers[0] >= numbers[1]:
        reader.fail(f"{name}(a,b) takes two numbers, the smaller one first", start)
    if name == "log" and numbers[0] <= 0:
        reader.fail("log(a,b) takes numbers above 0", parts[0][0])
    if not all(map(_is_float, numbers)):
        reader.fail("a float can hold no such number", start)
    low, high = (_plain(number, is_whole=all(map(_is_whole, numbers))) for number in numbers)
    if not math.isfinite(high - low):
        reader.fail("these numbers are too large", start)
    return Interval(path=path, low=low, high=high, is_log=name == "log")


def _range(
    path: tuple[str, ...], reader: "_Reader", numbers: Sequence[Decimal], parts: Sequence[tuple[int, int]]
) -> Values:
    """Return the numbers from a start up to a stop, which is left out, as Python's range does."""
    if len(numbers) > 3:
        reader.fail("range takes a stop, a start and a stop, or these and a step", parts[3][0])
    start = numbers[0] if len(numbers) > 1 else Decimal(0)
    stop = numbers[1] if len(numbers) > 1 else numbers[0]
    step = numbers[2] if len(numbers) > 2 else Decimal(1)
    if step == 0:
        reader.fail("the step of a range cannot be 0", parts[2][0])
    try:
        count = math.ceil((stop - start) / step)
    except ArithmeticError:
        reader.fail("these numbers are too large", parts[0][0])
    if count <= 0:
        reader.fail("this range is empty", parts[0][0])
    if count > _LONGEST_RANGE:
        reader.fail(f"this range has more than {_LONGEST_RANGE:,} values", parts[0][0])
    is_whole = all(map(_is_whole, numbers))
    if not is_whole and not all(map(_is_float, (start, start + (count - 1) * step))):
        reader.fail("these numbers are too large", parts[0][0])
    values = [_plain(start + place * step, is_whole=is_whole) for place in range(count)]
    return Values(path=path, values=values, is_range=True)


def _is_whole(number: Decimal) -> bool:
    """Say whether a number was written as a whole one: 1, not 1.0 or 1e3."""
    return number.as_tuple().exponent == 0


def _is_float(number: Decimal) -> bool:
    """Say whether a float can hold a number; another would become infinite, or 0."""
    return math.isfinite(float(number)) and bool(float(number)) == bool(number)


def _plain(number: Decimal, *, is_whole: bool) -> Number:
    return int(number) if is_whole else float(number)


class _Reader:
    """Reads values with commas between them; what is wrong is shown at its place."""

    def __init__(self, text: str, before: str) -> None:
        self._text = text
        self._before = before

    def parts(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return where the parts between commas begin and end; those in brackets and quotes do not count."""
        found, begin, opened, place = [], start, [], start
        is_fresh = True  # a quotation mark in the middle of a word is a character like others
        while place < end:
            char = self._text[place]
            if char in "'\"" and is_fresh:
                place = self._end_of_quotes(place, end)
            elif char in _CLOSING:
                opened.append(place)
            elif opened and char == _CLOSING[self._text[opened[-1]]]:
                opened.pop()
            elif char == "," and not opened:
                found.append((begin, place))
                begin = place + 1
            is_fresh = self._text[place] in ",([{:" or (is_fresh and self._text[place].isspace())
            place += 1
        if opened:
            self.fail(f"'{self._text[opened[-1]]}' is not closed", opened[-1])
        found.append((begin, end))
        for begin, finish in found:
            if len(found) > 1 and not self._text[begin:finish].strip():
                self.fail("a value is missing; an empty text is '', nothing is null", begin)
        return found

    def value(self, start: int, end: int) -> Any:
        """Return a value, which is YAML."""
        call = _CALL.fullmatch(self._text[start:end])
        if call and call[1] in _FUNCTIONS:
            self.fail(f"{call[1]}(…) stands alone; as text it stands in quotes", start)
        try:
            return from_word(self._text[start:end], "")
        except BadParameters as error:
            self.fail(error.message.lstrip(":, "), start)

    def number(self, start: int, end: int) -> Decimal:
        """Return an argument that has to be a number, exactly as it is written."""
        try:
            number = Decimal(self._text[start:end].strip())
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite():
            self.fail(f"'{visible(self._text[start:end].strip())}' is no number", start)
        return number

    def fail(self, reason: str, place: int) -> NoReturn:
        """Raise BadParameters with the text, and a caret below the place."""
        before = visible(self._before)
        caret = " " * columns_of(before + visible(self._text[:place])) + "^"
        raise BadParameters(f"cannot read the grid: {reason}", details=[before + visible(self._text), caret])

    def _end_of_quotes(self, start: int, end: int) -> int:
        """Return where a quotation ends: YAML doubles a ' inside of it, and puts a backslash before a "."""
        mark, place = self._text[start], start + 1
        while place < end:
            if self._text[place] == "\\" and mark == '"':
                place += 1
            elif self._text[place] == mark:
                if mark == '"' or self._text[place + 1 : place + 2] != mark:
                    return place
                place += 1
            place += 1
        return self.fail("the quotation is not closed", start)
