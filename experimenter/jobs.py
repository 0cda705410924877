"""Jobs on a cluster: which experiments were submitted in which job, and are still to run or to end."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experimenter import names
from experimenter.state import StateFolder, read_object, remove_tree, translated, write_json

JOB_FILE = "job.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One experiment that was submitted: its tag, its job's id, and its submission's folder `jobs/<id>/`.

    While it is alive there is a file in that folder by the experiment's id. `remote` is the remote repository from
    which the node takes the code, where it does not share ours.
    """

    folder: Path
    tag: str
    job_id: str
    cluster: str
    sweep: str | None
    remote: str | None

    @property
    def id(self) -> str:
        """The experiment's id."""
        return names.id_of(self.tag)

    @property
    def is_there(self) -> bool:
        """Whether it is still alive."""
        return (self.folder / f"{self.id}.alive").exists()

    def forget(self) -> None:
        """Let it not be alive any more; the last one takes the submission's folder along."""
        (self.folder / f"{self.id}.alive").unlink(missing_ok=True)
        if not any(self.folder.glob("*.alive")):
            remove(self.folder)


def create(state: StateFolder, id_: str, tags: Sequence[str], **spec: Any) -> Path:
    """Make the folder of a submission of these experiments, and of what their node has to know."""
    folder = state.jobs / id_
    with translated(folder):
        state.make()
        folder.mkdir(parents=True)
        write_json(folder / "spec.json", {"tags": list(tags), **spec})
        for tag in tags:
            (folder / f"{names.id_of(tag)}.alive").touch()
    return folder


def save_job_id(folder: Path, job_id: str, cluster: str) -> None:
    """Write down the id that Slurm gave a submission, and on which cluster."""
    with translated(folder):
        write_json(folder / JOB_FILE, {"job_id": job_id, "cluster": cluster})


def spec(folder: Path) -> Mapping[str, Any]:
    """Return what was given to `create`; nothing of it if the folder has gone."""
    return read_object(folder / "spec.json") or {}


def alive(state: StateFolder) -> list[Job]:
    """Return the experiments that were submitted, and have not come to their end as far as anybody here knows."""
    return [job for folder in state.jobs.glob("*") for job in _in(folder)]


def drop_ended(state: StateFolder) -> None:
    """Remove folders of which nothing is to come any more, as Slurm may have held files in them open."""
    for folder in state.jobs.glob("*"):
        if (folder / "spec.json").exists() and not any(folder.glob("*.alive")):
            remove(folder)


def remove(folder: Path) -> None:
    """Remove a submission's folder, and that of all submissions if it was the last one."""
    remove_tree(folder)
    with contextlib.suppress(OSError):  # others are left
        folder.parent.rmdir()


def job_of(state: StateFolder, tag: str) -> Job | None:
    """Return the job of an experiment, if it is alive."""
    files = state.jobs.glob(f"*/{names.id_of(tag)}.alive")
    return next((job for file in files for job in _in(file.parent) if job.tag == tag), None)


def _in(folder: Path) -> Iterator[Job]:
    found, submitted = spec(folder), read_object(folder / JOB_FILE) or {}
    tags = found.get("tags", [])
    for place, tag in enumerate(tags):
        if (folder / f"{names.id_of(tag)}.alive").exists():
            job_id = str(submitted.get("job_id", ""))
            array = f"_{place}" if len(tags) > 1 else ""
            sweep, remote = found.get("sweep"), found.get("remote")
            cluster = str(submitted.get("cluster", ""))
            yield Job(
                folder=folder, tag=tag, job_id=job_id and job_id + array, cluster=cluster, sweep=sweep, remote=remote
            )
