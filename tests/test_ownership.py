"""A state folder that another user has made, as root by sudo: who meets it is told whose it is, and what mends that."""

import os
import pwd
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import make_repo, sh
from experimenter.cli.main import show_error
from experimenter.errors import StateUnwritable
from experimenter.state import StateFolder, translated

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
OTHER = 65534


@pytest.fixture
def state() -> Iterator[StateFolder]:
    """The state folder that root has made in another user's repository; meanwhile we are that user."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        git_dir = make_repo(Path(place) / "it's a repo") / ".git"
        sh(f"chown -R {OTHER} {place}")
        found = StateFolder(git_dir / "experimenter")
        found.make()
        os.seteuid(OTHER)
        try:
            yield found
        finally:
            os.seteuid(0)


def test_the_line_that_is_told_mends_it(state: StateFolder) -> None:
    with pytest.raises(StateUnwritable) as caught, translated(state.path):
        state.make()
    line = re.findall("sudo (chown .*)", caught.value.message)[0]
    os.seteuid(0)
    sh(line)
    os.seteuid(OTHER)
    state.make()

    assert f"belongs to {pwd.getpwuid(0).pw_name}" in caught.value.message


def test_what_only_looks_there_tells_so_too(state: StateFolder, capfd: pytest.CaptureFixture[str]) -> None:
    state.drop_strays()
    with pytest.raises(PermissionError) as caught:
        list(state.jobs.iterdir())
    show_error(caught.value)

    assert re.search(r"^Error: \S.*/jobs: it belongs to root.*: sudo chown -R \w+ '/", capfd.readouterr().err)


def test_a_repository_that_is_anothers_whole_keeps_what_else_is_theirs(state: StateFolder) -> None:
    os.seteuid(0)
    os.chown(state.path.parent, 12345, -1)
    os.seteuid(OTHER)
    with pytest.raises(StateUnwritable, match=r"/\.git/experimenter'$"), translated(state.path):
        state.make()
