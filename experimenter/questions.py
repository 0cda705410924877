"""What git is asked about all tags at once: by whoever reads them, and ahead by whoever is going to."""

from experimenter import plumbing
from experimenter.names import PREFIX

# To strip the names takes git a quarter of the time.
NAMES = ("for-each-ref", "--format=%(refname)", f"refs/tags/{PREFIX}*")
OBJECTS = ("for-each-ref", "--format=%(objectname) %(refname:strip=2)", f"refs/tags/{PREFIX}*")
COMMITS = ("show-ref", "--dereference", "--tags")


def ask_ahead(*, objects: bool = False, commits: bool = False) -> None:
    """Let git begin to list the names of tags, or their objects, or also what these are on."""
    plumbing.ask_ahead(*(COMMITS if commits else OBJECTS if objects else NAMES))
