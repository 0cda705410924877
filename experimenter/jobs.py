"""Jobs on a cluster: which experiments were submitted in which job, and are still to run or to end."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experimenter import aside, names
from experimenter.fields import BadField, Fields
from experimenter.process import Identity, host
from experimenter.state import StateFolder, remove_tree, translated, write_json

JOB_FILE = "job.json"
_SUBMITTING_S = 3600.0  # in which a submission on another host is expected to end
_JOB_ID = re.compile(r"\w[\w.+]*", re.ASCII)
_OF_EACH: tuple[tuple[str, Callable[[Any], object]], ...] = (
    ("commands", lambda one: isinstance(one, list) and one and all(isinstance(word, str) for word in one)),
    ("parameters", lambda one: isinstance(one, dict)),
)
_specs: dict[Path, Mapping[str, Any]] = {}  # which never change


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One experiment that was submitted: its tag, its job's id, and its submission's folder `jobs/<id>/`.

    While it is alive there is a file in that folder by the experiment's id. A `cell` of a sweep has what tells it from
    all others. `remote` is the remote repository from which the node takes the code, where it does not share ours.
    """

    folder: Path
    tag: str
    job_id: str
    cluster: str
    sweep: str | None
    cell: str | None
    remote: str | None

    @property
    def id(self) -> str:
        """The experiment's id."""
        return names.id_of(self.tag)

    @property
    def share(self) -> Path:
        """The file that says what was asked about the remote while it waits, as in an entry."""
        return self.folder / f"{self.id}.share"

    @property
    def array_id(self) -> str:
        """The id of the whole array that it is in; its own one if it is in none."""
        return self.job_id.partition("_")[0]

    @property
    def is_being_submitted(self) -> bool:
        """Whether who submits it is still at it, as far as that can be seen from here."""
        who = spec(self.folder).get("submitter")
        if not who or who["host"] != host():
            return _age_s(self.folder) < _SUBMITTING_S
        return Identity(pid=who["pid"], start_time=who["start_time"]).is_alive

    @property
    def is_there(self) -> bool:
        """Whether it is still alive."""
        return (self.folder / f"{self.id}.alive").exists()

    def forget(self) -> None:
        """Let it not be alive any more; the last one takes the submission's folder along."""
        (self.folder / f"{self.id}.alive").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another one was the last
            if not _has_alive(self.folder):
                with contextlib.suppress(OSError):  # who waits for a sweep is still to read how far it came
                    os.utime(self.folder.parent.parent / "logs" / f"{self.sweep}.json")
                remove(self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A job's state in Slurm's word, and why it waits, if it does.

    The state is `UNKNOWN` where Slurm does not answer, or does not know the job any more.
    """

    job: Job
    state: str
    reason: str | None


def create(state: StateFolder, id_: str, tags: Sequence[str], **spec: Any) -> Path:
    """Make the folder of a submission of these experiments, and of what their node has to know."""
    folder = state.jobs / id_
    with translated(folder):
        state.make()
        aside.make_own(state.jobs)
        folder.mkdir()
        aside.make_own(folder)
        ourselves = Identity.of(os.getpid())
        submitter = {"host": host(), "pid": ourselves.pid, "start_time": ourselves.start_time}
        for tag in tags:
            (folder / f"{names.id_of(tag)}.alive").touch()
        write_json(folder / "spec.json", {"tags": list(tags), "submitter": submitter, **spec})
    return folder


def save_job_id(folder: Path, job_id: str, cluster: str) -> None:
    """Write down the id that Slurm gave a submission, and on which cluster."""
    with translated(folder):
        write_json(folder / JOB_FILE, {"job_id": job_id, "cluster": cluster})


def spec(folder: Path) -> Mapping[str, Any]:
    """Return what was given to `create`, by now or when it was first asked for.

    Nothing where no such folder is, or its file says something else than `create` writes.
    """
    if folder not in _specs and (fields := Fields.read(folder / "spec.json")) and _is_spec(fields):
        _specs[folder] = fields.values
    return _specs.get(folder, {})


def _is_spec(fields: Fields) -> bool:
    """Say whether each field of a submission is of the type that it is written with."""
    try:
        tags = fields.items("tags", lambda one: isinstance(one, str) and names.is_tag(one))
        if fields.has("submitter"):
            who = fields.inner("submitter")
            who.text("host", is_right=bool), who.pid("pid"), who.number("start_time")
        for key in ("sweep", "remote", "push_to"):
            fields.maybe(fields.text, key)
        for key in ("top", "results_file"):
            fields.maybe(fields.path, key)
        lists = [fields.maybe(fields.texts, "cells"), *(_of_each(fields, *one) for one in _OF_EACH)]
        fields.maybe(fields.texts, "links"), fields.maybe(fields.flag, "keep"), fields.maybe(fields.number, "grace_s")
    except BadField:
        return False
    return bool(tags) and all(len(one) == len(tags) for one in lists if one)


def _of_each(fields: Fields, key: str, is_item: Callable[[Any], object]) -> list[Any]:
    """Return what there is for each experiment of a submission."""
    return fields.items(key, is_item) if fields.has(key) else []


def _job_id_in(folder: Path) -> tuple[str, str]:
    """Return the id that Slurm gave a submission, and on which cluster; both empty until it did."""
    fields = Fields.read(folder / JOB_FILE)
    try:
        return (fields.text("job_id", is_right=_JOB_ID.fullmatch), fields.text("cluster")) if fields else ("", "")
    except BadField:
        return "", ""


def alive(state: StateFolder) -> list[Job]:
    """Return the experiments that were submitted, and have not come to their end as far as anybody here knows."""
    return [job for folder in state.jobs.glob("*") for job in _in(folder)]


def cells(state: StateFolder, sweep: str) -> dict[str, str]:
    """Return the tags of those that are cells of a sweep, by what tells the cells apart."""
    found = (job for folder in state.jobs.glob(f"{sweep}-*") for job in _in(folder))
    return {job.cell: job.tag for job in found if job.cell}


def drop_ended(state: StateFolder) -> None:
    """Remove folders of which nothing is to come any more, as Slurm may have held files in them open."""
    for folder in state.jobs.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # it has just gone
            is_whole = (folder / "spec.json").exists()
            if (is_whole and not _has_alive(folder)) or (not is_whole and _age_s(folder) > _SUBMITTING_S):
                remove(folder)


def remove(folder: Path) -> None:
    """Remove a submission's folder, and that of all submissions if it was the last one."""
    remove_tree(folder)
    with contextlib.suppress(OSError):  # others are left
        folder.parent.rmdir()


def job_of(state: StateFolder, tag: str) -> Job | None:
    """Return the job of an experiment, if it is alive."""
    for file in state.jobs.glob(f"*/{names.id_of(tag)}.alive"):
        tags = spec(file.parent).get("tags", [])
        if tag in tags:
            return _job(file.parent, tags.index(tag), *_job_id_in(file.parent))
    return None


def _in(folder: Path) -> Iterator[Job]:
    try:
        there = {path.name for path in folder.iterdir()}
    except OSError:  # it has just gone
        return
    submitted = _job_id_in(folder)
    for place, tag in enumerate(spec(folder).get("tags", [])):
        if f"{names.id_of(tag)}.alive" in there:
            yield _job(folder, place, *submitted)


def _job(folder: Path, place: int, job_id: str, cluster: str) -> Job:
    found = spec(folder)
    array = f"_{place}" if len(found["tags"]) > 1 else ""
    cells = found.get("cells")
    return Job(
        folder=folder,
        tag=found["tags"][place],
        job_id=job_id and job_id + array,
        cluster=cluster,
        sweep=found.get("sweep"),
        cell=cells[place] if cells else None,
        remote=found.get("remote"),
    )


def _age_s(folder: Path) -> float:
    return time.time() - folder.stat().st_mtime


def _has_alive(folder: Path) -> bool:
    with os.scandir(folder) as files:
        return any(file.name.endswith(".alive") for file in files)
