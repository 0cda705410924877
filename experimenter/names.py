"""Names of experiments, and the tag and id that follow from a name and a moment."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import PurePosixPath

from experimenter.errors import BadName

try:  # CPython's own, which takes for a short text two thirds of the time of OpenSSL's
    from _sha1 import sha1  # type: ignore[import-not-found]
except ImportError:
    from hashlib import sha1 as _openssl_sha1

    sha1 = partial(_openssl_sha1, usedforsecurity=False)

PREFIX = "exp_"
RULE = "a name has 1 to 100 characters of A-Z a-z 0-9 . _ -, begins with a letter or digit and has no '..' in it"
_LONGEST = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_DATE = r"(?!0000)\d{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01](?<!0230|0231|0431|0631|0931|1131))"
_TIME = r"(?:[01]\d|2[0-3])[0-5]\d[0-5]\d\.\d{6}"
_TAG = re.compile(rf"^exp_[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}_{_DATE}T{_TIME}Z$", re.ASCII | re.MULTILINE)
_TAG_TIME = "%Y%m%dT%H%M%S.%fZ"

# Interpreters by a pattern, with the option letters after which code stands, and those that take a word of their own.
_INTERPRETERS = [
    (r"(python|pypy)[0-9.]*", "c", "WX"),
    (r"(ba|da|k|z)?sh", "cs", "oO"),
    (r"perl|ruby|node|julia|Rscript", "eEp", "Ir"),
]


def checked(name: str) -> str:
    """Return `name`; raise BadName, with the rule, if it cannot be one."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise BadName(f"'{name}' cannot be a name: {RULE}")
    return name


def from_command(command: Sequence[str]) -> str:
    """Return the name that an experiment running `command` gets when the user gives none.

    `python -u train.py` gives `train`, `python -m pkg.train` gives `pkg.train`, `./sim.sh` gives `sim`.
    """
    program = PurePosixPath(command[0]).name
    found = given(command)
    if not found:
        return _cleaned(_stem(program))
    named = {"script": _stem(found.word), "module": found.word, "code": ""}[found.kind]
    return _cleaned(named or program)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What an interpreter is given to run: of the kind `script`, a file, `module`, or `code`, the text itself."""

    kind: str
    word: str
    is_shell: bool


def given(command: Sequence[str]) -> Given | None:
    """Return what a command that begins with an interpreter runs; nothing for any other command."""
    program = PurePosixPath(command[0]).name
    for interpreter, code, valued in _INTERPRETERS:
        if re.fullmatch(interpreter, program):
            kind, word = _given(iter(command[1:]), code, valued)
            return Given(kind=kind, word=word, is_shell="s" in code)
    return None


def tag(name: str, at: datetime) -> str:
    """Return `exp_<name>_<timestamp>` for the aware datetime `at`."""
    return f"{PREFIX}{name}_{at.astimezone(UTC).strftime(_TAG_TIME)}"


def is_tag(tag: str) -> bool:
    """Say whether `tag` has the form that `tag()` gives."""
    return _TAG.fullmatch(tag) is not None


def tags_in(lines: str) -> list[str]:
    """Return those of some lines that are tags."""
    return _TAG.findall(lines)


def name_of(tag: str) -> str:
    """Return the name that `tag` was made of."""
    return tag[len(PREFIX) :].rpartition("_")[0]


def moment_of(tag: str) -> datetime:
    """Return the moment that `tag` was made of, as an aware datetime."""
    text = tag.rpartition("_")[2]
    try:
        return datetime.fromisoformat(text)  # for strptime Python would load another module first
    except ValueError:  # a 29 February that the year does not have
        return datetime.fromisoformat(text.replace("0229T", "0228T"))


def age_key(tag: str) -> tuple[str, str]:
    """Return what sorts tags from the oldest to the newest."""
    return tag.rpartition("_")[2], tag


def id_of(tag: str) -> str:
    """Return the id of an experiment: the first 8 hex digits of the SHA-1 of its tag's name."""
    digest: bytes = sha1(tag.encode(errors="surrogateescape")).digest()
    return digest[:4].hex()


def tags_with_id(tags: Iterable[str], start: str) -> list[str]:
    """Return those of `tags` whose id begins with `start`."""
    whole = bytes.fromhex(start[: len(start) // 2 * 2])  # of 100,000 tags each call counts
    found = [tag for tag in tags if sha1(tag.encode(errors="surrogateescape")).digest().startswith(whole)]
    return [tag for tag in found if id_of(tag).startswith(start)]


def _given(words: Iterator[str], code: str, valued: str) -> tuple[str, str]:
    """Return the kind of what the words behind an interpreter give it to run, and the word; an empty one if none do."""
    for word in words:
        if word == "--":
            return "script", next(words, "")
        if not word.startswith("-"):
            return "script", word
        if word.startswith("--"):
            continue
        for place, letter in enumerate(word[1:], start=2):
            if letter in code:
                return "code", next(words, "")
            if letter == "m" and code == "c":
                return "module", word[place:] or next(words, "")
            if letter in valued:
                if place == len(word):
                    next(words, None)
                break
    return "script", ""


def _stem(word: str) -> str:
    """Return the last part of a path without the suffix of a script (`.py`, but not the `.11` of a version)."""
    path = PurePosixPath(word)
    return path.stem if re.fullmatch(r"\.[A-Za-z]\w*", path.suffix) else path.name


def _cleaned(text: str) -> str:
    """Return `text` as a name: what a name cannot have becomes `-`."""
    name = re.sub(r"\.{2,}", lambda match: "-" * len(match[0]), re.sub(r"[^A-Za-z0-9._-]", "-", text))
    return name.lstrip("._-")[:_LONGEST] or "experiment"
