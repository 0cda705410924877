"""What the user has set for git, and for us in git's configuration."""

import os

from experimenter.plumbing.git import Repo


def config(repo: Repo) -> dict[str, list[str]]:
    """Return `git config experimenter.*` by the option's name in lower case, and what is set for fetches by its key."""
    keys = r"^(experimenter\.|fetch\.prune(tags)?$|remote\..*\.(url|fetch|prune|prunetags)$)"
    words = ["config", "-z", "--get-regexp", keys]
    entries = repo.git(*words, expected=(0, 1)).decode(errors="surrogateescape").split("\0")
    found: dict[str, list[str]] = {}
    for key, newline, value in (entry.partition("\n") for entry in entries if entry):
        found.setdefault(key.removeprefix("experimenter."), []).append(value if newline else "true")
    return found


def config_value(repo: Repo, key: str) -> str:
    """Return what the user has set for a key of git's own; empty if nothing."""
    answer = repo.git("config", "--get", key, expected=(0, 1))
    return answer.decode(errors="surrogateescape").removesuffix("\n")


def pager(repo: Repo, verb: str = "") -> str:
    """Return the user's pager, a shell command, for output like a git verb's; `cat`, or nothing, if they want none."""
    own = config_value(repo, f"pager.{verb}") if verb else ""
    if own.lower() in ("false", "no", "off", "0"):  # the booleans of git-config(1)
        return ""
    is_command = own.lower() not in ("", "true", "yes", "on", "1")
    return own if is_command else os.fsdecode(repo.git("var", "GIT_PAGER").removesuffix(b"\n"))


def wants_colour(repo: Repo, setting: str) -> bool:
    """Say whether the user's git colours its output on a terminal, by `color.diff` and the like."""
    answer = repo.git("config", "--get-colorbool", setting, "true", expected=(0, 1))
    return answer.strip() != b"false"
