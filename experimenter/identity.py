"""Who the user is to git: the identity that a tag names as its tagger."""

import os
from datetime import UTC, datetime
from functools import cache

from experimenter.errors import GitFailed
from experimenter.plumbing import Repo
from experimenter.process import host


def tagger(repo: Repo) -> str:
    """Return the user's identity and the time, as git has them in an object."""
    user, _, zone = user_and_date(repo).rpartition(" ")
    if "GIT_COMMITTER_DATE" not in os.environ:
        user = f"{user.rpartition(' ')[0]} {int(datetime.now(UTC).timestamp())}"
    return f"{user} {zone}"


@cache
def user_and_date(repo: Repo) -> str:
    """Return the user's identity as git has it in an object, with the time when it was first asked for."""
    try:
        return repo.git("var", "GIT_COMMITTER_IDENT").decode(errors="replace").strip()
    except GitFailed:  # nobody has told git who they are, as in a container
        return f"experimenter <experimenter@{host()}> {int(datetime.now(UTC).timestamp())} +0000"
