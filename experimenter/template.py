"""Puts parameters into the words of a command: `{lr}` stands for the parameter `lr`, `{{` and `}}` for braces."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from experimenter.errors import BadParameters, BadTemplate
from experimenter.places import at
from experimenter.storable import dumps, flattened, redacted
from experimenter.text import visible
from experimenter.written import Written

_PIECE = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<key>[^{}]*)\}|(?P<odd>[{}])")


def filled(words: Sequence[str], parameters: Mapping[str, Any]) -> list[str]:
    """Return the words with the values of parameters in them; raise BadTemplate for an unknown one or an odd brace.

    A key is dotted, and leads into lists. Values are as in EXPERIMENTER_PARAM_<KEY>; lists and mappings are JSON.
    """
    return [_filled(word, parameters) for word in words]


def filled_publicly(words: Sequence[str], parameters: Mapping[str, Any]) -> list[str]:
    """Return the words as a record has them: with what stands for the secret ones among the parameters."""
    return filled(words, redacted(dict(parameters)))


def _filled(word: str, parameters: Mapping[str, Any]) -> str:
    def replaced(match: re.Match[str]) -> str:
        if match["brace"]:
            return match["brace"][0]
        if match["odd"]:
            brace, place = match["odd"], match.start() + 1
            raise BadTemplate(
                f"'{brace}' is alone at character {place} of '{visible(word)}'; the brace itself is {brace * 2}"
            )
        return _text(_value(match["key"], word, parameters))

    return _PIECE.sub(replaced, word)


def _value(key: str, word: str, parameters: Mapping[str, Any]) -> Any:
    try:
        return at(parameters, key.split("."))
    except BadParameters as error:
        raise BadTemplate(f"'{visible(word)}': {error.message}") from error
    except KeyError:
        known = [".".join(path) for path, _ in flattened(parameters)]
        from difflib import get_close_matches  # which is seldom needed

        close = get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known) or 'none'}"
        raise BadTemplate(visible(f"there is no parameter {key} for {{{key}}} in '{word}'; {hint}")) from None


def _text(value: Any) -> str:
    if isinstance(value, str | Written):
        return str(value)
    return "" if value is None else dumps(value)
