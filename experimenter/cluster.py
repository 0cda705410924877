"""Looks after jobs on a cluster: what Slurm says of them, their cancelling, and what the lost ones have left."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from experimenter import jobs, leftovers, logs, names, registry, share, slurm, store, sweeps
from experimenter.entry import Phase, Share
from experimenter.errors import ExperimenterError, NotBroughtBack, NotStopped, RefMoved
from experimenter.find import find
from experimenter.jobs import Job, JobState
from experimenter.plumbing import Repo, config, delete_ref, update_ref
from experimenter.plumbing.transfer import Patience
from experimenter.remote import Remote
from experimenter.running import wait
from experimenter.settings import Settings
from experimenter.settle import settle_entry
from experimenter.state import StateFolder, ending_of, write_ending

_log = logging.getLogger("experimenter")
_LOOK_AGAIN_S = 0.5
_ENDING_S = 120.0  # for Slurm to end what it was told to: its KillWait, and what it takes to notice
_DEAF = "takes its code from a remote, and can't be told to keep its tag; submit with --keep, or stop without it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """How a job ended that was cancelled."""

    tag: str
    is_kept: bool

    @property
    def id(self) -> str:
        """The experiment's id."""
        return names.id_of(self.tag)

    def to_json(self) -> dict[str, Any]:
        """Return what `stop --json` prints of it."""
        return {"tag": self.tag, "id": self.id, "is_kept": self.is_kept, "killed_after_s": None}


def job_states(repo: Repo) -> dict[str, JobState]:
    """Return each experiment that waits for a cluster, or runs on it, by its tag."""
    alive = jobs.alive(StateFolder.of(repo))
    known = (slurm.states_and_reasons() or {}) if alive else {}
    found = {}
    for job in alive:
        state, reason = known.get(job.job_id, ("UNKNOWN", ""))
        why = reason if slurm.is_waiting(state) and reason != "None" else None
        found[job.tag] = JobState(job=job, state=state, reason=why)
    return found


def settle_jobs(repo: Repo) -> None:
    """Settle experiments whose jobs are gone, as they were cancelled or lost; tell what was done. Nothing is raised."""
    state = StateFolder.of(repo)
    jobs.drop_ended(state)
    alive = jobs.alive(state)
    known = slurm.states() if alive else None
    if known is None:
        return
    here = slurm.cluster()
    for job in alive:
        if job.cluster not in ("", here):  # of another cluster, which shares our file system
            continue
        try:
            if (not job.job_id and _find_again(job, alive)) or slurm.is_alive(known.get(job.job_id)):
                continue
            with leftovers.locked(state):
                if job.is_there:
                    _settle(repo, job)
        except (ExperimenterError, OSError) as error:
            _warn_once(f"{job.tag} was left behind by the job {job.job_id}, and could not be settled: {error}")


@cache
def _warn_once(message: str) -> None:
    """Tell a warning, though who waits looks again and again."""
    _log.warning("%s", message)


def _find_again(job: Job, others: Sequence[Job]) -> bool:
    """Say whether a job whose id was not noted may be alive: who submitted it is just at it, or was killed."""
    if job.is_being_submitted:
        return True
    if job_id := slurm.job_named(job.sweep or job.tag, but={one.array_id for one in others}):
        jobs.save_job_id(job.folder, job_id, slurm.cluster())
    return bool(job_id)


def named(repo: Repo, word: str) -> list[Job]:
    """Return the jobs that a word means: of one experiment, or of the sweep with that id; none if it means no job."""
    alive = jobs.alive(StateFolder.of(repo))
    of_sweep = [job for job in alive if job.sweep and len(word) >= 4 and job.sweep.startswith(word)]
    if of_sweep:
        return of_sweep
    by_tag = {job.tag: job for job in alive}
    try:
        return [by_tag[find(word, list(by_tag))]]
    except ExperimenterError:
        return []


