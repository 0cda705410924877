"""The remote repository that experiments are shared through."""

from collections.abc import Mapping, Sequence

from experimenter import store
from experimenter.errors import GitFailed, NotRemoved
from experimenter.plumbing import Repo, config
from experimenter.storable import without_users
from experimenter.store import Experiment


def default_remote(repo: Repo) -> str:
    """Return `git config experimenter.remote`, else the remote of the branch that we are on, else `origin`."""
    if configured := config(repo).get("remote"):
        return configured[-1]
    head = repo.git("symbolic-ref", "--quiet", "HEAD", expected=(0, 1)).decode(errors="surrogateescape").strip()
    branch = head.removeprefix("refs/heads/")
    theirs = repo.git("config", "--get", f"branch.{branch}.remote", expected=(0, 1)) if branch else b""
    remote = theirs.decode(errors="surrogateescape").strip()
    return remote if remote not in ("", ".") else "origin"  # `.` stands for this repository


def delete(repo: Repo, remote: str, experiments: Sequence[Experiment]) -> None:
    """Delete the tags that a remote repository has of these experiments, all with the values that it shows us.

    Raises NotRemoved, and deletes none, if one has another value than here; GitFailed if git cannot.
    """
    theirs = _tags(repo, remote)
    found = [experiment for experiment in experiments if experiment.tag in theirs]
    for experiment in found:
        if theirs[experiment.tag] != experiment.tag_object:
            raise NotRemoved(
                f"{without_users(remote)} has another record under {experiment.tag}; look at that one first"
            )
    if found:
        leases = [f"--force-with-lease={store.ref(one.tag)}:{one.tag_object}" for one in found]
        refs = [f":{store.ref(one.tag)}" for one in found]
        # Whatever the user has set for their own pushes, nothing else goes along.
        only = ("-c", f"remote.{remote}.mirror=false", "push", "--no-follow-tags", "--recurse-submodules=no")
        _speak(repo, *only, "--quiet", "--atomic", *leases, "--", remote, *refs)


def _tags(repo: Repo, remote: str) -> Mapping[str, str]:
    """Return the tag objects that a remote repository has under the tags of experiments."""
    answer = _speak(repo, "ls-remote", "--", remote, store.ref("exp_*")).decode(errors="replace")
    pairs = (line.partition("\t") for line in answer.splitlines())
    return {ref.removeprefix("refs/tags/"): oid for oid, _, ref in pairs if not ref.endswith("^{}")}


def _speak(repo: Repo, *words: str) -> bytes:
    """Run a git command that speaks with a remote repository, the user's hooks included."""
    try:
        return repo.git(*words, runs_hooks=True)
    except GitFailed as error:
        details = [without_users(line) for line in error.details]
        raise GitFailed(without_users(error.message), details=details) from error
