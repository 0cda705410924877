"""Removes experiments for good: their tags and what is kept beside their logs; says how to bring the tags back."""

import logging
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from experimenter import names, registry, store
from experimenter.errors import BadOption, NotRemoved
from experimenter.find import find
from experimenter.plumbing import Repo, delete_refs
from experimenter.process import host
from experimenter.running import is_readable
from experimenter.state import StateFolder
from experimenter.store import Experiment
from experimenter.tags import Unreadable
from experimenter.text import visible
from experimenter.tree import Tree

Removable = Experiment | Unreadable

_log = logging.getLogger("experimenter")
_LONGEST_S = 1000 * 365.25 * 86400
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def chosen(repo: Repo, words: Iterable[str]) -> list[Removable]:
    """Return the experiments that words mean, and the tags `exp_*` that are none, each once.

    Raises as `find` does, or NotRemoved for one that runs.
    """
    tags = store.tag_names(repo)
    meant = dict.fromkeys(find(word, tags) for word in words)
    found = store.looked_at(repo, meant)
    if not all(one.tag_object for one in found):  # which git has lost, but for its name
        objects = store.tag_objects(repo)
        found = [replace(one, tag_object=objects.get(one.tag, "")) for one in found]
    for one in found:
        check(repo, one)
    return found


def check(repo: Repo, experiment: Removable) -> None:
    """Raise NotRemoved for an experiment that runs here, or as far as anybody here knows elsewhere."""
    if registry.is_alive(repo, experiment.tag):
        raise NotRemoved(f"{experiment.tag} runs; 'experimenter stop {experiment.id}' ends it")
    if isinstance(experiment, Unreadable) or experiment.is_finished:
        return
    if experiment.record.get("host") != host() or not is_readable(repo):
        raise NotRemoved(
            f"{experiment.tag} is {experiment.status}, perhaps on another machine or by another user;"
            f" if it is not: git tag -d {experiment.tag}"
        )
    if Tree(tag=experiment.tag).members():
        raise NotRemoved(f"{experiment.tag} runs, in another repository of this machine; stop it there")


def prunable(repo: Repo, *, without_results: bool, older_than: timedelta | None) -> list[Experiment]:
    """Return the finished experiments that meet every criterion: without results, and started longer ago."""
    before = datetime.now(UTC) - (older_than or timedelta())
    old = {tag: store.ref(tag) for tag in store.tags(repo) if names.moment_of(tag) <= before}
    return [
        experiment
        for experiment in store.listing(repo, old).experiments
        if not (without_results and experiment.results)
        and experiment.is_finished
        and not registry.is_alive(repo, experiment.tag)
    ]


def remove(repo: Repo, experiments: Sequence[Removable]) -> None:
    """Remove the tags, all of them or none, then their logs; raise RefMoved if somebody changed one meanwhile."""
    delete_refs(repo, {store.ref(experiment.tag): experiment.tag_object for experiment in experiments})
    state = StateFolder.of(repo)
    for experiment in experiments:
        try:
            state.drop_logs(experiment.id)
        except OSError as error:  # they are another user's
            _log.warning("the log of %s stays: %s", experiment.tag, error.strerror)


def restoring(experiment: Removable) -> str:
    """Return the git command that brings a removed experiment back, as long as git has its objects."""
    return f"git update-ref {_shell_word(store.ref(experiment.tag))} {experiment.tag_object}"


def _shell_word(text: str) -> str:
    """Return a word that sh(1) reads as a text, and that can be shown, of whatever bytes that is."""
    if text.isascii():
        return shlex.quote(text)
    octal = "".join(chr(byte) if byte < 0x80 else f"\\{byte:03o}" for byte in os.fsencode(text))
    return f'"$(printf {shlex.quote(octal.replace("%", "%%"))})"'


def duration(text: str, *, option: str) -> timedelta:
    """Return a time such as `90d`: a number with s, m (minutes), h, d or w. Raises BadOption."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip(), re.ASCII)
    if not match:
        raise BadOption(f"{option}: '{visible(text)}' is no time; give a number with s, m, h, d or w, such as 90d")
    elapsed_s = float(match[1]) * _UNITS_S[match[2]]
    if elapsed_s > _LONGEST_S:
        raise BadOption(f"{option}: '{visible(text)}' is longer than 1000 years")
    return timedelta(seconds=elapsed_s)