def cancel(repo: Repo, chosen: Sequence[Job], *, grace_s: float | None, keep: bool) -> Iterator[Cancelled | NotStopped]:
    """Cancel jobs; yield how each ended, as soon as Slurm says so and its experiment is settled.

    The grace, and whether the tag is kept, are those of the submission unless they are given. What runs is asked with
    SIGTERM, and after the grace cancelled for good. To `keep` what runs on a node that shares nothing with us has to be
    said at its submission: else comes NotStopped.
    """
    specs = {job.tag: jobs.spec(job.folder) for job in chosen}
    known = slurm.states() or {}
    problems = {job.tag: problem for job in chosen if (problem := _problem(job, known, keep=keep))}
    yield from (NotStopped(f"{tag} {problem}") for tag, problem in problems.items())
    chosen = [job for job in chosen if job.tag not in problems]
    kept = {tag for tag, spec in specs.items() if keep or spec.get("keep")}
    if grace_s is None:
        grace_s = max((float(spec.get("grace_s", 0)) for spec in specs.values()), default=0.0)
    _ask_to_end(repo, chosen, kept, known)
    started_s = time.monotonic()
    pending, was_cancelled = list(chosen), False
    while pending:
        elapsed_s = time.monotonic() - started_s
        if elapsed_s >= grace_s and not was_cancelled:
            was_cancelled = True
            slurm.cancel([job.job_id for job in pending])
        if elapsed_s >= grace_s + _ENDING_S:
            yield from (NotStopped(f"{job.tag}: Slurm does not end the job {job.job_id}") for job in pending)
            return
        answer = slurm.states()
        known = {job.job_id: "RUNNING" for job in pending} if answer is None else answer
        for job in [job for job in pending if not slurm.is_alive(known.get(job.job_id))]:
            pending.remove(job)
            try:
                yield _outcome(repo, job, keep=job.tag in kept)
            except (ExperimenterError, OSError) as error:
                yield NotStopped(f"the job of {job.tag} was cancelled, but not settled: {error}")
        if pending:
            time.sleep(_LOOK_AGAIN_S)


def _problem(job: Job, known: Mapping[str, str], *, keep: bool) -> str:
    """Return why a job cannot be stopped as asked, if it cannot."""
    if not job.job_id:
        return "is just being submitted; try again"
    is_deaf = keep and job.remote is not None and not jobs.spec(job.folder).get("keep")
    return _DEAF if is_deaf and not slurm.is_waiting(known.get(job.job_id)) else ""


def _ask_to_end(repo: Repo, chosen: Sequence[Job], kept: Collection[str], known: Mapping[str, str]) -> None:
    """Send SIGTERM to jobs that run, and cancel those that wait, whose states are `known`."""
    running, waiting = list[str](), list[str]()
    for job in chosen:
        entry = registry.entry_of(repo, job.tag)
        if entry:
            entry.claim(Phase.STOPPING_KEPT if job.tag in kept else Phase.STOPPING)
        has_begun = (entry is not None or job.remote) and not slurm.is_waiting(known.get(job.job_id))
        (running if has_begun else waiting).append(job.job_id)
    slurm.cancel(running, signal_name="TERM")
    slurm.cancel(waiting)


def _outcome(repo: Repo, job: Job, *, keep: bool) -> Cancelled:
    with leftovers.locked(StateFolder.of(repo)):
        if job.is_there:
            _settle(repo, job, keep=keep, status="stopped")
    return Cancelled(tag=job.tag, is_kept=store.find(repo, job.tag) is not None)


def _settle(repo: Repo, job: Job, *, keep: bool = False, status: str = "interrupted") -> None:
    """Finish or remove what a job has left that is gone; the caller holds the lock."""
    # Whose end is known has said the rest itself, if it was not killed before that.
    only_slurms = ending_of(repo, job.tag) is not None
    logs.add_output_of_job(repo, job.tag, job.folder, job.job_id, only_slurms=only_slurms)
    settings = Settings.from_config(config(repo))
    if entry := registry.entry_of(repo, job.tag):
        settle_entry(repo, entry, settings)
        if entry.exists:  # its command has outlived the job
            return
    ended = slurm.ending_of(job.job_id) if job.remote and not entry else None
    if job.remote and not entry:
        _tell_where(repo, job, ended)
        _fetch_ending(repo, job, is_kept=_is_on_node(ended))
    experiment = store.find(repo, job.tag)
    is_lost = experiment is not None and not experiment.is_finished
    if is_lost and ended and _is_on_node(ended):
        said = "the result of %s was not taken by %s; %s says how to send it"
        _log.warning(said, job.tag, job.remote, ended.output)
    elif experiment and is_lost:
        experiment = _give_up(repo, job, experiment, settings, keep=keep, status=status)
    if is_lost or not ending_of(repo, job.tag):
        state = StateFolder.of(repo)
        known = experiment.record if experiment else _ended_there(ended, status)
        ending = {"tag": job.tag, "status": known.get("status"), "exit_code": known.get("exit_code")}
        write_ending(state, job.id, {**ending, "is_kept": experiment is not None})
    if not entry:
        _note_fate(repo, job)
    job.forget()


