"""The story of a job on its node: the code state becomes a private work tree, and the experiment runs in it."""

import os
import shlex
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from experimenter import jobs, logs, names, registry, slurm, store
from experimenter.errors import CannotRerun, ExperimenterError, NotBroughtBack, RemoteFailed
from experimenter.plumbing import Repo, config, find_repo, tree_of
from experimenter.plumbing.transfer import Patience, transfer
from experimenter.process import host
from experimenter.remote import Remote
from experimenter.rerun import prepared
from experimenter.run import Options, Outcome, run
from experimenter.settings import Settings
from experimenter.signals import blocked, interruptible
from experimenter.state import StateFolder, ending_of, remove_tree, write_ending
from experimenter.store import Experiment
from experimenter.submission import REMOTE
from experimenter.text import visible

_LAST_WORDS_S, _LOOK_AGAIN_S = 2.0, 0.05


def work(folder: Path) -> Outcome:
    """Run the experiment of the job that we are in, whose submission's folder we share.

    Raises ExperimenterError, also if the experiment is gone or has ended.
    """
    spec = jobs.spec(folder)
    if not spec:
        raise ExperimenterError(f"there is no {folder} on this node; --from-remote is for one that does not share it")
    place = _place()
    repo = find_repo(Path(spec["top"]))
    experiment = _queued(repo, spec["tags"][place])
    file = spec["results_file"]
    options = _options(experiment, keep=spec["keep"], links=spec["links"], results_file=file and Path(file))
    cell = {"sweep": spec["sweep"], "cell": spec["cells"][place]} if spec.get("cells") else {}
    options = replace(options, job={**(options.job or {}), **cell})
    command, parameters = spec["commands"][place], spec["parameters"][place]
    settings = replace(_settings(repo), grace_s=spec["grace_s"])
    try:
        outcome = _run(repo, experiment, command, replace(options, parameters=parameters), settings)
    except ExperimenterError as error:
        _note_failure(repo, experiment, error)
        raise
    if outcome.status not in ("queued", "completed"):
        _note_why_it_ended(repo, experiment.tag, folder, _LAST_WORDS_S if outcome.status == "interrupted" else 0)
    if outcome.status != "queued":
        if outcome.experiment and spec["push_to"] is not None:
            from experimenter import share

            share.push_unasked(repo, outcome.tag, settings, to=spec["push_to"])
        _forget(repo, outcome.tag)
    return outcome


def _note_why_it_ended(repo: Repo, tag: str, folder: Path, patience_s: float) -> None:
    """Add to the log what Slurm has said of the job; if it ends it, that may come after the signal."""
    until_s = time.monotonic() + patience_s
    while not logs.add_output_of_job(repo, tag, folder, slurm.our_job_id(), only_slurms=True):
        if time.monotonic() >= until_s:
            return
        time.sleep(_LOOK_AGAIN_S)


def _note_failure(repo: Repo, experiment: Experiment, error: ExperimenterError) -> None:
    """Say beside the log, and in it, why a command was never started, and remove the tag.

    Where one was started, or Slurm will start the job once more, all stays for whoever settles it.
    """
    state = StateFolder.of(repo)
    if registry.entry_of(repo, experiment.tag) or ending_of(repo, experiment.tag) or slurm.is_requeued():
        return
    left = store.find(repo, experiment.tag)
    if left and not left.is_finished:
        store.delete(repo, left)
    with state.log(experiment.id).open("a") as log:
        log.write(f"experimenter: {visible(str(error.message))}\n")
    ending = {"tag": experiment.tag, "status": "failed", "exit_code": error.exit_status, "is_kept": False}
    write_ending(state, experiment.id, ending)
    _forget(repo, experiment.tag)


def _forget(repo: Repo, tag: str) -> None:
    if job := jobs.job_of(StateFolder.of(repo), tag):
        job.forget()


