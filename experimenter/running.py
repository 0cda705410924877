"""What runs now: the experiments that are alive, what they use, and which of them a word means."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from experimenter import jobs, leftovers, names, registry, store
from experimenter.entry import Entry
from experimenter.errors import ExperimentAmbiguous, ExperimentUnknown, NotStopped, StatusUnknown
from experimenter.find import find
from experimenter.jobs import Job, JobState
from experimenter.plumbing import Repo
from experimenter.process import usage_of
from experimenter.record import timestamp
from experimenter.state import StateFolder, ended_tags, ending_of

_MEASURED_S = 0.2
_LOOK_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One running experiment; what it uses is known only on this host."""

    entry: Entry
    state: str
    elapsed_s: float
    job_id: str | None = None
    job_state: str | None = None
    job_reason: str | None = None
    cpu_percent: float | None = None
    memory_bytes: int | None = None

    @property
    def pid(self) -> int | None:
        """The command's process id; none where the command has ended, or is still to start."""
        command = self.entry.pid_file.command
        has_ended = self.state == "orphaned" and not self.entry.command_is_alive  # only what it has started lives
        return command.pid if command and not has_ended else None

    def to_json(self) -> dict[str, Any]:
        """Return an element of the array that `ps --json` prints."""
        pid_file = self.entry.pid_file
        return {
            "id": self.entry.id,
            "tag": self.entry.tag,
            "name": names.name_of(self.entry.tag),
            "state": self.state,
            "pid": self.pid,
            "wrapper_pid": pid_file.wrapper.pid or None,
            "host": pid_file.host,
            "started": timestamp(self.entry.started),
            "elapsed_s": round(self.elapsed_s, 3),
            "cpu_percent": self.cpu_percent,
            "memory_bytes": self.memory_bytes,
            "command": list(pid_file.words),
            **({"sweep": pid_file.sweep} if pid_file.sweep else {}),
            **({"job_id": self.job_id, "job_state": self.job_state} if self.job_id else {}),
            **({"job_reason": self.job_reason} if self.job_reason else {}),
        }


def entries(repo: Repo) -> list[Entry]:
    """Return our entries of experiments that run, here or, as far as their hosts say, elsewhere."""
    return [entry for entry in registry.entries(repo) if entry.is_ours and not entry.is_abandoned]


def is_readable(repo: Repo) -> bool:
    """Say whether we may see what runs in a repository: the state folder is its user's alone."""
    path = StateFolder.of(repo).path
    return not path.exists() or os.access(path, os.R_OK | os.X_OK)


def running(repo: Repo, states: Mapping[str, JobState]) -> list[Running]:
    """Return what runs now, from the oldest to the newest, with the CPU time that it uses measured over 0.2 s.

    Among it are jobs on a cluster, whose `states` are given, also those that wait.

    `cpu_percent` is 100 for one core that is busy; it and `memory_bytes` are those of the whole process tree.
    """
    found = entries(repo)
    tags = {entry.tag for entry in found}
    found += [_waiting(repo, one.job) for one in states.values() if one.job.tag not in tags]
    found.sort(key=lambda entry: names.age_key(entry.tag))
    members = {entry.tag: entry.tree.members() for entry in found if entry.tag in tags and not entry.is_elsewhere}
    started_s = time.monotonic()
    before = {tag: usage_of(tree).cpu_s for tag, tree in members.items()}
    if members:
        time.sleep(_MEASURED_S)
    shown = []
    for entry in found:
        state = _state(entry) if entry.tag in tags else "queued"
        if entry.tag in tags and not entry.exists:  # looked at last: a wrapper ends only when its entry has gone
            continue
        usage: dict[str, Any] = {}
        if entry.tag in members:
            used = usage_of(members[entry.tag])
            elapsed_s = time.monotonic() - started_s
            cpu_percent = max(0.0, 100 * (used.cpu_s - before[entry.tag]) / elapsed_s)
            usage = {"cpu_percent": round(cpu_percent, 1), "memory_bytes": used.memory_bytes}
        elapsed = datetime.now(UTC) - entry.started
        if entry.tag in states:
            known = states[entry.tag]
            usage |= {"job_id": known.job.job_id, "job_state": known.state, "job_reason": known.reason}
        shown.append(Running(entry=entry, state=state, elapsed_s=elapsed.total_seconds(), **usage))
    return shown


def chosen(repo: Repo, word: str) -> Entry:
    """Return the entry of the running experiment that `word` means; a name counts among running ones only.

    Raises as `find` does, or NotStopped for one that has ended, runs on another host or is another user's.
    """
    found = {entry.tag: entry for entry in registry.entries(repo) if not entry.is_abandoned}
    try:
        entry = found[find(word, found)]
    except ExperimentUnknown:
        try:
            tag = find(word, _known_tags(repo))
        except ExperimentAmbiguous:
            tag = word
        raise NotStopped(f"{tag} does not run here; 'experimenter ps' shows what does") from None
    if not entry.is_ours:
        raise NotStopped(f"{entry.tag} belongs to another user, who alone can stop it")
    if entry.is_elsewhere:
        raise NotStopped(f"{entry.tag} runs on {entry.pid_file.host}, and can be stopped only there")
    return entry


def located(repo: Repo, word: str) -> str:
    """Return the tag that `word` means: of one that runs, else of one that ended, with or without a tag left.

    Raises as `find` does.
    """
    try:
        return find(word, [entry.tag for entry in registry.entries(repo)])
    except ExperimentUnknown:
        return find(word, _known_tags(repo))


def wait(repo: Repo, word: str, *, meanwhile: Callable[[], None] = lambda: None) -> int:
    """Return the exit status of an experiment's command, as soon as the experiment has ended.

    `meanwhile` is called again and again. `word` is read as by `located`. Raises StatusUnknown if no status is left:
    the experiment was killed, or was a block of a script.
    """
    tag = located(repo, word)
    while registry.is_alive(repo, tag):
        meanwhile()
        time.sleep(_LOOK_AGAIN_S)
    status = (ending_of(repo, tag) or {}).get("exit_code")
    if status is None and (experiment := store.find(repo, tag)):
        status = experiment.record.get("exit_code")
        if not experiment.is_finished:
            raise StatusUnknown(f"{tag} does not run here; its record says that it is {experiment.status}")
    if not isinstance(status, int):
        raise StatusUnknown(f"{tag} has ended, but no exit status of it is known")
    return status


def _known_tags(repo: Repo) -> list[str]:
    alive = [entry.tag for entry in registry.entries(repo)]
    submitted = [job.tag for job in jobs.alive(StateFolder.of(repo))]  # whose tag may just have gone
    return list(dict.fromkeys([*store.tags(repo), *ended_tags(repo), *alive, *submitted]))


def _waiting(repo: Repo, job: Job) -> Entry:
    """Return an entry for an experiment that waits for a cluster, and has none of its own."""
    experiment = store.find(repo, job.tag)
    words = experiment.record.command if experiment else ()
    return leftovers.entry_of_nobody(StateFolder.of(repo), job.tag, words=words, sweep=job.sweep)


def _state(entry: Entry) -> str:
    """Return what an entry's own files say of it and, on this host, whether its wrapper still lives."""
    if entry.is_stopping:
        return "stopping"
    return "running" if entry.is_elsewhere or entry.wrapper_is_alive else "orphaned"
