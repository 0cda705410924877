"""The one door to git."""

from experimenter.plumbing.git import (
    REF,
    Repo,
    config,
    config_value,
    delete_ref,
    delete_refs,
    find_repo,
    pager,
    update_ref,
    wants_colour,
)
from experimenter.plumbing.transfer import Patience, Transfer, transfer

__all__ = [
    "REF", "Patience", "Repo", "Transfer", "config", "config_value", "delete_ref", "delete_refs", "find_repo", "pager",
    "transfer", "update_ref", "wants_colour",
]  # fmt: skip