def work_from_remote(first: str, *, keep: bool = False) -> Outcome:
    """Run the experiment of the job that we are in, of an array counted from the tag `first`, from the remote alone.

    What came of it is pushed back: the finished tag, or that it is gone. Raises ExperimenterError.
    """
    moment = names.moment_of(first) + timedelta(microseconds=_place())
    tag = names.tag(names.name_of(first), moment)
    url = os.environ.pop(REMOTE, "")
    with _fetched(url, tag) as repo:
        experiment = _queued(repo, tag)
        again = prepared(repo, experiment, (), experiment.parameters)
        options = replace(_options(experiment, keep=keep), parameters=again.parameters)
        outcome = _run(repo, experiment, again.command, options, _settings(repo))
        with blocked():  # Slurm ends everyone who is left
            _bring_back(repo, url, experiment)
    return outcome


def _bring_back(repo: Repo, url: str, experiment: Experiment) -> None:
    """Let the remote have what became of an experiment. Raises NotBroughtBack if there is something to be lost."""
    tag, remote = experiment.tag, Remote.of(repo, url, Patience(), is_pushed_to=True)
    left = store.find(repo, tag)
    if not left:
        remote.delete([experiment])
        return
    try:
        refused = remote.replace({tag: experiment.tag_object}).get(tag)
    except RemoteFailed as error:
        refused = str(error)
    if refused and left.is_finished:
        words = ["git", "-C", str(repo.top), "push", "--force", str(remote), store.ref(tag)]
        message = f"{remote} did not take {tag}: {refused}"
        raise NotBroughtBack(message, details=[f"it stays on {host()}: {shlex.join(words)}"])


def _place() -> int:
    """Return our place in the job array that we are in, 0 if we are in none."""
    return int(os.environ.get("SLURM_ARRAY_TASK_ID") or 0)


def _queued(repo: Repo, tag: str) -> Experiment:
    """Return the experiment, which waits for us: also if it ran already, and was killed without warning."""
    experiment = store.find(repo, tag)
    if experiment is None or experiment.is_finished:
        raise CannotRerun(f"{tag} was removed, or has ended, while its job waited; nothing is run")
    return experiment


def _options(experiment: Experiment, **more: Any) -> Options:
    code: Mapping[str, Any] = {**experiment.record.get("code", {}), "commit": experiment.commit}
    links = more.pop("links", [])
    return Options(parameters={}, code=code, links=links, queued=experiment, job={"job": slurm.our_job_id()}, **more)


def _run(repo: Repo, experiment: Experiment, command: list[str] | Any, options: Options, settings: Settings) -> Outcome:
    """Run on the recorded code, whose tree has to be the one in the record, in the recorded directory."""
    tree = tree_of(repo, experiment.commit)
    if options.code and options.code.get("tree") != tree:
        raise CannotRerun(f"the code of {experiment.tag} has the tree {tree}, not that of its record; nothing is run")
    directory = prepared(repo, experiment, command, options.parameters).repo
    return run(directory, command, options, settings, on_start=lambda *_: None)


def _settings(repo: Repo) -> Settings:
    return Settings.from_config(config(repo))


@contextmanager
def _fetched(url: str, tag: str) -> Iterator[Repo]:
    """Give a repository of this node's own that has a tag of the remote one, for the body."""
    folder = Path(tempfile.mkdtemp(prefix="experimenter-"))
    try:
        top = folder / "repo"
        top.mkdir()
        with interruptible():
            _git_init(top)
            repo = find_repo(top)
            ref = store.ref(tag)
            # Its commit and the one that this is based on, where HEAD is.
            done = transfer(repo, ["fetch", "--quiet", "--no-tags", "--depth=2", "--", url, f"{ref}:{ref}"], Patience())
        if done.status:
            remote = Remote(repo=repo, name=url, place=url, patience=Patience())
            raise RemoteFailed(f"cannot fetch {tag} from {remote}", details=done.said)
        os.chdir(top)
        yield repo
    except NotBroughtBack:
        raise
    except BaseException:
        _leave(folder)
        raise
    else:
        _leave(folder)


def _leave(folder: Path) -> None:
    os.chdir("/")
    remove_tree(folder)


def _git_init(top: Path) -> None:
    from experimenter.plumbing.git import run as git

    git(top, ["init", "--quiet", "--template="])
