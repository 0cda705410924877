"""The remote repository that experiments are shared through: what it has, and how tags get there and here."""

import logging
import re
import signal
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from experimenter import complaint, names, store
from experimenter.complaint import by_halves
from experimenter.errors import NotRemoved, RemoteFailed
from experimenter.plumbing import Repo, config, config_value
from experimenter.plumbing.transfer import Patience, Transfer, transfer
from experimenter.process import Identity, descendants, is_called
from experimenter.signals import interruptible
from experimenter.storable import without_credentials
from experimenter.store import Experiment
from experimenter.tags import Unreadable
from experimenter.text import visible

_log = logging.getLogger("experimenter")
_ATTEMPTS = 3
_PAUSE_S = 1.0  # before the second attempt; twice that before the third
_FEW = 50  # tags that are named one by one; git takes a second for every hundred of them among 10,000
_PATTERN = store.ref("exp_*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    """What a remote repository has: the tag object of each experiment, what its branches are on, other tags `exp_*`."""

    tags: Mapping[str, str]
    heads: Sequence[str]
    others: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A remote repository by the name that git knows it by, a path or a URL; `place` is where it is spoken with.

    Of one that is pushed to, `receiver` is the program there that takes pushes; empty where none can be named.
    """

    repo: Repo
    name: str
    place: str
    patience: Patience
    receiver: str = ""

    @classmethod
    def of(cls, repo: Repo, name: str | None, patience: Patience, *, is_pushed_to: bool = False) -> Self:
        """Return a remote; without a name that of `git config experimenter.remote`, of the branch, or `origin`.

        One that `is_pushed_to` is where git pushes to, which may be elsewhere. Raises RemoteFailed if there is none.
        """
        chosen = name or _default_name(repo)
        urls = _urls(repo, chosen)
        if not name and not urls:
            raise RemoteFailed(
                f"there is no remote {visible(chosen)}; git remote add {visible(chosen)} URL, or --remote R"
            )
        places = _urls(repo, chosen, "--push") if is_pushed_to else urls
        if is_pushed_to and len(places) > 1:
            raise RemoteFailed(
                f"{without_credentials(chosen)} is pushed to in {len(places)} places; name one with --remote"
            )
        place = chosen if places == urls else places[0]
        has_program = is_pushed_to and not any(re.match("https?:", one) for one in places)
        receiver = _receiver(repo, place) if has_program else ""
        return cls(repo=repo, name=chosen, place=place, patience=patience, receiver=receiver)

    @property
    def url(self) -> str:
        """Where git speaks with it, a password and all; of a path the whole."""
        found = _urls(self.repo, self.place)[0]
        return found if re.search(r"://|^[^/]*:", found) else str((self.repo.top / found).resolve())

    @property
    def is_default(self) -> bool:
        """Whether it is the one that is meant where none is named."""
        return self.name == _default_name(self.repo)

    def __str__(self) -> str:
        return str(without_credentials(self.name))

    def look(self) -> Theirs:
        """Return what it has now. Raises RemoteFailed."""
        words = ("--", self.place, _PATTERN, "refs/heads/*")
        answer = None
        if self.receiver:  # which does not read each tag object to say what it is on, and takes half the time
            answer = self._speak("ls-remote", "--quiet", f"--upload-pack={self.receiver}", *words, expected=(0, 128))
        if not answer or answer.status:  # one that lets us only read has the other program alone
            answer = self._speak("ls-remote", "--quiet", *words)
        tags, heads, others = {}, [], []
        for line in answer.stdout.decode(errors="surrogateescape").split("\n")[:-1]:
            oid, _, ref = line.partition("\t")
            if ref.endswith("^{}"):
                continue
            if ref.startswith("refs/heads/"):
                heads.append(oid)
            elif names.is_tag(tag := ref.removeprefix("refs/tags/")):
                tags[tag] = oid
            else:
                others.append(tag)
        return Theirs(tags=tags, heads=heads, others=others)

    def push_new(self, tags: Sequence[str], *, leave: Iterable[str]) -> Mapping[str, str]:
        """Push tags that it does not have; return why each of those that were not taken was refused.

        `leave` are our other tags, which are not pushed. Raises RemoteFailed.
        """
        if not tags:
            return {}
        wanted, added = set(tags), list[str]()
        others = store.other_tags(self.repo) if len(tags) > _FEW else []
        stay = [*leave, *others]
        refused = by_halves(
            tags, lambda some: self._push(*_refspecs(some, leave=[*stay, *(wanted - set(some))]), added=added)
        )
        self._take_back(set(added) - wanted)
        return {tag: reason for tag, reason in refused.items() if tag in wanted}

    def _take_back(self, tags: Collection[str]) -> None:
        """Delete what the pattern has taken along, as a run that has just started, unless somebody changed it since."""
        ours = store.tag_objects(self.repo) if tags else {}
        for tag in tags:
            lease = f"--force-with-lease={store.ref(tag)}:{ours.get(tag, '')}"
            self._push(lease, f":{store.ref(tag)}")

    def replace(self, tags: Mapping[str, str]) -> Mapping[str, str]:
        """Push tags over the values that it is known to have of them; return why those not taken were refused."""

        def push(some: Sequence[str]) -> Mapping[str, str]:
            leases = [f"--force-with-lease={store.ref(tag)}:{tags[tag]}" for tag in some]
            return self._push(*leases, *_refspecs(some, leave=None))

        return by_halves(list(tags), push)

    def delete(self, experiments: Sequence[Experiment | Unreadable]) -> None:
        """Delete the tags that it has of these experiments, all or none, with the values that we have.

        Raises NotRemoved if one has another value there, RemoteFailed if it refuses.
        """
        theirs = self.look().tags
        found = [experiment for experiment in experiments if experiment.tag in theirs]
        for experiment in found:
            if theirs[experiment.tag] != experiment.tag_object:
                raise NotRemoved(f"{self} has another record under {experiment.tag}; look at that one first")
        if found:
            leases = [f"--force-with-lease={store.ref(one.tag)}:{one.tag_object}" for one in found]
            refused = self._push("--atomic", *leases, *(f":{store.ref(one.tag)}" for one in found))
            if refused:
                details = [f"{tag}: {reason}" for tag, reason in refused.items()]
                raise RemoteFailed(f"{self} did not remove the tags; nothing was removed", details=details)

    def fetch_new(self, tags: Sequence[str], *, leave: Collection[str]) -> Mapping[str, str]:
        """Fetch tags that we do not have, and what they need; `leave` are others of theirs.

        Return why each of those that are broken there was not fetched. Raises RemoteFailed.
        """

        def fetch(some: Sequence[str]) -> Mapping[str, str]:
            return self._fetch(*_refspecs(some, leave=[*leave, *(set(tags) - set(some))]))

        return by_halves(tags, fetch)

    def records(self, tags: Mapping[str, str], *, broken: dict[str, str] | None = None) -> Mapping[str, Experiment]:
        """Return the experiments that it has under these tags, which it has on these objects. Raises RemoteFailed.

        Those that are broken there are added to `broken`, with the reason.
        """
        found = by_halves(list(tags), lambda some: self._fetch(*map(store.ref, some)))
        if broken is not None:
            broken |= found
        return store.experiments(self.repo, {tag: oid for tag, oid in tags.items() if tag not in found})

    def _fetch(self, *refspecs: str) -> Mapping[str, str]:
        # No setting of the user's for their own fetches: fetch.prune would delete what is only here.
        # Nor is a tag of ours overwritten because remote.<name>.fetch would (--refmap).
        only = ("--no-tags", "--no-prune", "--refmap=", "--no-write-fetch-head", "--no-recurse-submodules")
        self._speak("fetch", "--progress", *only, "--", self.place, *refspecs)
        return {}  # git fetches all or nothing

    def _push(self, *words: str, added: list[str] | None = None) -> Mapping[str, str]:
        """Push; return why what was not taken was refused, by tag. What is new there is `added` to a list."""
        only = ["-c", "push.pushOption=", "push", "--no-follow-tags", "--recurse-submodules=no", "--no-signed"]
        if config_value(self.repo, f"remote.{self.place}.mirror"):
            only = ["-c", f"remote.{self.place}.mirror=false", *only]
        options = [word for word in words if word.startswith("--")]
        refspecs = [word for word in words if not word.startswith("--")]
        done = self._speak(*only, "--porcelain", "--progress", *options, "--", self.place, *refspecs, expected=(0, 1))
        results = list(complaint.RESULT.finditer(done.stdout.decode(errors="surrogateescape")))
        if done.status and (not results or complaint.is_of_our_objects(done)):
            raise complaint.failure(f"cannot push to {self}", done, self.patience)
        tags = [(result["flag"], result["ref"].removeprefix("refs/tags/"), result["summary"]) for result in results]
        if any(flag == "!" for flag, _, _ in tags):
            self._pass_on(done.said)
        if added is not None:
            added += [tag for flag, tag, _ in tags if flag == "*"]
        return {tag: str(without_credentials(summary)) for flag, tag, summary in tags if flag == "!"}

    def _pass_on(self, said: Sequence[str]) -> None:
        """Tell what hooks of the remote repository say of what it refuses."""
        lines = [line.removeprefix("remote: ").rstrip() for line in said if line.startswith("remote: ")]
        git_itself = "error: hook declined"
        if told := [str(without_credentials(line)) for line in lines if line and not line.startswith(git_itself)]:
            _log.info("%s says:\n  %s", self, "\n  ".join(dict.fromkeys(told)))

    def _speak(self, *words: str, expected: Iterable[int] = (0,)) -> Transfer:
        """Let git speak with the remote; try again where the network failed."""
        for attempt in range(1, _ATTEMPTS + 1):
            late = _Late()
            with interruptible():
                done = transfer(self.repo, words, self.patience, on_timeout=late.look)
            if done.status == 0:
                return done
            if done.status is None:
                late.end()
                slow = RemoteFailed(f"{self} did not answer in time", details=done.said)
                raise complaint.of_hook(self.repo, str(self), done) if late.has_hook else slow
            if "push" in words and complaint.is_of_hook(self.repo, done):
                raise complaint.of_hook(self.repo, str(self), done)
            is_network = complaint.is_of_network(done)
            if done.status in expected and not (is_network and not complaint.tells_of_refs(done)):
                return done
            if not is_network or attempt == _ATTEMPTS or not self._pause(_PAUSE_S * attempt):
                break
        often = f" (tried {attempt} times)" if attempt > 1 else ""
        what = "push to" if "push" in words else "fetch from" if "fetch" in words else "reach"
        raise complaint.failure(f"cannot {what} {self}{often}", done, self.patience)

    def _pause(self, for_s: float) -> bool:
        """Wait before another attempt; say whether there is time for one."""
        left_s = self.patience.left_s
        if left_s is not None and left_s <= for_s:
            return False
        time.sleep(for_s)
        return True


@dataclass(slots=True)
class _Late:
    """What a git that is out of time has started, also what has left its process group, and if the hook is among it."""

    processes: Sequence[Identity] = ()
    has_hook: bool = False

    def look(self, pid: int) -> None:
        """See what there is before git is ended."""
        self.processes = descendants(pid)
        self.has_hook = any(is_called(one, "pre-push") for one in self.processes)

    def end(self) -> None:
        """Kill what is left."""
        for one in self.processes:
            one.send(signal.SIGKILL)


def check_name(repo: Repo, name: str) -> None:
    """Raise RemoteFailed if a name can be no remote: neither git knows it, nor is it a path or a URL."""
    if not _urls(repo, name):
        raise RemoteFailed(f"there is no remote {visible(name)}; git remote add {visible(name)} URL, or give a path")


def _default_name(repo: Repo) -> str:
    if configured := [name for name in config(repo).get("remote", ()) if name]:
        return configured[-1]
    answer = repo.git("symbolic-ref", "--quiet", "HEAD", expected=(0, 1))
    head = answer.decode(errors="surrogateescape").removesuffix("\n")
    remote = config_value(repo, f"branch.{head.removeprefix('refs/heads/')}.remote") if head else ""
    return remote if remote not in ("", ".") else "origin"  # `.` stands for this repository


def _receiver(repo: Repo, place: str) -> str:
    words = ("config", "-z", "--get-all", f"remote.{place}.receivepack")  # of which git takes the first
    found = repo.git(*words, expected=(0, 1)).decode(errors="surrogateescape")
    return found.partition("\0")[0] if found else "git-receive-pack"


def _urls(repo: Repo, name: str, *options: str) -> list[str]:
    """Return where git fetches from, or pushes to, for a remote, a path or a URL; nothing for an unknown name."""
    words = ("remote", "get-url", "--all", *options, "--", name)
    answer = repo.git(*words, expected=(0, 2, 128)).decode(errors="surrogateescape").removesuffix("\n")
    found = answer.split("\n") if answer else []
    return found or ([name] if re.search(r"[/:.]", name) else [])


def _refspecs(tags: Sequence[str], *, leave: Iterable[str] | None) -> list[str]:
    """Return what names tags for git: one by one if they are few or nobody knows what to `leave`, else by a pattern."""
    if leave is None or len(tags) <= _FEW:
        return [f"{store.ref(tag)}:{store.ref(tag)}" for tag in tags]
    return [f"{_PATTERN}:{_PATTERN}", *(f"^{store.ref(tag)}" for tag in leave)]
