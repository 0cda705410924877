"""The one door to git."""

from experimenter.plumbing.config import config, config_value, pager, wants_colour
from experimenter.plumbing.git import (
    REF,
    Repo,
    delete_ref,
    delete_refs,
    find_repo,
    first_complaint,
    tree_of,
    update_ref,
)

__all__ = [
    "REF", "Repo", "config", "config_value", "delete_ref", "delete_refs", "find_repo",
    "first_complaint", "pager", "tree_of", "update_ref", "wants_colour",
]  # fmt: skip
