"""Files of git-annex in a work tree of ours: their content comes from a hook, which we do not let run.

At a checkout git-annex writes a pointer, or a symlink into its objects. Its post-checkout hook puts the content there
afterwards, and mends what makes such symlinks lead nowhere in a linked work tree.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from experimenter.errors import ExperimenterError, GitFailed
from experimenter.plumbing import Repo
from experimenter.status import lstat
from experimenter.text import counted, from_bytes, visible

_POINTER = b"/annex/objects/"
_LONGEST_POINTER = 32 * 1024  # bytes; what is longer git-annex does not take for one
_IN_OBJECTS = b"annex/objects/"
_ATTEMPTS = 10
_SHOWN_PATHS = 10


def settings() -> list[str]:
    """Return words for a git that checks files out: without git-annex it takes pointers as they are, and goes on."""
    keys = [] if _is_installed() else ["clean", "smudge", "process"]
    return [word for key in keys for word in ("-c", f"filter.annex.{key}=")]


def fill(repo: Repo, index: Path) -> None:
    """Let the files of `index` have their content, as after a checkout with git-annex's hook; none of the user's runs.

    Files whose content is not in this repository stay as they are. Raises ExperimenterError with the others that
    git-annex, which may not be installed, did not fill in.
    """
    left = _left(repo, index, repo.common_dir)
    failure: GitFailed | None = None
    for attempt in range(_ATTEMPTS if left and _is_installed() else 0):
        try:
            if attempt:  # git-annex notes what was checked out, and one that fills another work tree took our notes
                repo.git("checkout-index", "--force", "-z", "--stdin", stdin=b"\0".join(left), index=index)
            repo.git("annex", "smudge", "--update", index=index)
        except GitFailed as error:
            failure = error
            break
        if not (left := _left(repo, index, repo.common_dir)):
            # Else it would look as if these files had been changed since.
            repo.git("update-index", "-q", "--refresh", index=index, expected=(0, 1))
    if left:
        raise _not_filled(left, failure)


def check(repo: Repo, source: Repo) -> None:
    """Raise ExperimenterError with the files in a clone whose content only the repository that it is of has."""
    if left := _left(repo, repo.index, source.common_dir):
        raise _not_filled(left, None, within=source.top)


def _left(repo: Repo, index: Path, common_dir: Path) -> list[bytes]:
    """Return the files that lack a content which is in the annex of `common_dir`."""
    if not (common_dir / "annex").is_dir():
        return []
    wanted = {path: key for path, key in _keys(repo, index) if key}
    present = _objects(common_dir) if wanted else {}
    return [path for path, key in wanted.items() if key in present and os.path.lexists(present[key] / os.fsdecode(key))]


def _keys(repo: Repo, index: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield each file without content with its key in the annex; an empty key for a file that is not one of these."""
    for line in repo.git("ls-files", "-z", "-s", index=index).split(b"\0"):
        path = line.partition(b"\t")[2]
        if line.startswith(b"120"):
            yield path, _key_of_link(os.fsencode(repo.top) + b"/" + path)
        elif line.startswith(b"100"):
            found = lstat(repo, path)
            if found and len(_POINTER) < found.st_size <= _LONGEST_POINTER:
                yield path, _key_of_pointer(os.fsencode(repo.top) + b"/" + path)


def _key_of_link(place: bytes) -> bytes:
    try:
        target = os.readlink(place)  # noqa: PTH115 - a name of any bytes
    except OSError:
        return b""
    is_there = os.path.exists(place)  # noqa: PTH110
    return target.rpartition(b"/")[2] if _IN_OBJECTS in target and not is_there else b""


def _key_of_pointer(place: bytes) -> bytes:
    try:
        with open(place, "rb") as file:  # noqa: PTH123 - a name of any bytes
            line = file.readline(_LONGEST_POINTER)
    except OSError:
        return b""
    return line.strip().removeprefix(_POINTER) if line.startswith(_POINTER) else b""


def _objects(common_dir: Path) -> dict[bytes, Path]:
    """Return where each content of the annex lies, by its key: two folders deep, or one (annex.tune.objecthash1)."""
    objects = common_dir / "annex/objects"
    return {os.fsencode(path.name): path for depth in ("*/*", "*/*/*") for path in objects.glob(depth)}


def _is_installed() -> bool:
    return shutil.which("git-annex") is not None


def _not_filled(left: list[bytes], failure: GitFailed | None, *, within: Path | None = None) -> ExperimenterError:
    paths = [visible(from_bytes(path)) for path in left]
    more = [f"and {len(paths) - _SHOWN_PATHS} more"] if len(paths) > _SHOWN_PATHS else []
    what = f"{counted(len(paths), 'file')} of git-annex would lack the content that is here"
    if within:
        how = f"in the submodule {visible(str(within))} only its own work tree has it; run without --isolated"
    elif not _is_installed():
        how = "install git-annex, or put it on the PATH"
    else:
        how = f"{failure.message if failure else 'git annex smudge --update did not bring it'}; try 'git annex fsck'"
    return ExperimenterError(f"{what}; {how}", details=[*paths[:_SHOWN_PATHS], *more])
