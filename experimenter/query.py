"""The language of `--where`: conditions on the keys of records, read by a parser of its own and never run as code."""

import contextlib
import operator
import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from experimenter.errors import BadCondition

MISSING: Any = object()  # stands for the value of a key that a record lacks

_DEEPEST = 100
# A bare key may hold letters and digits of any script, `_`, `-` and `.`; parts in backquotes anything.
_BARE = r"[^\s\x00-\x2c/\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]"
_TOKEN = rf"""
    (?P<number>[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!{_BARE}))
    |(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<key>(?![-.\d])(?:{_BARE}|`(?:[^`]|``)*`)+)
    |(?P<operator>==|!=|<=|>=|[<>()\[\],])
    """  # compiled where it is used: most commands only compare values
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_LONGEST_BITS = 1023  # of an integer that has a place among the floats
_WORDS = {"true": True, "false": False, "null": None}
_RESERVED = ("and", "or", "not", "in")
_CLOSING = {"(": ")", "[": "]"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_NON_FINITE = ("NaN", "Infinity", "-Infinity")  # how a record holds these numbers
_INSTEAD = {"=": "==", "&": "and", "|": "or", "!": "not"}

Look = Callable[[str], Any]  # gives the value of a key, or MISSING
_Test = Callable[[Look], bool]
_Operand = Callable[[Look], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition as it was written, and where in it each key stands."""

    text: str
    places: Mapping[str, int]
    _test: "_Test"

    def holds(self, values: Mapping[str, Any], meant: Mapping[str, str]) -> bool:
        """Say whether it holds for the values of a record by whole keys; `meant` has the whole key of each word."""
        return self._test(lambda word: values.get(meant[word], MISSING))

    def error(self, reason: str, key: str) -> BadCondition:
        """Return the error that says what is wrong with a key, at its place."""
        return BadCondition(reason, text=self.text, place=self.places[key])


def parse(text: str) -> Condition:
    """Return the condition that `text` is.

    `and`, `or`, `not` and parentheses join comparisons of keys, numbers, quoted strings, `true`, `false` and `null` by
    `== != < <= > >= in`; `in` takes a list in `(…)` or `[…]`, or a string to search. A comparison is false where a key
    is missing, and where Python would not compare the two. Raises BadCondition, which shows the place.
    """
    parser = _Parser(text=text, tokens=_tokens(text))
    test = parser.either(depth=0)
    if parser.token.kind != "end":
        parser.fail("'and', 'or' or the end was expected here")
    return Condition(text=text, places=parser.places, _test=test)


def as_number(value: Any) -> float | int | None:
    """Return a number that a record holds, also one that is stored as text; nothing for others."""
    if isinstance(value, str) and value in _NON_FINITE:
        return float(value)
    if isinstance(value, bool) or (isinstance(value, int) and value.bit_length() > _LONGEST_BITS):
        return None
    return value if isinstance(value, int | float) else None


def unquoted(word: str) -> str:
    """Return the key that a word means, whose parts may stand in backquotes; two of them in these stand for one."""
    return re.sub(r"`((?:[^`]|``)*)`", lambda quoted: quoted[1].replace("``", "`"), word)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int


def _tokens(text: str) -> list[_Token]:
    token = re.compile(_TOKEN, re.VERBOSE | re.DOTALL)
    tokens, place = [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        match = token.match(text, place)
        if not match:
            raise BadCondition(_reason(text, place), text=text, place=place)
        word = match[0]
        kind = "operator" if word in _RESERVED else str(match.lastgroup)
        tokens.append(_Token(kind, word, place))
        place = match.end()
    return [*tokens, _Token("end", "", place)]


def _reason(text: str, place: int) -> str:
    """Return what is wrong where no token can be read."""
    character = text[place]
    if character in "'\"`":
        return "the quotation that begins here has no end"
    if character in _INSTEAD:
        return f"write '{_INSTEAD[character]}'"
    if character.isdigit() or character in "-+.":
        return "this is no number, and a key that begins so stands in backquotes"
    return "this character stands only in quotes or backquotes"


@dataclass(slots=True)
class _Parser:
    """Reads tokens from left to right; each method reads one kind of phrase and returns its test, or its operand."""

    text: str
    tokens: list[_Token]
    places: dict[str, int] = field(default_factory=dict)
    _next: int = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self._next]

    def fail(self, reason: str, at: _Token | None = None) -> NoReturn:
        raise BadCondition(reason, text=self.text, place=(at or self.token).place)

    def take(self, *words: str) -> str:
        """Go on over one of these operators, and return it; nothing if another token stands here."""
        token = self.token
        if token.kind != "operator" or token.text not in words:
            return ""
        self._next += 1
        return token.text

    def either(self, depth: int) -> _Test:
        tests = [self.both(depth)]
        while self.take("or"):
            tests.append(self.both(depth))
        return tests[0] if len(tests) == 1 else lambda look: any(test(look) for test in tests)

    def both(self, depth: int) -> _Test:
        tests = [self.single(depth)]
        while self.take("and"):
            tests.append(self.single(depth))
        return tests[0] if len(tests) == 1 else lambda look: all(test(look) for test in tests)

    def single(self, depth: int) -> _Test:
        if depth > _DEEPEST:
            self.fail(f"this is nested more than {_DEEPEST} deep")
        if self.take("not"):
            test = self.single(depth + 1)
            return lambda look: not test(look)
        if self.take("("):
            test = self.either(depth + 1)
            if not self.take(")"):
                self.fail("')' was expected here")
            return test
        return self.comparison()

    def comparison(self) -> _Test:
        first = self.operand("a key, a number or a quoted string")
        tests: list[_Test] = []
        left, right = first, first
        while word := self.take(*_COMPARISONS, "in", "not"):
            is_negated = word == "not"
            if is_negated and not self.take("in"):
                self.fail("'in' was expected here")
            if word in _COMPARISONS:
                right = self.operand(f"a key, a number or a quoted string after '{word}'")
                tests.append(_comparison(word, left, right))
            else:
                right = self.container()
                tests.append(_membership(left, right, is_negated=is_negated))
            left = right
        if not tests:
            self.fail("a comparison was expected here: == != < <= > >= in")
        return tests[0] if len(tests) == 1 else lambda look: all(test(look) for test in tests)

    def operand(self, expected: str) -> _Operand:
        token = self.token
        if token.kind == "key" and token.text not in _WORDS:
            key = unquoted(token.text)
            self.places.setdefault(key, token.place)
            self._next += 1
            return lambda look: look(key)
        value = self.literal(expected)
        return lambda _: value

    def literal(self, expected: str) -> Any:
        token = self.token
        value: Any
        if token.kind == "number":
            value = self.number(token)
        elif token.kind == "string":
            value = self.string(token)
        elif token.kind == "key" and token.text in _WORDS:
            value = _WORDS[token.text]
        else:
            self.fail(f"{expected} was expected here")
        self._next += 1
        return value

    def number(self, token: _Token) -> float | int:
        with contextlib.suppress(ValueError):
            return int(token.text)
        try:
            return float(token.text)
        except ValueError:
            self.fail("this is no number")

    def string(self, token: _Token) -> str:
        for escape in re.finditer(r"\\(.)", token.text[1:-1], re.DOTALL):
            if escape[1] not in _ESCAPES:
                at = _Token("", "", token.place + 1 + escape.start())
                self.fail(f"there is no escape '{escape[0]}'; write a backslash twice", at)
        return re.sub(r"\\(.)", lambda escape: _ESCAPES[escape[1]], token.text[1:-1], flags=re.DOTALL)

    def container(self) -> _Operand:
        """Read what stands after `in`."""
        opening = self.take("(", "[")
        if not opening:
            expected = "a list in (…), a key or a quoted string after 'in'"
            if self.token.kind == "number" or self.token.text in _WORDS:
                self.fail(f"{expected} was expected here")
            return self.operand(expected)
        closing = _CLOSING[opening]
        items: list[Any] = []
        while not self.take(closing):
            items.append(self.literal(f"a number, a quoted string or '{closing}'"))
            if not self.take(",") and self.token.text != closing:
                self.fail(f"',' or '{closing}' was expected here")
        return lambda _: items


def _comparison(word: str, left: _Operand, right: _Operand) -> _Test:
    def test(look: Look) -> bool:
        return _compare(word, left(look), right(look))

    return test


def _membership(left: _Operand, right: _Operand, *, is_negated: bool) -> _Test:
    def test(look: Look) -> bool:
        value, container = left(look), right(look)
        if value is MISSING or container is MISSING:
            return False
        if isinstance(container, list):
            return any(_compare("==", value, item) for item in container) is not is_negated
        return isinstance(container, Container) and _contains(container, value) is not is_negated

    return test


def _contains(container: Container[Any], value: Any) -> bool:
    try:
        return value in container
    except TypeError:
        return False


def _compare(word: str, left: Any, right: Any) -> bool:
    if left is MISSING or right is MISSING:
        return False
    if isinstance(left, int | float) != isinstance(right, int | float):
        left, right = (number if (number := as_number(side)) is not None else side for side in (left, right))
    try:
        return _COMPARISONS[word](left, right)
    except TypeError:
        return False
