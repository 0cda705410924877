"""Settings that let a plain `git fetch` delete experiments: who makes or sends one is warned, and told what changes it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import experimenter, sh, tags

WARNING = "Warning: a plain 'git fetch' here deletes experiments that were not pushed"
ALL_TAGS = "+refs/tags/*:refs/tags/*"
HARMFUL = [
    "git config {0} fetch.prune true; git config {0} fetch.pruneTags true",
    "git config {0} fetch.prune yes; git config {0} remote.origin.pruneTags 1",
    "git config {0} remote.origin.prune true; git config {0} fetch.prunetags on",
    "git config {0} --add remote.origin.prune false; git config {0} --add remote.origin.prune true;"
    " git config {0} --add remote.origin.pruneTags false; git config {0} --add remote.origin.pruneTags true",
    f"git config {{0}} fetch.prune true; git config --add remote.origin.fetch '{ALL_TAGS}'",
    "git config {0} fetch.prune true; git config --add remote.origin.fetch 'refs/tags/e*:refs/tags/e*'",
]
HARMLESS = [
    "git config fetch.prune true",
    "git config fetch.pruneTags true",
    "git config fetch.prune true; git config fetch.pruneTags true; git config remote.origin.pruneTags false",
    "git config fetch.prune true; git config fetch.pruneTags true; git config remote.origin.prune no",
    f"git config --add remote.origin.fetch '{ALL_TAGS}'",
    "git config fetch.prune true; git config --add remote.origin.fetch 'refs/tags/*:refs/others/*'",
    "git config fetch.prune true; git config fetch.pruneTags true;"
    " git config --add remote.origin.fetch '^refs/tags/exp_*'",
    "git config remote.gone.prune true; git config remote.gone.pruneTags true",
]


@pytest.fixture
def team(repo: Path, tmp_path: Path) -> Path:
    """A bare repository that is the origin of the one we are in."""
    bare = tmp_path / "team.git"
    sh(f"git init -q --bare -b main {bare}; git remote add origin {bare}; git push -q origin main")
    return bare


@pytest.mark.parametrize("scope", ["--global", "--local"])
@pytest.mark.parametrize("settings", HARMFUL)
def test_the_line_that_is_told_keeps_what_git_would_delete(team: Path, settings: str, scope: str) -> None:
    sh(settings.format(scope))
    warned = experimenter("run", "--", "true")
    sh("git fetch -q")
    deleted = tags()
    assert WARNING in warned.stderr, warned.stderr
    lines = re.findall("^  (git config .*)$", warned.stderr, re.MULTILINE)
    sh("; ".join(lines))
    done = experimenter("run", "--", "true")
    sh("git fetch -q")

    assert (deleted, len(lines)) == ([], 1)
    assert (len(tags()), WARNING in done.stderr) == (1, False)


@pytest.mark.parametrize("settings", HARMLESS)
def test_nothing_is_said_where_git_deletes_none(team: Path, settings: str) -> None:
    sh(settings)
    done = experimenter("run", "--", "true")
    sh("git fetch -q")

    assert (WARNING in done.stderr, len(tags())) == (False, 1)


def test_all_that_makes_or_sends_one_warns_once(team: Path) -> None:
    sh(f"git config fetch.prune true; git config fetch.pruneTags true; git remote add it$ {team}")
    script = (
        "from experimenter import ExperimentLogger\nfor _ in range(2):\n  with ExperimentLogger('x', {}) as e:\n"
        "    e.record_results({'a': 1})"
    )
    commands = [
        ["experimenter", "run", "-d", "--", "true"],
        ["experimenter", "sweep", "-p", "x=1,2", "--", "true"],
        ["experimenter", "push", "--dry-run"],
        [sys.executable, "-c", script],
    ]
    said = [subprocess.run(words, capture_output=True, text=True).stderr for words in commands]

    assert [text.count("a plain 'git fetch' here deletes") for text in said] == [1, 1, 1, 1], said
    lines = "  git config remote.origin.pruneTags false\n  git config 'remote.it$.pruneTags' false\n"
    assert all(lines in text for text in said), said
