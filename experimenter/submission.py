"""The story of a submission: the code state is stored, experiments are queued on it, and Slurm gets a job for them."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from experimenter import aside, capture, jobs, names, programs, queued, share, slurm, store
from experimenter.errors import CannotRerun, ExperimenterError, NotShared
from experimenter.plumbing import Repo, delete_refs
from experimenter.plumbing.transfer import Patience
from experimenter.remote import Remote
from experimenter.run import Options
from experimenter.settings import Settings
from experimenter.signals import blocked, interruptible
from experimenter.state import StateFolder, remove_tree
from experimenter.storable import REDACTED, dumps, redacted, redacted_command, without_credentials
from experimenter.store import Experiment
from experimenter.text import from_native

_log = logging.getLogger("experimenter")

REMOTE = "EXPERIMENTER_JOB_REMOTE"  # in the environment of a job: a URL may hold a password


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one experiment of a submission runs; `shown` is the command as its record has it."""

    command: Sequence[str]
    shown: Sequence[str]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked of the cluster: Slurm's parameters, and how many experiments of a sweep run at a time.

    The node takes the code from `remote`, an empty name standing for the default one, or from the shared repository.
    """

    parameters: Mapping[str, Any]
    requeue: bool = False
    at_a_time: int = 1
    remote: str | None = None


def code_state(repo: Repo, options: Options, settings: Settings) -> dict[str, Any]:
    """Store the code state for a submission, and return what a record says of it."""
    state = StateFolder.of(repo)
    state.make()
    folder = aside.make_unborn(state.runs)
    try:
        with interruptible():
            return capture.code_state(repo, settings, allow_secrets=options.allow_secrets, scratch=folder / "index")
    finally:
        remove_tree(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """What is to be submitted, written down: works with their tags, which begin with `now`."""

    folder: Path
    works: Sequence[Work]
    tags: Sequence[str]
    now: datetime
    sweep: str | None
    remote: Remote | None


def reserve(
    repo: Repo,
    works: Sequence[Work],
    options: Options,
    settings: Settings,
    asked: Asked,
    *,
    sweep: str | None = None,
    cells: Sequence[str] = (),
) -> Reserved:
    """Write down what is to be submitted: from now on nobody else runs these `cells` of a sweep.

    It is for `submit`, and settled if we are killed. Raises CannotRerun and RemoteFailed.
    """
    programs.warn_of_foreign(repo, works[0].command)
    remote = None
    if [url for url in (options.push_to, asked.remote) if url and without_credentials(url) != url]:
        raise CannotRerun("a password in a URL would wait in a file for the node; name it: git remote add NAME URL")
    if asked.remote is not None:
        _check_for_remote(works, options)
        remote = Remote.of(repo, asked.remote, Patience(), is_pushed_to=True)
    now = datetime.now(UTC)
    name = options.name or names.from_command(works[0].command)
    tags = [names.tag(name, now + timedelta(microseconds=place)) for place in range(len(works))]
    id_ = f"{sweep}-{os.urandom(4).hex()}" if sweep else names.id_of(tags[0])
    spec = _spec(repo, works, options, settings, sweep, remote)
    folder = jobs.create(StateFolder.of(repo), id_, tags, cells=list(cells), **spec)
    return Reserved(folder=folder, works=works, tags=tags, now=now, sweep=sweep, remote=remote)


def submit(
    repo: Repo,
    code: Mapping[str, Any],
    reserved: Reserved,
    options: Options,
    settings: Settings,
    asked: Asked,
    *,
    python: str,
) -> list[Experiment]:
    """Queue experiments on a code state and submit them in one job, or one array; return them as they are now.

    Whatever fails, nothing of it stays. Raises NoSlurm, and what a push raises.
    """
    folder, tags, remote, job_id = reserved.folder, reserved.tags, reserved.remote, ""
    try:
        with interruptible():
            found = list(_queue(repo, code, reserved, options))
            if remote:
                shared = share.push(repo, remote, tags, max_size_bytes=settings.max_push_size_bytes)
                for tag, reason in shared.refused.items():
                    raise NotShared(f"{remote} refused {tag}: {reason}")
            with blocked():  # a job that nobody knows of would be lost
                words = [python, "-m", "experimenter", "_job"]
                words += ["--from-remote", tags[0], *(["--keep"] if options.keep else [])] if remote else [str(folder)]
                job_id = _hand_over(folder, words, tags, asked, name=reserved.sweep or tags[0], remote=remote)
                jobs.save_job_id(folder, job_id, slurm.cluster())
            if not reserved.sweep:
                _log.info("submitted as the job %s", job_id)
    except BaseException:
        if job_id:
            slurm.cancel([job_id])
        made = store.experiments(repo, {tag: store.ref(tag) for tag in tags})
        with contextlib.suppress(ExperimenterError):
            delete_refs(repo, {store.ref(tag): one.tag_object for tag, one in made.items()})
        if remote:
            with contextlib.suppress(ExperimenterError):
                remote.delete(list(made.values()))
        jobs.remove(folder)
        raise
    return found


def _queue(repo: Repo, code: Mapping[str, Any], reserved: Reserved, options: Options) -> Iterator[Experiment]:
    """Yield the experiments, whose tags follow each other by a microsecond."""
    for place, (work, tag) in enumerate(zip(reserved.works, reserved.tags, strict=True)):
        yield queued.queue(
            repo, code, name=names.name_of(tag), now=reserved.now + timedelta(microseconds=place),
            description=options.description, command=[from_native(word) for word in work.shown],
            parameters=dict(work.parameters), sweep=reserved.sweep,
        )  # fmt: skip


def _spec(
    repo: Repo, works: Sequence[Work], options: Options, settings: Settings, sweep: str | None, remote: Remote | None
) -> dict[str, Any]:
    """Return what a node that shares our file system has to know beside the records."""
    file = options.results_file
    return {
        "top": str(repo.top),
        "sweep": sweep,
        "remote": remote and remote.name,
        "commands": [list(work.command) for work in works] if not remote else [],
        "parameters": [dict(work.parameters) for work in works] if not remote else [],
        "links": list(options.links or ()),
        "results_file": file and str(file),
        "keep": options.keep,
        "push_to": options.push_to,
        "grace_s": settings.grace_s,
    }


def _hand_over(
    folder: Path, words: Sequence[str], tags: Sequence[str], asked: Asked, *, name: str, remote: Remote | None
) -> str:
    """Give Slurm the job; return its id."""
    if remote:
        os.environ[REMOTE] = remote.url
    place = Path(tempfile.gettempdir()) if remote else folder  # a folder that the node has, too
    try:
        return slurm.submit(
            place, words, name=name, count=len(tags), at_a_time=asked.at_a_time, requeue=asked.requeue,
            parameters=asked.parameters,
        )  # fmt: skip
    finally:
        os.environ.pop(REMOTE, None)
        if remote:
            slurm.drop_script(place, words)


def _check_for_remote(works: Sequence[Work], options: Options) -> None:
    """Raise CannotRerun for what would not reach a node that has nothing but the tag."""
    secret = [
        work for work in works if REDACTED in dumps([redacted(dict(work.parameters)), redacted_command(work.shown)])
    ]
    if secret:
        raise CannotRerun("a secret parameter is not in the tag, so that --from-remote cannot bring it to the node")
    if options.links or options.results_file:
        raise CannotRerun("--link and --results are for a node that shares the repository, not for --from-remote")
