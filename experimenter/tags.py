"""Tags as git has them: read many at a time, and taken apart."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from experimenter import names
from experimenter.errors import ExperimenterError, NotARecord
from experimenter.plumbing import Repo
from experimenter.text import visible

# The header of a tag object by git-mktag(1): nothing else stands before the tag's name.
_OBJECT = re.compile(
    rb"object (?P<commit>[0-9a-f]+)\ntype commit\ntag (?P<name>[^\n]*)\n(?:[^\n]+\n)*\n(?P<message>.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag as git has it: its object, and that one's kind and content, which are empty if it is gone."""

    name: str
    object: str
    kind: bytes
    content: bytes

    def parts(self, *, is_known_by_object: bool = False) -> tuple[str, bytes]:
        """Return the commit that it is on and its message. Raises NotARecord if it is no tag of an experiment.

        Where it `is_known_by_object`, as by who sends it, its object may bear another name.
        """
        if not self.kind:
            raise NotARecord("it is gone")
        match = _OBJECT.fullmatch(self.content) if self.kind == b"tag" else None
        is_named_so = match and (is_known_by_object or match["name"].decode(errors="replace") == self.name)
        if not match or not is_named_so or not names.is_tag(self.name):
            raise NotARecord(f"this is no tag of an experiment: {self._reason(match)}")
        return match["commit"].decode(), match["message"]

    def _reason(self, match: re.Match[bytes] | None) -> str:
        if self.kind != b"tag":
            return f"it is a name for a {self.kind.decode()}, without a message"
        if not match:
            return "it is on no commit"
        if not names.is_tag(self.name):
            return "its name is not exp_<name>_<timestamp>"
        return f"its object bears another name, {visible(match['name'].decode(errors='replace'))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A tag `exp_*` that is no experiment that we can read: on which object it is, and what is wrong with it."""

    tag: str
    tag_object: str
    error: ExperimenterError

    @property
    def id(self) -> str:
        """What would be the experiment's id."""
        return names.id_of(self.tag)


def contents_of(repo: Repo, objects: Mapping[str, str]) -> bytes:
    """Return what git-cat-file(1) says, in one pass, of the objects of tags."""
    asked = "".join(f"{name}\n" for name in objects.values()).encode(errors="surrogateescape")
    return repo.git("cat-file", "--batch", "--buffer", stdin=asked) if asked else b""


def tags_in(contents: bytes, objects: Iterable[str]) -> Iterator[Tag]:
    """Yield the tags whose `contents_of` these are."""
    place = 0
    for tag in objects:
        end = contents.index(b"\n", place)
        oid, *kind_and_size = contents[place:end].split(b" ")
        place = end + 1
        if len(kind_and_size) < 2:  # it is missing
            yield Tag(tag, "", b"", b"")
            continue
        kind, size = kind_and_size
        yield Tag(tag, oid.decode(), kind, contents[place : place + int(size)])
        place += int(size) + 1