def _give_up(
    repo: Repo, job: Job, experiment: store.Experiment, settings: Settings, *, keep: bool, status: str
) -> store.Experiment | None:
    """Finish or remove the tag of one that nobody runs any more, also where it was pushed; return what is left."""
    if keep:
        return store.update(repo, experiment, experiment.record.with_(status=status))
    store.delete(repo, experiment)
    if status == "interrupted":
        _log.info("the job %s of %s was cancelled or lost; the tag was removed", job.job_id, job.tag)
    if Share(job.share).is_pushed:
        share.withdraw(repo, job.tag, settings)
    return None


def _is_on_node(ended: slurm.Ended | None) -> bool:
    return ended is not None and ended.exit_code == NotBroughtBack.exit_status


def _tell_where(repo: Repo, job: Job, ended: slurm.Ended | None) -> None:
    """Tell, in place of the log, where the output of one is that ran where it shares nothing with us."""
    if ended:
        with StateFolder.of(repo).log(job.id).open("a") as log:
            log.write(f"experimenter: the output of the job {job.job_id} is {ended.output}\n")


def _note_fate(repo: Repo, job: Job) -> None:
    """Tell who works on the sweep here what became of a cell, unless it is still to be run."""
    fate = (ending_of(repo, job.tag) or {}).get("status")
    if fate in ("completed", "failed", "stopped"):
        sweeps.note(StateFolder.of(repo), job.sweep, job.cell, fate)


def _ended_there(ended: slurm.Ended | None, status: str) -> Mapping[str, Any]:
    """Return how one ended that left no tag: on a node that shares nothing with us Slurm alone knows it."""
    exit_code = ended.exit_code if ended else None
    return {"status": "failed" if exit_code and status == "interrupted" else status, "exit_code": exit_code}


def _fetch_ending(repo: Repo, job: Job, *, is_kept: bool) -> None:
    """Bring the tag as the node has pushed it; if it has removed it, remove it here, too.

    One that nobody will finish goes there, unless it `is_kept` for the node to finish it.
    """
    assert job.remote
    remote = Remote.of(repo, job.remote, Patience())
    ours = store.tag_objects(repo).get(job.tag)
    theirs = remote.look().tags.get(job.tag)
    try:
        if ours and theirs and theirs != ours:
            remote.records({job.tag: theirs})
            update_ref(repo, store.ref(job.tag), new=theirs, old=ours)
        elif ours and not theirs:
            delete_ref(repo, store.ref(job.tag), old=ours)
    except RefMoved as error:
        _log.warning("%s", error)
    left = store.find(repo, job.tag)
    if theirs and left and not left.is_finished and not is_kept:  # nobody is there to say what became of it
        try:
            remote.delete([left])
        except ExperimenterError as error:
            _log.warning("%s stays on %s: %s", job.tag, remote, error)


def wait_for(repo: Repo, tag: str) -> int:
    """Return the exit status of a command that runs in a job, as soon as its experiment has ended."""
    return wait(repo, tag, meanwhile=while_waiting(repo, tag))


def while_waiting(repo: Repo, word: str) -> Callable[[], None]:
    """Return what is to be called again and again while somebody waits for a job: it settles one that is lost."""
    if not named(repo, word):
        return lambda: None
    last_s = [time.monotonic()]

    def look() -> None:
        if time.monotonic() - last_s[0] >= 2:
            last_s[0] = time.monotonic()
            settle_jobs(repo)

    return look
