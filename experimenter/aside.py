"""What is being made lies aside until it is whole, under a name that tells whose it is: of a dead process it goes."""

import os
from pathlib import Path

from experimenter.process import Identity, host

NEW = ".new-"  # begins such a name


def name() -> str:
    """Return a new name for what this process is making."""
    start_time = Identity.of(os.getpid()).start_time
    return f"{NEW}{host()}-{os.getpid()}-{start_time}-{os.urandom(4).hex()}"


def make_unborn(parent: Path) -> Path:
    """Return a new folder that is to be renamed when all is in it; `given_up` finds it should we be killed."""
    unborn = parent / name()
    make_own(unborn)
    return unborn


def make_own(folder: Path) -> None:
    """Make a folder, if it is not there, that we alone may use, whatever the umask takes from us."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_mode & 0o777 != 0o700:
        folder.chmod(0o700)


def given_up(parent: Path) -> list[Path]:
    """Return what lies aside in a folder, and whose process on this host is gone."""
    return [path for path in parent.glob(f"{NEW}*") if _is_given_up(path.name)]


def _is_given_up(name_: str) -> bool:
    try:
        place, pid, start_time, _ = name_.removeprefix(NEW).rsplit("-", 3)
        maker = Identity(pid=int(pid), start_time=float(start_time))
    except ValueError:  # no name of ours
        return False
    return place == host() and not maker.is_alive
