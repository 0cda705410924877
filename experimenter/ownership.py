"""Whose a file is: what is to be done where another user, often root, has made a folder of ours."""

import errno
import os
from pathlib import Path

STATE = "experimenter"  # the name of the state folder in a git directory


def way_out(error: OSError, path: Path) -> str:
    """Return why something in the state folder cannot be had, and what to do about it."""
    from shlex import quote  # which few commands need

    if isinstance(error, PermissionError) and (owner := _other_owner(path)) is not None:
        state = next((one for one in (path, *path.parents) if one.name == STATE), path)
        place = state.parent if _owner(state.parent) == os.geteuid() else state  # where objects may be theirs, too
        mine = _name(os.geteuid())
        return (
            f"it belongs to {_name(owner)}, as after a run by sudo; take it: sudo chown -R {mine} {quote(str(place))}"
        )
    if error.errno == errno.EFBIG:
        return f"{error.strerror}; raise the limit of the shell and try again: ulimit -f unlimited"
    return f"{error.strerror}; free or unlock it and try again"


def _other_owner(path: Path) -> int | None:
    """Return whose the first is of a path and the folders that it is in that we can see, if it is not ours."""
    owner = next((found for one in (path, *path.parents) if (found := _owner(one)) is not None), None)
    return owner if owner != os.geteuid() else None


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # as in a container
        return str(uid)
