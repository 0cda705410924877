"""The output of experiments, while they run and afterwards."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from experimenter import names, registry, sweeps
from experimenter.errors import LogMissing
from experimenter.jobs import job_of
from experimenter.plumbing import Repo
from experimenter.state import StateFolder, ending_of
from experimenter.text import visible

_CHUNK_BYTES = 256 * 1024
_LOOK_AGAIN_S = 0.1
_TAIL_BYTES = 16 * 1024


def read(repo: Repo, tag: str, *, follow: bool, meanwhile: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """Yield the output of an experiment in pieces; with `follow` until it has ended. Raises LogMissing.

    `meanwhile` is called again and again. An empty piece says that this is all for now.
    """

    def is_alive() -> bool:
        meanwhile()
        return registry.is_alive(repo, tag)

    path = StateFolder.of(repo).log(names.id_of(tag))
    while follow and not path.exists() and is_alive():  # it is storing its code
        time.sleep(_LOOK_AGAIN_S)
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise LogMissing(f"{tag} has no log; {_reason(repo, tag)}") from error
    return _pieces(file, is_alive if follow else lambda: False)


def read_sweep(repo: Repo, sweep: str, *, follow: bool) -> Iterator[bytes]:
    """Yield what a sweep in the background has to say, as `read` does. Raises LogMissing."""
    try:
        file = StateFolder.of(repo).log(sweep).open("rb")
    except FileNotFoundError as error:
        raise LogMissing(
            f"the sweep {sweep} has no log of its own, but its cells have; only one with -d has"
        ) from error
    return _pieces(file, partial(sweeps.goes_on, repo, sweep) if follow else lambda: False)


def _pieces(file: BinaryIO, is_alive: Callable[[], bool]) -> Iterator[bytes]:
    with file:
        while True:
            is_last = not is_alive()  # before the look that is then the last one
            while piece := file.read(_CHUNK_BYTES):
                yield piece
            yield b""
            if is_last:
                return
            time.sleep(_LOOK_AGAIN_S)


def tail(repo: Repo, tag: str, count: int) -> list[str]:
    """Return the last lines that an experiment has put out, as one can show them; none where there is no log."""
    try:
        with StateFolder.of(repo).log(names.id_of(tag)).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = b"".join(collapsed([file.read()], redraws=False))
    except OSError:
        return []
    return [visible(line.decode(errors="replace")) for line in text.splitlines()[-count:]]


def add_output_of_job(repo: Repo, tag: str, folder: Path, job_id: str, *, only_slurms: bool) -> bool:
    """Add to an experiment's log what its job has put out beside it into `folder`; say whether there is anything.

    With `only_slurms` what we ourselves said there is left out. What the log has among its last lines stays once.
    """
    output = b"".join(file.read_bytes()[-_TAIL_BYTES:] for file in sorted(folder.glob(f"{job_id}_*.out")))
    lines = [visible(line.rstrip("\r")) for line in output.decode(errors="replace").removesuffix("\n").split("\n")]
    said = [line for line in lines if output and (not only_slurms or line.startswith("slurmstepd"))]
    known = tail(repo, tag, _TAIL_BYTES)  # each line takes a byte
    if new := [f"{line}\n" for line in said if line not in known]:
        with StateFolder.of(repo).log(names.id_of(tag)).open("a", encoding="utf-8") as log:
            log.writelines(new)
    return bool(said)


def collapsed(pieces: Iterable[bytes], *, redraws: bool) -> Iterator[bytes]:
    """Yield output with progress bars, which draw over their own line by carriage returns, in their last state.

    A line that has not ended yet comes when the output ends. With `redraws`, for a terminal that is looked at, it comes
    whenever there is no more for now, and is drawn over later.
    """
    line = drawn = b""
    rest: list[bytes] = []  # of a line that goes on over many pieces
    for piece in pieces:
        rest.append(piece)
        if piece and b"\n" not in piece and b"\r" not in piece:
            continue
        *complete, line = b"".join(rest).split(b"\n")
        line = _last_state(line)
        rest = [line]
        lines = b"".join(_last_state(one).rstrip(b"\r") + b"\n" for one in complete)
        shown = line.rstrip(b"\r")
        redrawn = redraws and not piece and shown != drawn
        if lines or redrawn:
            erased = b"\r\x1b[K" if drawn else b""
            drawn = shown if redrawn else b""
            yield erased + lines + drawn
        yield b""
    line = _last_state(b"".join(rest)).rstrip(b"\r")
    if line and line != drawn:
        yield line


def _last_state(line: bytes) -> bytes:
    """Return what was drawn last; a carriage return at its end, behind which more may come, stays."""
    drawn = line.rstrip(b"\r")
    return drawn.rpartition(b"\r")[2] + line[len(drawn) :][:1]


def _reason(repo: Repo, tag: str) -> str:
    entry = registry.entry_of(repo, tag)
    if entry and entry.pid_file.command == entry.pid_file.wrapper:
        return "what a script prints goes where the script's output goes"
    if entry:
        return "its command has not started yet"
    if job := job_of(StateFolder.of(repo), tag):
        return f"its job {job.job_id} has not started yet, or runs where it shares nothing with this repository"
    if (ending_of(repo, tag) or {}).get("status") in ("stopped", "interrupted"):
        return "it ended before its command started"
    return "only 'experimenter run' keeps one, and only the newest stay (git config experimenter.keepLogs)"
