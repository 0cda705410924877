"""Experiments as git keeps them: one annotated tag each, its message the record, its target the code state."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import itemgetter
from typing import Any

from experimenter import ahead, names
from experimenter.errors import GitFailed, NewerRecord, NotARecord
from experimenter.identity import tagger
from experimenter.plumbing import Repo, delete_ref, update_ref
from experimenter.record import Record
from experimenter.tags import Tag, Unreadable, contents_of, tags_in
from experimenter.targets import Trees, objects_on
from experimenter.text import visible

_AGE = itemgetter(slice(-len("20261123T031936.123456Z"), None))  # the end of a tag, which is its time
UNFINISHED = ("queued", "running")
_COMMIT = re.compile(rb"\nobject ([0-9a-f]+)\n")  # among tags; a message may have such a line, which does no harm


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A tag with its record, its code state, and the object that the tag was when we read it.

    What git says goes before what the tag's message says: `claims` is what that says otherwise, by its dotted key.
    """

    tag: str
    tag_object: str
    commit: str
    record: Record
    claims: Mapping[str, Any] = field(default_factory=dict)

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
    def is_contradicted(self) -> bool:
        """Whether the record names another experiment, or another commit, than git does."""
        code = self.record.body.get("code", {})
        is_other = self.record.body.get("name", self.name) != self.name
        return is_other or bool(code.get("commit", self.commit) != self.commit)

    def as_git_says(self, **code: str) -> "Experiment":
        """Return it with a record that has the name, the commit, and `code` besides, as git knows them."""
        facts = {"commit": self.commit, **code}
        said = self.record.body.get("code", {})
        if self.record.body.get("name") == self.name and facts.items() <= said.items():
            return self  # as nearly all do
        claims = {f"code.{key}": said[key] for key, fact in facts.items() if said.get(key, fact) != fact}
        if self.record.body.get("name", self.name) != self.name:
            claims["name"] = self.record.body["name"]
        record = self.record.with_facts(name=self.name, **facts)
        return replace(self, record=record, claims={**self.claims, **claims})

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

    def __add__(self, other: "Listing") -> "Listing":
        return Listing(
            experiments=self.experiments + other.experiments,
            no_records=self.no_records + other.no_records,
            newer=self.newer + other.newer,
        )


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
    found = (line.partition(" ") for line in refs.decode(errors="surrogateescape").split("\n")[:-1])
    return {tag: oid for oid, _, tag in sorted(found, key=lambda line: _AGE(line[2]))}


def other_tags(repo: Repo) -> list[str]:
    """Return the tags whose names begin as those of experiments, but which cannot be any."""
    return [tag for tag in _names(repo) if not names.is_tag(tag)]


def _names(repo: Repo) -> list[str]:
    refs = repo.ask(ahead.NAMES).decode(errors="surrogateescape").removesuffix("\n")
    return f"\n{refs}".split("\nrefs/tags/")[1:]


def read(repo: Repo, tag: str) -> Experiment:
    """Return the experiment of an existing tag. Raises NotARecord or NewerRecord, naming the tag."""
    (found,) = looked_at(repo, [tag])
    return readable(found)


def looked_at(repo: Repo, tags: Iterable[str], *, has_trees: bool = False) -> list[Experiment | Unreadable]:
    """Return what existing tags are, in their order; with `has_trees` as `listing` does."""
    objects = {tag: ref(tag) for tag in tags}
    contents = contents_of(repo, objects)
    trees = _trees_of(repo, contents if has_trees else b"").answer()
    found: list[Experiment | Unreadable] = []
    for tag in tags_in(contents, objects):
        try:
            found.append(_on_tree(_experiment(tag), trees))
        except (NotARecord, NewerRecord) as error:
            named = type(error)(f"{visible(tag.name)}: {error.message}", details=error.details)
            found.append(Unreadable(tag=tag.name, tag_object=tag.object, error=named))
    return found


def readable(found: Experiment | Unreadable) -> Experiment:
    """Return what is an experiment; raise NotARecord or NewerRecord, naming the tag, for what is none."""
    if isinstance(found, Unreadable):
        raise found.error
    return found


