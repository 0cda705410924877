"""What tags are on: commits, and the trees of these, of many tags at once and without reading one."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import compress
from operator import itemgetter
from typing import Self

from experimenter import ahead
from experimenter.ahead import Question
from experimenter.errors import GitFailed
from experimenter.plumbing import Repo

_PKT_LENGTH = 4  # hex digits before each line of gitprotocol-common(5)
_PEELED = re.compile(rb"^([0-9a-f]+ refs/tags/exp_\S+)\n([0-9a-f]+) \S+\^\{\}$", re.MULTILINE)


def commits(repo: Repo) -> dict[str, str]:
    """Return the commit of each tag `exp_*`; none where git does not tell."""
    try:
        heads, tails = _cut_at_commits(repo)
    except GitFailed:
        return {}
    return {_tag_of(head)[0]: tail.partition(b"\n")[0].decode() for head, tail in zip(heads, tails, strict=True)}


def objects_on(repo: Repo, tree: str) -> list[tuple[str, str]]:
    """Return the tags, each with its object, on commits that have a tree. Raises GitFailed where a tag is broken."""
    heads, tails = _cut_at_commits(repo)
    commits = list(map(itemgetter(slice(len(tree))), tails))
    wanted = {commit for commit, its in Trees.ask(repo, set(commits)).answer().items() if its == tree}
    return list(map(_tag_of, compress(heads, map(wanted.__contains__, map(bytes.decode, commits)))))


@dataclass(frozen=True, slots=True)
class Trees:
    """The trees of some commits, or of what leads to one, which git looks up while we do something else."""

    repo: Repo
    objects: Collection[bytes]
    question: Question

    @classmethod
    def ask(cls, repo: Repo, objects: Iterable[bytes]) -> Self:
        """Let git begin to look up the trees of objects, which are given by their whole names."""
        names = list(dict.fromkeys(objects))
        words = ("-C", str(repo.top), "cat-file", "--batch-check=%(objectname)", "--buffer")
        asked = b"".join(b"%s^{tree}\n" % name for name in names)
        question = Question(words, asked, (("GIT_NO_REPLACE_OBJECTS", "1"),))
        if names:
            ahead.ask(question)
        return cls(repo, names, question)

    def answer(self) -> Mapping[str, str]:
        """Return the tree of each object that has one, once."""
        lines = self.repo.ask(self.question).split(b"\n") if self.objects else []
        found = zip(map(bytes.decode, self.objects), map(bytes.decode, lines), strict=False)
        return {name: tree for name, tree in found if " " not in tree}


def _cut_at_commits(repo: Repo) -> tuple[list[bytes], list[bytes]]:
    """Return what git says of annotated tags, cut where it says what one is on, as what is before it and what follows.

    Raises GitFailed.
    """
    try:
        said = repo.ask(ahead.COMMITS)
    except GitFailed:
        said = _PEELED.sub(rb"0000\1 peeled:\2", repo.git("show-ref", "--dereference", "--tags", expected=(0, 1)))
    pieces = said.split(b" peeled:")
    return pieces[:-1], pieces[1:]


def _tag_of(head: bytes) -> tuple[str, str]:
    """Return a tag and its object, from the last line before what it is on: `<length><oid> refs/tags/<tag>`."""
    oid, _, tag = head[head.rfind(b"\n") + 1 :].decode(errors="surrogateescape").partition(" refs/tags/")
    return tag, oid[_PKT_LENGTH:]
