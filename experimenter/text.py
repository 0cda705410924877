"""Text from elsewhere: bytes that are no UTF-8, and characters that a terminal would obey."""

import os
import re
import unicodedata

# C0, DEL and C1, then the line and paragraph separators and what overrides the direction of writing.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CONTROLS_THAT_JSON_LEAVES = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\(?:[abtnvfr"\\]|[0-3][0-7]{2}))*)"')
_NAMED = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
_CODES = {letter: code for code, letter in _NAMED.items()}


def quoted(raw: bytes) -> str:
    r"""Return `raw` as git quotes a path: `"caf\351.py"`.

    The rules are those of core.quotePath in git-config(1).
    """
    words = []
    for byte in raw:
        if byte in _NAMED:
            words.append("\\" + _NAMED[byte])
        else:
            words.append(chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}")
    return '"' + "".join(words) + '"'


def to_bytes(text: str) -> bytes:
    """Return the bytes that `from_bytes` made this text of."""
    if match := _QUOTED.fullmatch(text):
        raw = re.sub(rb"\\(\d{3}|.)", _character, match[1].encode())
        if from_bytes(raw) == text:
            return raw
    return text.encode()


def _character(escape: re.Match[bytes]) -> bytes:
    code = escape[1]
    return bytes([int(code, 8) if code.isdigit() else _CODES[code.decode()]])


def from_bytes(raw: bytes) -> str:
    """Return `raw` as text, quoted as git does where it is not UTF-8, or would be taken for what is quoted so."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return quoted(raw)
    return text if to_bytes(text) == raw else quoted(raw)


def from_native(word: str) -> str:
    """Return a word of a command line as `from_bytes` returns its bytes."""
    try:
        return from_bytes(os.fsencode(word))
    except UnicodeEncodeError:  # no system gave us this
        return encodable(word)


def encodable(text: str) -> str:
    r"""Return `text` unchanged if UTF-8 can hold it, else quoted as git does.

    Lone surrogates stand for bytes that were not UTF-8 (PEP 383), or come from a `\ud800` in JSON.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return quoted(text.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            return quoted(text.encode("utf-8", "surrogatepass"))
    return text


def visible(text: str) -> str:
    r"""Return `text` on one line, with control characters written as in a Python string: `\x1b`, `\n`."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), encodable(text))


def escaped_json(document: str) -> str:
    r"""Return a JSON document with the control characters that JSON allows as they are written as `\u007f`."""
    if document.isascii() and "\x7f" not in document:
        return document
    return _CONTROLS_THAT_JSON_LEAVES.sub(lambda match: f"\\u{ord(match[0]):04x}", document)


def readable_size(size_bytes: int) -> str:
    """Return a number of bytes as people say it, to the base of 1024: `12 bytes`, `3.5 MiB`, `156 MiB`."""
    if size_bytes < 1024:
        return "1 byte" if size_bytes == 1 else f"{size_bytes} bytes"
    power = min(3, (size_bytes.bit_length() - 1) // 10)
    size = size_bytes / 1024**power
    return f"{size:.{0 if size >= 100 else 1}f} {' KMG'[power]}iB"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 cell`, `2,000 cells`."""
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a visible text takes: none for a combining mark, two for a wide one."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
