"""The one door to git."""

from experimenter.plumbing.complaints import Unread, first_complaint, refuse
from experimenter.plumbing.config import config, config_value, pager, wants_colour
from experimenter.plumbing.git import Repo, find_repo, tree_of, version
from experimenter.plumbing.refs import REF, delete_ref, delete_refs, update_ref

__all__ = [
    "REF", "Repo", "Unread", "config", "config_value", "delete_ref", "delete_refs", "find_repo",
    "first_complaint", "pager", "refuse", "tree_of", "update_ref", "version", "wants_colour",
]  # fmt: skip
