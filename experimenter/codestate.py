"""The code state that a tag is on, as git has it, and where a record says otherwise."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from experimenter.errors import ExperimenterError, GitFailed, RecordContradicted
from experimenter.plumbing import Repo
from experimenter.store import Experiment
from experimenter.text import visible

_log = logging.getLogger("experimenter")
_LONGEST = 64  # characters of a SHA-256


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A commit with its tree and its first parent, which is the commit that it is based on; a root has none."""

    commit: str
    tree: str
    base: str | None

    @classmethod
    def of(cls, repo: Repo, commit: str) -> Self:
        """Return what the commit itself says, whatever a shallow clone hides of it. Raises GitFailed."""
        header = repo.git("cat-file", "commit", commit).partition(b"\n\n")[0].decode(errors="replace")
        tree, *others = (line.partition(" ")[2] for line in header.split("\n") if line.startswith(("tree ", "parent ")))
        return cls(commit=commit, tree=tree, base=others[0] if others else None)

    def to_record(self) -> dict[str, str]:
        """Return what a record's `code` says of it, but for the branch and the changes."""
        values = {"commit": self.commit, "tree": self.tree, "base": self.base}
        return {key: value for key, value in values.items() if value is not None}


def without_base(repo: Repo, code: Code) -> ExperimenterError | None:
    """Return the error that a code state's base is not here; nothing if it is."""
    if not code.base:
        return None
    try:
        repo.git("cat-file", "-e", f"{code.base}^{{commit}}")
    except GitFailed:
        return ExperimenterError(
            f"the commit {code.base}, on which the code {code.commit} is based, is not here;"
            " 'git fetch --unshallow' brings what a shallow clone lacks"
        )
    return None


def checked(repo: Repo, experiment: Experiment) -> Code:
    """Return the code state of an experiment. Raises RecordContradicted where its record names another one."""
    code = Code.of(repo, experiment.commit)
    if found := _contradictions(experiment, code):
        raise RecordContradicted(
            f"{_sentence(experiment, found)}; it was forged or damaged: 'git show {experiment.commit}' shows the code"
            " that is there, 'experimenter rm' removes the experiment"
        )
    return code


def warn(repo: Repo, *experiments: Experiment) -> bool:
    """Warn of each experiment whose record names another code than its tag is on; say whether there is one."""
    is_any = False
    for experiment in experiments:
        if not _claims(experiment):
            continue
        if found := _contradictions(experiment, Code.of(repo, experiment.commit)):
            _log.warning("%s, which is what counts", _sentence(experiment, found))
            is_any = True
    return is_any


def _claims(experiment: Experiment) -> Mapping[str, Any]:
    """Return what a record says of its code that git knows better; an older or foreign one may say nothing."""
    code = experiment.record.get("code", {})
    said = {key: experiment.claims.get(f"code.{key}", code.get(key)) for key in ("commit", "tree")}
    return {key: claim for key, claim in said.items() if claim is not None}


def _contradictions(experiment: Experiment, code: Code) -> dict[str, tuple[Any, str]]:
    """Return, by its key, what the record says and what git says, where that differs."""
    facts = code.to_record()
    return {key: (claim, facts[key]) for key, claim in _claims(experiment).items() if claim != facts[key]}


def _sentence(experiment: Experiment, found: Mapping[str, tuple[Any, str]]) -> str:
    claims = ", ".join(f"code.{key} {_shown(claim)}" for key, (claim, _) in found.items())
    facts = ", ".join(f"{key} {fact}" for key, (_, fact) in found.items())
    return f"the record of {experiment.tag} says {claims}; its tag is on {facts}"


def _shown(claim: Any) -> str:
    text = visible(str(claim))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
