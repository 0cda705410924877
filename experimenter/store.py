"""Experiments as git keeps them: one annotated tag each, its message the record, its target the code state."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from experimenter import names
from experimenter.errors import ExperimenterError, GitFailed, NewerRecord, NotARecord
from experimenter.plumbing import REF, Repo, delete_ref, update_ref
from experimenter.process import any_has_variable, any_works_in, host
from experimenter.record import Record
from experimenter.state import place_of

_FORMAT = "%00".join(["%(refname:strip=2)", "%(objectname)", "%(*objectname)", "%(contents)", ""])
_LOOK_AGAIN_S = 0.05
_AT_WORK_S = 2.0
_OWN_LOCK_S, _PACKED_LOCK_S = 0.5, 10.0  # git holds one for milliseconds, and waits for another's for 10 s
_Row = tuple[str, str, str, bytes]  # tag, the tag object, the commit, the message


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a look at all tags found: experiments from the oldest to the newest, and the tags that were passed over."""

    experiments: list[Experiment]
    no_records: list[str]
    newer: list[str]


def create(repo: Repo, tag: str, commit: str, record: Record) -> Experiment:
    """Hang a new tag with `record` on `commit`. Raises RefExists if there is one of that name."""
    tag_object = _tag_object(repo, tag, commit, record)
    update_ref(repo, _ref(tag), new=tag_object, old="")
    return Experiment(tag=tag, tag_object=tag_object, commit=commit, record=record)


def update(repo: Repo, experiment: Experiment, record: Record) -> Experiment:
    """Replace the record of an experiment. Raises RefMoved if somebody else changed the tag since it was read."""
    tag_object = _tag_object(repo, experiment.tag, experiment.commit, record)
    update_ref(repo, _ref(experiment.tag), new=tag_object, old=experiment.tag_object)
    return replace(experiment, tag_object=tag_object, record=record)


def delete(repo: Repo, experiment: Experiment) -> None:
    """Remove an experiment's tag. Raises RefMoved if somebody else changed it since it was read."""
    delete_ref(repo, _ref(experiment.tag), old=experiment.tag_object)


def tags(repo: Repo) -> list[str]:
    """Return the names of all experiments' tags, from the oldest to the newest, without reading one."""
    refs = repo.git("for-each-ref", "--format=%(refname:strip=2)", f"refs/tags/{names.PREFIX}*")
    return sorted(filter(names.is_tag, refs.decode(errors="replace").split("\n")), key=names.age_key)


def read(repo: Repo, tag: str) -> Experiment:
    """Return the experiment of an existing tag. Raises NotARecord or NewerRecord, naming the tag."""
    for found, tag_object, commit, message in _rows(repo, _ref(tag)):
        try:
            return Experiment(tag=found, tag_object=tag_object, commit=commit, record=Record.from_json(message))
        except (NotARecord, NewerRecord) as error:
            raise type(error)(f"{tag}: {error}") from error
    raise NotARecord(f"{tag} is gone")


def find(repo: Repo, tag: str) -> Experiment | None:
    """Return the experiment of a tag; nothing if there is no such tag, or none with a record that we can read."""
    try:
        return read(repo, tag)
    except (NotARecord, NewerRecord):
        return None


def break_stale_locks(repo: Repo, tag: str, *, since: datetime) -> None:
    """Remove the locks that git left on a tag's ref, and on the packed refs, when it was killed.

    Only for a tag that no living process is at work on. A lock on the packed refs is broken only if it is younger
    than the experiment, stays the same for as long as git itself would wait, and no git lives that works here.
    """
    own, packed = (_lock_of(repo.common_dir / name) for name in (_ref(tag), "packed-refs"))
    if _stays(own, for_s=_OWN_LOCK_S):
        own.unlink(missing_ok=True)
    stamp = _stamp(packed)
    is_young = stamp is not None and stamp[1] >= since.timestamp() * 1e9
    if is_young and _stays(packed, for_s=_PACKED_LOCK_S) and not any_works_in(_folders(repo), "git"):
        packed.with_suffix(".new").unlink(missing_ok=True)
        packed.unlink(missing_ok=True)


def listing(repo: Repo, *, tree: str | None = None) -> Listing:
    """Return all experiments; with `tree` only those whose code state has that tree, without reading the others."""
    found = Listing(experiments=[], no_records=[], newer=[])
    rows = _rows(repo, f"refs/tags/{names.PREFIX}*") if tree is None else _rows_on(repo, tree)
    for tag, tag_object, commit, message in sorted(rows, key=lambda row: names.age_key(row[0])):
        try:
            if not names.is_tag(tag) or not commit:
                raise NotARecord(tag)
            record = Record.from_json(message)
        except NewerRecord:
            found.newer.append(tag)
        except NotARecord:
            found.no_records.append(tag)
        else:
            experiment = Experiment(tag=tag, tag_object=tag_object, commit=commit, record=record)
            found.experiments.append(experiment)
    return found