def find(repo: Repo, tag: str) -> Experiment | None:
    """Return the experiment of a tag; nothing if there is no such tag, or none with a record that we can read."""
    try:
        return read(repo, tag)
    except (NotARecord, NewerRecord):
        return None


def listing(repo: Repo, objects: Mapping[str, str], *, has_trees: bool = False) -> Listing:
    """Return the experiments of some tags, in their order; `objects` has for each tag its object, or its ref.

    With `has_trees` their records tell the trees that git knows, which looks them up while we read the records.
    """
    found = Listing(experiments=[], no_records=[], newer=[])
    contents = contents_of(repo, objects)
    trees = _trees_of(repo, contents if has_trees else b"")
    for tag in tags_in(contents, objects):
        if not tag.object and objects[tag.name] == ref(tag.name):
            continue  # removed meanwhile, as by a run that failed
        try:
            found.experiments.append(_experiment(tag))
        except NewerRecord:
            found.newer.append(tag.name)
        except NotARecord:
            found.no_records.append(tag.name)
    if known := trees.answer():
        found.experiments[:] = [_on_tree(one, known) for one in found.experiments]
    return found


def each(repo: Repo, objects: Mapping[str, str], *, has_trees: bool = False) -> Iterator[Experiment]:
    """Yield those experiments of `listing` whose records can be read, one after the other: there may be many."""
    contents = contents_of(repo, objects)
    trees = _trees_of(repo, contents if has_trees else b"").answer()
    for tag in tags_in(contents, objects):
        with contextlib.suppress(NotARecord, NewerRecord):
            yield _on_tree(_experiment(tag), trees)


def briefs(repo: Repo, objects: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the status and the commit of those experiments of `listing` whose records can be read. Cheap."""
    found = {}
    for tag in tags_in(contents_of(repo, objects), objects):
        with contextlib.suppress(NotARecord, NewerRecord):
            commit, message = tag.parts(is_known_by_object=True)
            found[tag.name] = Record.status_in(message), commit
    return found


def experiments(repo: Repo, objects: Mapping[str, str]) -> dict[str, Experiment]:
    """Return by their tags those experiments of `listing` whose records can be read."""
    return {experiment.tag: experiment for experiment in each(repo, objects)}


def _experiment(tag: Tag) -> Experiment:
    """Return the experiment that a tag is. Raises NotARecord or NewerRecord."""
    commit, message = tag.parts()
    found = Experiment(tag=tag.name, tag_object=tag.object, commit=commit, record=Record.from_json(message))
    return found.as_git_says() if found.is_contradicted else found


def _trees_of(repo: Repo, contents: bytes) -> Trees:
    return Trees.ask(repo, _COMMIT.findall(contents))


def _on_tree(experiment: Experiment, trees: Mapping[str, str]) -> Experiment:
    """Return an experiment whose record has the tree that git knows, as far as it does."""
    tree, body = trees.get(experiment.commit), experiment.record.body
    code = body.get("code", {})
    if tree is None or (code.get("tree") == tree and "commit" in code and "name" in body):
        return experiment
    return experiment.as_git_says(tree=tree)


def _tag_objects_on(repo: Repo, tree: str) -> list[tuple[str, str]]:
    """Return the tags, each with its object, on commits that have a tree."""
    try:
        return objects_on(repo, tree)
    except GitFailed:  # some tag, of whomever, is broken
        objects = tag_objects(repo)
        trees = Trees.ask(repo, map(str.encode, objects.values())).answer()
        return [(tag, oid) for tag, oid in objects.items() if trees.get(oid) == tree]


def _tag_object(repo: Repo, tag: str, commit: str, record: Record) -> str:
    """Store an annotated tag as an object and return its name: git-mktag(1), which no setting of the user's meets."""
    header = f"object {commit}\ntype commit\ntag {tag}\ntagger {tagger(repo)}\n\n"
    return repo.git("mktag", stdin=(header + record.to_json()).encode()).decode().strip()


def ref(tag: str) -> str:
    """Return the full name of a tag's ref."""
    return f"refs/tags/{tag}"
