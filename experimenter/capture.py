"""Captures the code of what begins: the work tree, stored within the user's limits, and remembered."""

from pathlib import Path
from typing import Any

from experimenter import snapshot
from experimenter.arrivals import Remembered
from experimenter.errors import FilesRefused
from experimenter.limits import Limits
from experimenter.patterns import Patterns
from experimenter.plumbing import Repo
from experimenter.settings import Settings


def code_state(repo: Repo, settings: Settings, *, allow_secrets: bool, scratch: Path) -> dict[str, Any]:
    """Store the work tree, within the limits that the user has set, and return what a record says of it.

    What programs seem to have written into it since the last experiment is told, once.
    """
    limits = Limits(
        max_file_size_bytes=settings.max_file_size_bytes,
        allow_secrets=allow_secrets,
        max_new_files=settings.max_new_files,
        max_new_size_bytes=settings.max_new_size_bytes,
    )
    remembered = Remembered.of(repo)
    try:
        code = snapshot.take(repo, limits, scratch=scratch, outputs=Patterns(settings.output))
    except FilesRefused as error:
        raise remembered.explained(error) from error
    remembered.take_over(code)
    return code.to_record()
