"""The patterns that name what a program writes: relative to the top of the work tree, as in glob(7), and `**`."""

import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile

from experimenter.errors import BadSetting
from experimenter.text import visible

_SPECIAL = re.compile(r"([*?[])")
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_TELLING = 2  # letters that names begin with alike; fewer could be those of any file
_MANY = 10  # files that nobody names one by one
_CACHE = re.compile(rb"(?:^|/)(?:__pycache__|\.pytest_cache|\.mypy_cache|\.ruff_cache|\.ipynb_checkpoints)/")


class Patterns:
    """Files, folders with all below them, and patterns with `*`, `?`, `[…]` and `**`. Paths are relative to the top.

    `*`, `?` and `[…]` stand for no slash, and `**` between slashes for any number of folders, also none. A slash at the
    end makes a pattern one of folders alone.
    """

    def __init__(self, patterns: Sequence[str], *, option: str = "git config experimenter.output") -> None:
        """Raise BadSetting for a pattern that leads out of the work tree, or is all of it."""
        self._patterns = [_compiled(pattern, option) for pattern in dict.fromkeys(patterns)]

    def match(self, path: bytes) -> bool:
        """Say whether a file, or a folder (ending in a slash), is one of those, or below one."""
        text = path.decode(errors="surrogateescape")
        return any(pattern.match(text) for pattern in self._patterns)


NO_PATTERNS = Patterns(())


def is_in_cache(path: bytes) -> bool:
    """Say whether a file, or a folder (ending in a slash), is one of the caches of Python's tools, or in one."""
    return _CACHE.search(path) is not None


def pattern_for(path: bytes) -> str:
    """Return a pattern, in visible characters, that a path matches, and next to nothing else."""
    text = _SPECIAL.sub(r"[\1]", path.decode(errors="surrogateescape"))
    text = _HIDDEN.sub("?", text)
    return f"./{text}" if text.startswith("-") else text  # which git would take for an option


def patterns_for(paths: Iterable[bytes], others: Collection[bytes]) -> dict[str, list[bytes]]:
    """Return patterns that match paths, and the paths that each is for.

    Each is the top-most folder in which there are no `others`, else a pattern that no other in its folder matches, else
    a file.
    """
    siblings: dict[bytes, list[bytes]] = {}
    for path in others:
        siblings.setdefault(_folder(path), []).append(path)
    known = {folder for path in siblings for folder in _with_parents(path)} | {b""}
    found: dict[str, list[bytes]] = {}
    loose: dict[bytes, list[bytes]] = {}
    for path in paths:
        top = next((one for one in _with_parents(_folder(path)) if one not in known), None)
        if top is None:
            loose.setdefault(_folder(path), []).append(path)
        else:
            found.setdefault(pattern_for(top + b"/"), []).append(path)
    for folder, inside in loose.items():
        found |= _patterns_in(inside, siblings.get(folder, []))
    return found


def _folder(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def _with_parents(folder: bytes) -> list[bytes]:
    """Return a folder and those that it is in, the top-most first; the top of all is empty."""
    parts = folder.split(b"/") if folder else []
    return [b"/".join(parts[:count]) for count in range(len(parts) + 1)]


def _patterns_in(paths: Sequence[bytes], others: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Return what `patterns_for` does, of paths in one folder: one for all that begin and end alike."""
    alike: dict[bytes, list[bytes]] = {}
    for path in paths:
        stem, dot, ending = path.rpartition(b"/")[2].rpartition(b".")
        alike.setdefault(dot + ending if stem else b"", []).append(path)
    found: dict[str, list[bytes]] = {}
    for ending, group in alike.items():
        start = _common_start(group)
        pattern = pattern_for(start) + "*" + pattern_for(ending)
        is_own = len(start.rpartition(b"/")[2]) >= _TELLING or (ending and len(group) > _MANY)
        if len(group) > 1 and is_own and not any(map(Patterns([pattern]).match, others)):
            found[pattern] = group
        else:
            found |= {pattern_for(path): [path] for path in group}
    return found


def _common_start(paths: Collection[bytes]) -> bytes:
    first, last = min(paths), max(paths)
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return bytes(one for one, _ in alike)


def ignoring(pattern: str) -> str:
    """Return the line of the top .gitignore that ignores what a pattern of ours matches (gitignore(5))."""
    line = "/" + pattern.removeprefix("./").replace("\\", "\\\\")
    return f"{line[:-1]}\\ " if line.endswith(" ") else line


def declaration(pattern: str) -> str:
    """Return the shell's line by which a pattern is declared to be an output."""
    quoted = shlex.quote(pattern)
    return f"git config --add experimenter.output {quoted if quoted != pattern else repr(pattern)}"


def _compiled(pattern: str, option: str) -> re.Pattern[str]:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.startswith("/") or ".." in parts:
        raise BadSetting(f"{option}: '{visible(pattern)}' leads out of the work tree; give a path relative to its top")
    if not parts or not set(parts) - {"*", "**"}:
        raise BadSetting(f"{option}: '{visible(pattern)}' is the whole work tree; name files or folders in it")
    end = "/" if pattern.endswith("/") else r"(?:/|\Z)"
    return re.compile("".join(_expressions(parts)) + end, re.DOTALL)


def _expressions(parts: Sequence[str]) -> Iterable[str]:
    for place, part in enumerate(parts):
        is_last = place == len(parts) - 1
        if part == "**":
            yield "[^/]+" if is_last else "(?:[^/]+/)*"
        else:
            yield _expression(part) + ("" if is_last else "/")


def _expression(part: str) -> str:
    """Return a part of a path between slashes as a regular expression."""
    found, place = "", 0
    while place < len(part):
        character, place = part[place], place + 1
        end = part.find("]", place + 1 + part.startswith(("!", "^"), place)) if character == "[" else -1
        if character == "*":
            found += "[^/]*" if not found.endswith("[^/]*") else ""
        elif character == "?":
            found += "[^/]"
        elif end > 0:
            found += _class(part[place:end])
            place = end + 1
        else:
            found += re.escape(character)
    return found


def _class(inside: str) -> str:
    """Return what stands in brackets as a class of characters; one whose range is the wrong way round is empty."""
    is_negated = inside[0] in "!^"
    inside = re.sub(r"([\\\[\]&~|^])", r"\\\1", inside[is_negated:])
    expression = f"(?!/)[{'^' if is_negated else ''}{inside}]"
    try:
        re.compile(expression)
    except re.error:
        return r"(?!)"
    return expression
