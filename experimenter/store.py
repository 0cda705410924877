"""Experiments as git keeps them: one annotated tag each, its message the record, its target the code state."""

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import compress
from operator import itemgetter
from typing import Any

from experimenter import ahead, names
from experimenter.errors import GitFailed, NewerRecord, NotARecord
from experimenter.identity import tagger
from experimenter.plumbing import Repo, delete_ref, update_ref
from experimenter.record import Record

_AGE = itemgetter(slice(-len("20261123T031936.123456Z"), None))  # the end of a tag, which is its time
UNFINISHED = ("queued", "running")
_PKT_LENGTH = 4  # hex digits before each line of gitprotocol-common(5)
_PEELED = re.compile(rb"^([0-9a-f]+ refs/tags/exp_\S+)\n([0-9a-f]+) \S+\^\{\}$", re.MULTILINE)
_COMMIT_AND_MESSAGE = re.compile(rb"object (?P<commit>[0-9a-f]+)\ntype commit\n.*?\n\n(?P<message>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A tag with its record, its code state, and the object that the tag was when we read it."""

    tag: str
    tag_object: str
    commit: str
    record: Record

    @property
    def id(self) -> str:
        """The first 8 hex digits of the SHA-1 of the tag's name."""
        return names.id_of(self.tag)

    @property
    def name(self) -> str:
        """The experiment's name."""
        return names.name_of(self.tag)

    def to_json(self) -> dict[str, Any]:
        """Return the record with the tag and the id in front."""
        identity = {"tag": self.tag, "id": self.id}
        return identity | {key: value for key, value in self.record.items() if key not in identity}

    @property
    def status(self) -> str:
        """How it stands, or how it ended: `running`, `completed` and so on."""
        return self.record.status

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, as far as the record says: one that has not may run on another machine."""
        return self.status not in UNFINISHED

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Its parameters, as JSON types."""
        return self.record.parameters

    @property
    def results(self) -> Mapping[str, Any]:
        """Its results, as JSON types; empty where there are none."""
        return self.record.results

    @property
    def started(self) -> datetime | None:
        """When it started, with its time zone."""
        return self.record.moment("started")

    @property
    def finished(self) -> datetime | None:
        """When it ended, with its time zone."""
        return self.record.moment("finished")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a look at all tags found: experiments from the oldest to the newest, and the tags that were passed over."""

    experiments: list[Experiment]
    no_records: list[str]
    newer: list[str]


def create(repo: Repo, tag: str, commit: str, record: Record) -> Experiment:
    """Hang a new tag with `record` on `commit`. Raises RefExists if there is one of that name."""
    tag_object = _tag_object(repo, tag, commit, record)
    update_ref(repo, ref(tag), new=tag_object, old="")
    return Experiment(tag=tag, tag_object=tag_object, commit=commit, record=record)


def update(repo: Repo, experiment: Experiment, record: Record) -> Experiment:
    """Replace the record of an experiment. Raises RefMoved if somebody else changed the tag since it was read."""
    tag_object = _tag_object(repo, experiment.tag, experiment.commit, record)
    update_ref(repo, ref(experiment.tag), new=tag_object, old=experiment.tag_object)
    return replace(experiment, tag_object=tag_object, record=record)


def delete(repo: Repo, experiment: Experiment) -> None:
    """Remove an experiment's tag. Raises RefMoved if somebody else changed it since it was read."""
    delete_ref(repo, ref(experiment.tag), old=experiment.tag_object)


def tags(repo: Repo) -> list[str]:
    """Return the names of all experiments' tags, from the oldest to the newest, without reading one."""
    return names.tags_in("\n".join(by_age(tag_names(repo))))


def tag_names(repo: Repo) -> list[str]:
    """Return the names of all tags that are called as those of experiments, in no order. Cheap."""
    return [tag for tag in _names(repo) if "/" not in tag]


def by_age(tags: Iterable[str]) -> list[str]:
    """Return tags from the oldest to the newest."""
    return sorted(tags, key=_AGE)


def tag_objects(repo: Repo, *, tree: str | None = None) -> dict[str, str]:
    """Return the tag object of each tag `exp_*`, from the oldest to the newest, without reading one.

    With `tree` only those whose code state has that tree: packed refs know the commits that tags are on.
    """
    if tree is not None:
        return dict(sorted(_tag_objects_on(repo, tree), key=lambda item: names.age_key(item[0])))
    refs = repo.ask(ahead.OBJECTS)
    found = (line.partition(" ") for line in refs.decode(errors="replace").splitlines())
    return {tag: oid for oid, _, tag in sorted(found, key=lambda line: _AGE(line[2]))}


def other_tags(repo: Repo) -> list[str]:
    """Return the tags whose names begin as those of experiments, but which cannot be any."""
    return [tag for tag in _names(repo) if not names.is_tag(tag)]


def _names(repo: Repo) -> list[str]:
    refs = repo.ask(ahead.NAMES).decode(errors="replace")
    return f"\n{refs.rstrip()}".split("\nrefs/tags/")[1:]


def read(repo: Repo, tag: str) -> Experiment:
    """Return the experiment of an existing tag. Raises NotARecord or NewerRecord, naming the tag."""
    try:
        (found,) = _read_all(repo, {tag: ref(tag)})
        return found.experiment()
    except (NotARecord, NewerRecord) as error:
        raise type(error)(f"{tag}: {error}") from error


def find(repo: Repo, tag: str) -> Experiment | None:
    """Return the experiment of a tag; nothing if there is no such tag, or none with a record that we can read."""
    try:
        return read(repo, tag)
    except (NotARecord, NewerRecord):
        return None


def listing(repo: Repo, objects: Mapping[str, str]) -> Listing:
    """Return the experiments of some tags, in their order; `objects` has for each tag its object, or its ref."""
    found = Listing(experiments=[], no_records=[], newer=[])
    for tag in _read_all(repo, objects):
        if not tag.object and objects[tag.name] == ref(tag.name):
            continue  # removed meanwhile, as by a run that failed
        try:
            found.experiments.append(tag.experiment())
        except NewerRecord:
            found.newer.append(tag.name)
        except NotARecord:
            found.no_records.append(tag.name)
    return found


def each(repo: Repo, objects: Mapping[str, str]) -> Iterator[Experiment]:
    """Yield those experiments of `listing` whose records can be read, one after the other: there may be many."""
    for tag in _read_all(repo, objects):
        with contextlib.suppress(NotARecord, NewerRecord):
            yield tag.experiment()


def briefs(repo: Repo, objects: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the status and the commit of those experiments of `listing` whose records can be read. Cheap."""
    found = {}
    for tag in _read_all(repo, objects):
        match = _COMMIT_AND_MESSAGE.fullmatch(tag.content)
        if match and names.is_tag(tag.name):
            with contextlib.suppress(NotARecord, NewerRecord):
                found[tag.name] = Record.status_in(match["message"]), match["commit"].decode()
    return found


def experiments(repo: Repo, objects: Mapping[str, str]) -> dict[str, Experiment]:
    """Return by their tags those experiments of `listing` whose records can be read."""
    return {experiment.tag: experiment for experiment in each(repo, objects)}


def commits(repo: Repo) -> dict[str, str]:
    """Return the commit of each tag `exp_*`, without reading one; none where git does not tell."""
    try:
        heads, tails = _cut_at_commits(repo)
    except GitFailed:
        return {}
    return {_tag_of(head)[0]: tail.partition(b"\n")[0].decode() for head, tail in zip(heads, tails, strict=True)}


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag as git has it: its object's name and content, which are empty if it is gone."""

    name: str
    object: str
    content: bytes

    @property
    def commit(self) -> str:
        """The commit that it is on; empty if it is on none, or gone."""
        match = _COMMIT_AND_MESSAGE.fullmatch(self.content)
        return match["commit"].decode() if match else ""

    def experiment(self) -> Experiment:
        """Return the experiment that it is. Raises NotARecord or NewerRecord."""
        if not self.object:
            raise NotARecord("it is gone")
        match = _COMMIT_AND_MESSAGE.fullmatch(self.content)
        if not match or not names.is_tag(self.name):
            raise NotARecord("this is no tag of an experiment")
        record = Record.from_json(match["message"])
        return Experiment(tag=self.name, tag_object=self.object, commit=match["commit"].decode(), record=record)


def _read_all(repo: Repo, objects: Mapping[str, str]) -> Iterator[_Tag]:
    """Yield tags, read in one pass of git-cat-file(1)."""
    asked = "".join(f"{name}\n" for name in objects.values()).encode()
    answer = repo.git("cat-file", "--batch", "--buffer", stdin=asked) if asked else b""
    place = 0
    for tag in objects:
        end = answer.index(b"\n", place)
        header = answer[place:end].split()
        place = end + 1
        if header[-1] == b"missing":
            yield _Tag(tag, "", b"")
            continue
        oid, kind, size = header
        yield _Tag(tag, oid.decode(), answer[place : place + int(size)] if kind == b"tag" else b"")
        place += int(size) + 1


def _tag_objects_on(repo: Repo, tree: str) -> list[tuple[str, str]]:
    """Return the tags, each with its object, on commits that have a tree."""
    try:
        heads, tails = _cut_at_commits(repo)
    except GitFailed:  # some tag, of whomever, is broken
        tags = [tag for tag in _read_all(repo, tag_objects(repo)) if tag.commit]
        wanted = _commits_with(repo, tree, {tag.commit.encode() for tag in tags})
        return [(tag.name, tag.object) for tag in tags if tag.commit.encode() in wanted]
    commits = list(map(itemgetter(slice(len(tree))), tails))
    wanted = _commits_with(repo, tree, set(commits))
    return list(map(_tag_of, compress(heads, map(wanted.__contains__, commits))))


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
    oid, _, tag = head[head.rfind(b"\n") + 1 :].decode(errors="replace").partition(" refs/tags/")
    return tag, oid[_PKT_LENGTH:]


def _commits_with(repo: Repo, tree: str, commits: Collection[bytes]) -> set[bytes]:
    """Return those of some commits, or of other objects, that have a tree."""
    asked = b"".join(b"%s^{tree}\n" % commit for commit in commits)
    trees = repo.git("cat-file", "--batch-check=%(objectname)", "--buffer", stdin=asked).splitlines()
    return {commit for commit, its in zip(commits, trees, strict=True) if its == tree.encode()}


def _tag_object(repo: Repo, tag: str, commit: str, record: Record) -> str:
    """Store an annotated tag as an object and return its name: git-mktag(1), which no setting of the user's meets."""
    header = f"object {commit}\ntype commit\ntag {tag}\ntagger {tagger(repo)}\n\n"
    return repo.git("mktag", stdin=(header + record.to_json()).encode()).decode().strip()


def ref(tag: str) -> str:
    """Return the full name of a tag's ref."""
    return f"refs/tags/{tag}"