def tree_of(repo: Repo, revision: str) -> str:
    """Return the tree of any revision that git accepts; raise ExperimenterError for one that it doesn't."""
    try:
        named = repo.git("rev-parse", "--verify", "--quiet", "--end-of-options", revision).decode().strip()
        return repo.git("rev-parse", "--verify", "--quiet", f"{named}^{{tree}}").decode().strip()
    except GitFailed as error:
        raise ExperimenterError(f"'{revision}' is no revision that git knows here") from error


def _rows(repo: Repo, pattern: str) -> Iterator[_Row]:
    """Yield the tags that match a pattern, read in one pass."""
    answer = repo.git("for-each-ref", f"--format={_FORMAT}", pattern).split(b"\0")
    for place in range(0, len(answer) - 4, 4):
        tag, tag_object, commit, message = answer[place : place + 4]
        yield tag.decode(errors="replace").lstrip("\n"), tag_object.decode(), commit.decode(), message


def _rows_on(repo: Repo, tree: str) -> Iterator[_Row]:
    """Yield the tags on commits with that tree. Packed refs know their commits, so that no other tag is opened."""
    objects: dict[str, str] = {}
    commits: dict[str, str] = {}
    for line in repo.git("show-ref", "--dereference", "--tags", expected=(0, 1)).decode(errors="replace").splitlines():
        oid, _, ref = line.partition(" ")
        tag, is_peeled, _ = ref.removeprefix("refs/tags/").partition("^{}")
        if tag.startswith(names.PREFIX):
            (commits if is_peeled else objects)[tag] = oid
    distinct = list(dict.fromkeys(commits.values()))
    asked = "".join(f"{commit}^{{tree}}\n" for commit in distinct).encode()
    trees = repo.git("cat-file", "--batch-check=%(objectname)", "--buffer", stdin=asked).decode().splitlines()
    wanted = {commit for commit, found in zip(distinct, trees, strict=True) if found == tree}
    tags = [tag for tag, commit in commits.items() if commit in wanted]
    contents = repo.git("cat-file", "--batch", "--buffer", stdin="".join(f"{objects[tag]}\n" for tag in tags).encode())
    place = 0
    for tag in tags:
        start = contents.index(b"\n", place) + 1
        place = start + int(contents[place:start].split()[2]) + 1
        yield tag, objects[tag], commits[tag], contents[start : place - 1].partition(b"\n\n")[2]


def _tag_object(repo: Repo, tag: str, commit: str, record: Record) -> str:
    """Store an annotated tag as an object and return its name: git-mktag(1), which no setting of the user's meets."""
    header = f"object {commit}\ntype commit\ntag {tag}\ntagger {_tagger(repo)}\n\n"
    return repo.git("mktag", stdin=(header + record.to_json()).encode()).decode().strip()


def _tagger(repo: Repo) -> str:
    """Return the user's identity and the time, as git has them in an object."""
    try:
        return repo.git("var", "GIT_COMMITTER_IDENT").decode(errors="replace").strip()
    except GitFailed:  # nobody has told git who they are, as in a container
        return f"experimenter <experimenter@{host()}> {int(datetime.now(UTC).timestamp())} +0000"


def is_at_work(tag: str) -> bool:
    """Say whether a git that was to change the tag outlives whoever started it; it is given a moment to end."""
    deadline = time.monotonic() + _AT_WORK_S
    while any_has_variable(REF, _ref(tag)):
        if time.monotonic() > deadline:
            return True
        time.sleep(_LOOK_AGAIN_S)
    return False


def _folders(repo: Repo) -> list[Path]:
    """Return the folders that a git on this repository works in."""
    linked = [place_of(note.parent) for note in repo.common_dir.glob("worktrees/*/gitdir")]
    return [repo.common_dir, repo.top, *linked]


def _stays(lock: Path, *, for_s: float) -> bool:
    """Say whether a lock is there, and stays the same one for so many seconds."""
    first = _stamp(lock)
    deadline = time.monotonic() + for_s
    while first and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_S)
        if _stamp(lock) != first:
            return False
    return first is not None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _lock_of(path: Path) -> Path:
    """Return the file by which git claims another."""
    return path.with_name(path.name + ".lock")


def _ref(tag: str) -> str:
    return f"refs/tags/{tag}"
