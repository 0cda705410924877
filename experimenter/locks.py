"""What a git that was killed, or that outlives us, means for a tag: the locks that it left, and that it is at work."""

import time
from datetime import datetime
from pathlib import Path

from experimenter import store
from experimenter.plumbing import REF, Repo
from experimenter.process import any_has_variable, any_works_in
from experimenter.state import place_of

_LOOK_AGAIN_S = 0.05
_AT_WORK_S = 2.0
_OWN_LOCK_S, _PACKED_LOCK_S = 0.5, 10.0  # git holds one for milliseconds, and waits for another's for 10 s


def break_stale_locks(repo: Repo, tag: str, *, since: datetime) -> None:
    """Remove the locks that git left on a tag's ref, and on the packed refs, when it was killed.

    Only for a tag that no living process is at work on. A lock on the packed refs is broken only if it is younger
    than the experiment, stays the same for as long as git itself would wait, and no git lives that works here.
    """
    own, packed = (_lock_of(repo.common_dir / name) for name in (store.ref(tag), "packed-refs"))
    if _stays(own, for_s=_OWN_LOCK_S):
        own.unlink(missing_ok=True)
    stamp = _stamp(packed)
    is_young = stamp is not None and stamp[1] >= since.timestamp() * 1e9
    if is_young and _stays(packed, for_s=_PACKED_LOCK_S) and not any_works_in(_folders(repo), "git"):
        packed.with_suffix(".new").unlink(missing_ok=True)
        packed.unlink(missing_ok=True)


def is_at_work(tag: str) -> bool:
    """Say whether a git that was to change the tag outlives whoever started it; it is given a moment to end."""
    deadline = time.monotonic() + _AT_WORK_S
    while any_has_variable(REF, store.ref(tag)):
        if time.monotonic() > deadline:
            return True
        time.sleep(_LOOK_AGAIN_S)
    return False


def _folders(repo: Repo) -> list[Path]:
    """Return the folders that a git on this repository works in."""
    linked = [place_of(note.parent) for note in repo.common_dir.glob("worktrees/*/gitdir")]
    return [repo.common_dir, repo.top, *linked]


def _stays(lock: Path, *, for_s: float) -> bool:
    """Say whether a lock is there, and stays the same one for so many seconds."""
    first = _stamp(lock)
    deadline = time.monotonic() + for_s
    while first and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_S)
        if _stamp(lock) != first:
            return False
    return first is not None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _lock_of(path: Path) -> Path:
    """Return the file by which git claims another."""
    return path.with_name(path.name + ".lock")
