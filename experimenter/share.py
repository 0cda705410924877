"""Shares experiments: sends those that a remote repository lacks, and collects those that we lack."""

import logging
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experimenter import registry, store, targets
from experimenter.errors import (
    ExperimenterError,
    Interrupted,
    NotShared,
    PushTooLarge,
    RefExists,
    RefMoved,
    RemoteFailed,
)
from experimenter.plumbing import Repo, update_ref
from experimenter.plumbing.transfer import Patience
from experimenter.process import TimedOut
from experimenter.remote import Remote, Theirs
from experimenter.settings import Settings
from experimenter.text import counted, readable_size, visible

_log = logging.getLogger("experimenter")
_DECLINED = "[remote rejected]"
# Where objects are missing, as in a partial clone, none is fetched for this.
_NEW_OBJECTS = ("rev-list", "--objects", "--ignore-missing", "--missing=allow-any", "--stdin")
_ROUNDS = 3  # looks at what the remote has, where others push meanwhile
_SHOWN_PATHS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What was sent or collected, and what was refused, with the reason.

    `conflicts` are the tags that both sides have finished differently, with the tag object that the remote has; it is
    here, too. `objects` and `size_bytes` are what a push sends besides the tags themselves.
    """

    remote: str
    tags: Sequence[str] = ()
    conflicts: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    objects: int = 0
    size_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the object that `push --json` and `pull --json` print."""
        return {
            "remote": self.remote,
            "tags": list(self.tags),
            "conflicts": list(self.conflicts),
            "refused": dict(self.refused),
            "objects": self.objects,
            "size_bytes": self.size_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Which tags are to be pushed: new ones, and ones over the unfinished value that the remote has.

    `commits` are what they are on, and `known` what is there of the commits, or else the tags, that both sides have.
    """

    new: Sequence[str]
    replacing: Mapping[str, str]
    conflicts: Mapping[str, str]
    leave: Sequence[str]
    commits: Collection[str]
    known: Collection[str]

    @property
    def tags(self) -> list[str]:
        return [*self.new, *self.replacing]


def push(
    repo: Repo, remote: Remote, tags: Sequence[str] | None = None, *, max_size_bytes: int, is_dry: bool = False
) -> Shared:
    """Send experiments to a remote: these `tags`, or all finished ones that it lacks; say what was sent.

    A finished record replaces an unfinished one there; what runs here, and goes to the default remote, is pushed again
    at its end. Of two different finished ones both stay, and the tag is a conflict. Raises PushTooLarge, before
    anything leaves, if the new files are larger than `max_size_bytes`, and RemoteFailed.
    """
    is_followed = tags is not None and not is_dry and remote.is_default
    running = [tag for tag in tags or () if is_followed and _ask_for_end(repo, tag)]
    sent: dict[str, None] = {}
    refused: dict[str, str] = {}
    weight = 0, 0
    for turn in range(1, _ROUNDS + 1):
        theirs = remote.look()
        declined = [tag for tag, reason in refused.items() if reason.startswith(_DECLINED)]
        plan = _plan(repo, remote, theirs, tags, leave=[*declined, *sent])
        if turn == 1 and plan.tags:
            weight = _weigh(repo, remote, plan, theirs, max_size_bytes)
        if is_dry or not plan.tags:
            refused = {tag: refused[tag] for tag in declined}
            break
        try:
            failed = {**remote.push_new(plan.new, leave=plan.leave), **remote.replace(plan.replacing)}
        except RemoteFailed as error:
            if turn == _ROUNDS or not _is_gone(error):
                raise
            continue
        sent |= dict.fromkeys(tag for tag in plan.tags if tag not in failed)
        refused = {tag: refused[tag] for tag in declined} | failed
        # What somebody else pushed meanwhile is looked at again; what the remote itself declines is not.
        if all(reason.startswith(_DECLINED) for reason in failed.values()):
            break
    _follow(repo, remote, [tag for tag in running if tag in sent], max_size_bytes=max_size_bytes)
    return Shared(
        remote=str(remote),
        tags=plan.tags if is_dry else list(sent),
        conflicts=plan.conflicts,
        refused=refused,
        objects=weight[0],
        size_bytes=weight[1],
    )


def _ask_for_end(repo: Repo, tag: str) -> bool:
    """Let one that runs, or waits for a cluster, be pushed at its end, too; say whether it does."""
    noted = registry.share_of(repo, tag)
    if noted:
        noted.ask()
    return noted is not None


def _follow(repo: Repo, remote: Remote, tags: Sequence[str], *, max_size_bytes: int) -> None:
    """Note what was sent as running; of those that have ended meanwhile tell the remote what has become of them."""
    for noted in filter(None, (registry.share_of(repo, tag) for tag in tags)):
        noted.note_push()
    ended = [tag for tag in tags if not registry.share_of(repo, tag)]
    left = [tag for tag in ended if store.find(repo, tag)]
    if left:
        push(repo, remote, left, max_size_bytes=max_size_bytes)
    if gone := set(ended) - set(left):
        _remove_unfinished(remote, gone)


def _remove_unfinished(remote: Remote, tags: Collection[str]) -> None:
    """Remove from a remote those of some tags that nobody will finish."""
    theirs = {tag: oid for tag, oid in remote.look().tags.items() if tag in tags}
    remote.delete([one for one in remote.records(theirs).values() if not one.is_finished])


def push_one(repo: Repo, tag: str, settings: Settings, *, to: str | None = None) -> str:
    """Push one experiment when nobody may be there to be asked, in the time that `settings` allow; return where to.

    An empty `to` stands for the default remote. Raises RemoteFailed, PushTooLarge, or NotShared with the reason.
    """
    if not store.find(repo, tag):
        raise NotShared(f"{tag} is gone, so that there is nothing to push")
    patience = Patience(until_s=time.monotonic() + settings.push_timeout_s)
    remote = Remote.of(repo, to, patience, is_pushed_to=True)
    shared = push(repo, remote, [tag], max_size_bytes=settings.max_push_size_bytes)
    if shared.conflicts:
        raise NotShared(f"{remote} has another finished record under {tag}; both stay")
    if reason := shared.refused.get(tag):
        is_full = "unpacker error" in reason  # or broken, perhaps not for ever
        raise (RemoteFailed if is_full else NotShared)(f"{remote} refused {tag}: {reason}")
    return str(remote)


def push_unasked(repo: Repo, tag: str, settings: Settings, *, to: str | None = None) -> None:
    """Push one experiment as `push_one` does, and tell what came of it; nothing is raised."""
    try:
        _log.info("pushed %s to %s", tag, visible(push_one(repo, tag, settings, to=to)))
    except (ExperimenterError, OSError, Interrupted) as error:
        is_lasting = isinstance(error, PushTooLarge | NotShared)
        later = "" if is_lasting else ", 'experimenter push' sends it later"
        _log.warning("%s was not pushed%s: %s", tag, later, _why(error))


def push_together(repo: Repo, tags: Sequence[str], settings: Settings, *, to: str | None = None) -> None:
    """Push experiments of a sweep, those that the remote lacks, and tell what came of it; nothing is raised."""
    patience = Patience(until_s=time.monotonic() + settings.push_timeout_s)
    try:
        remote = Remote.of(repo, to, patience, is_pushed_to=True)
        shared = push(repo, remote, tags, max_size_bytes=settings.max_push_size_bytes)
    except (ExperimenterError, OSError, Interrupted) as error:
        _log.warning("the sweep was not pushed, 'experimenter push' sends it later: %s", _why(error))
        return
    _log.info("pushed %s to %s", counted(len(shared.tags), "experiment"), visible(str(remote)))
    for tag in [*shared.conflicts, *shared.refused]:
        _log.warning("%s was not pushed: %s", tag, shared.refused.get(tag, "another finished record is there"))


def withdraw(repo: Repo, tag: str, settings: Settings) -> None:
    """Remove what was pushed of one that ran, and has come to nothing, from the default remote; nothing is raised."""
    try:
        patience = Patience(until_s=time.monotonic() + settings.push_timeout_s)
        remote = Remote.of(repo, None, patience, is_pushed_to=True)
        _remove_unfinished(remote, [tag])
        _log.info("removed %s from %s", tag, visible(str(remote)))
    except (ExperimenterError, OSError, Interrupted) as error:
        _log.warning("%s was pushed while it ran, and was not removed there: %s", tag, error)


def pull(repo: Repo, remote: Remote) -> Shared:
    """Collect the experiments of a remote that we lack, and finished records of those that are unfinished here.

    Of two different finished ones both stay, and the tag is a conflict. Raises RemoteFailed.
    """
    for turn in range(1, _ROUNDS + 1):
        look = remote.look()
        theirs, ours = look.tags, store.tag_objects(repo)
        new = [tag for tag in theirs if tag not in ours]
        differing = {tag: oid for tag, oid in theirs.items() if tag in ours and ours[tag] != oid}
        try:
            broken = dict(remote.fetch_new(new, leave=[*differing, *look.others]))
            break
        except RemoteFailed as error:
            if turn == _ROUNDS or not _is_gone(error):
                raise
    found = remote.records(differing, broken=broken)
    mine = store.experiments(repo, {tag: ours[tag] for tag in differing})
    replaced, conflicts = list[str](), dict[str, str]()
    for tag, theirs_is in found.items():
        if not theirs_is.is_finished:
            continue
        if tag in mine and mine[tag].is_finished:
            conflicts[tag] = theirs_is.tag_object
        elif not registry.is_alive(repo, tag):
            try:
                update_ref(repo, store.ref(tag), new=theirs_is.tag_object, old=ours[tag])
                replaced.append(tag)
            except (RefMoved, RefExists):  # it has just been finished here
                conflicts[tag] = theirs_is.tag_object
    fetched = [tag for tag in new if tag not in broken]
    return Shared(remote=str(remote), tags=[*fetched, *replaced], conflicts=conflicts, refused=broken)


def _plan(repo: Repo, remote: Remote, theirs: Theirs, wanted: Sequence[str] | None, *, leave: Sequence[str]) -> _Plan:
    ours = store.tag_objects(repo)
    asked = [tag for tag in (ours if wanted is None else wanted) if tag in ours and tag not in leave]
    lacking = {tag: ours[tag] for tag in asked if tag not in theirs.tags}
    differing = {tag: ours[tag] for tag in asked if theirs.tags.get(tag, ours[tag]) != ours[tag]}
    brief = store.briefs(repo, lacking | differing)
    there = remote.records({tag: theirs.tags[tag] for tag in differing})
    # One that runs is sent only if it is named: were it to fail, nobody would take it away there.
    is_finished = {tag: status not in store.UNFINISHED for tag, (status, _) in brief.items()}
    new = [tag for tag in lacking if tag in is_finished and (wanted is not None or is_finished[tag])]
    finished = [tag for tag in differing if is_finished.get(tag)]
    replacing = {tag: theirs.tags[tag] for tag in finished if tag in there and not there[tag].is_finished}
    conflicts = {tag: theirs.tags[tag] for tag in finished if tag not in replacing}
    sending = set(new)
    staying = [tag for tag, oid in ours.items() if tag not in sending and theirs.tags.get(tag) != oid]
    commits = {brief[tag][1] for tag in (*new, *replacing)}
    common = targets.commits(repo) if commits and theirs.tags else {}
    known = {common.get(tag, oid) if ours.get(tag) == oid else oid for tag, oid in theirs.tags.items()}
    return _Plan(new=new, replacing=replacing, conflicts=conflicts, leave=staying, commits=commits, known=known)


def _why(error: BaseException) -> str:
    return "a signal ended it" if isinstance(error, Interrupted) else str(error)


def _is_gone(error: RemoteFailed) -> bool:
    """Say whether a transfer failed as a tag that was to go had just been removed, on one side or the other."""
    return re.search(r"does not match any|find remote ref", "\n".join([error.message, *error.details])) is not None


def _weigh(repo: Repo, remote: Remote, plan: _Plan, theirs: Theirs, max_size_bytes: int) -> tuple[int, int]:
    """Return how many objects are new to the remote, as far as we know, and the size of the files among them."""
    # Of a commit that is known, but no parent of a new one, git leaves out the files only if its tree is named.
    known = "".join(f"^{oid}\n^{oid}^{{tree}}\n" for oid in [*theirs.heads, *plan.known])
    asked = "".join(f"{commit}\n" for commit in plan.commits) + known
    try:
        new = repo.git(*_NEW_OBJECTS, stdin=asked.encode(), timeout_s=remote.patience.left_s)
    except TimedOut as error:
        raise RemoteFailed(f"git did not find out in time what {remote} lacks") from error
    sizes = repo.git("cat-file", "--batch-check=%(objecttype) %(objectsize) %(rest)", "--buffer", stdin=new)
    lines = sizes.split(b"\n")[:-1]
    files = []
    for line in lines:
        kind, size, path = line.split(b" ", 2) if line.count(b" ") > 1 else (*line.split(b" "), b"")
        if kind == b"blob":
            files.append((int(size), path))
    total = sum(size for size, _ in files)
    if total > max_size_bytes:
        largest = sorted(files, reverse=True)[:_SHOWN_PATHS]
        raise PushTooLarge(
            f"the new files are {readable_size(total)}, more than the {readable_size(max_size_bytes)} of"
            " git config experimenter.maxPushSize; raise that, or push others by name",
            details=[f"{readable_size(size)}  {visible(path.decode(errors='replace'))}" for size, path in largest],
        )
    return len(lines), total
