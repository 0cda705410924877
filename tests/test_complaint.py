"""Sharing where something is broken: a tag without its objects costs itself alone, and a hook is told from the network."""

import json
import re
from pathlib import Path

import pytest

from conftest import experimenter, hook, sh, tags, until
from experimenter import names

GONE = "1" * 40
LATER = "_20260101T000000.000001Z"


@pytest.fixture
def team(repo: Path, tmp_path: Path) -> Path:
    """A bare repository that is the origin of the one we are in; it has nothing but its branch."""
    bare = tmp_path / "team.git"
    sh(f"git init -q --bare -b main {bare}; git remote add origin {bare}; git push -q origin main")
    return bare


def forge(name: str, commit: str, place: Path) -> str:
    """Give a repository the tag of an experiment that ended, on whatever object; return the tag."""
    tag = f"exp_{name}{LATER}"
    record = json.dumps({"schema": 1, "name": name, "parameters": {}, "status": "completed", "command": ["x"]})
    text = f"object {commit}\ntype commit\ntag {tag}\ntagger a <a@b> 1 +0000\n\n{record}\n"
    (place / "forged").write_text(text)
    sh(f"git hash-object -t tag -w --literally forged > refs/tags/{tag}; rm forged", cwd=place)
    return tag


def break_tags(place: Path) -> list[str]:
    """Give a repository a tag on a commit that is not there, one whose object is garbage, and one without an object."""
    without_commit = forge("x", GONE, place)
    garbage = forge("y", sh("git rev-parse main", cwd=place).strip(), place)
    object_ = sh(f"git rev-parse {garbage}", cwd=place).strip()
    sh(f"echo garbage > g; mv -f g objects/{object_[:2]}/{object_[2:]}", cwd=place)
    (place / f"refs/tags/exp_z{LATER}").write_text("2" * 40 + "\n")
    return [without_commit, garbage, f"exp_z{LATER}"]


@pytest.mark.parametrize("count", [1, 60], ids=["few, named", "many, by a pattern"])
def test_a_broken_tag_on_the_remote_costs_itself_alone(team: Path, count: int) -> None:
    commit = sh("git rev-parse main").strip()
    whole = [forge(f"ok{number}", commit, team) for number in range(count)]
    broken = break_tags(team)
    done = experimenter("pull", "--json")

    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert sorted(found["tags"]) == sorted(tags()) == sorted(whole)
    assert sorted(found["refused"]) == broken
    for tag in broken:
        assert re.search(f"^Error: {tag}: .*git push origin :refs/tags/{tag}$", done.stderr, re.MULTILINE), done.stderr
    assert "tried" not in done.stderr


def test_a_broken_tag_on_the_remote_of_one_that_is_unfinished_here_is_named(team: Path) -> None:
    tag = forge("x", GONE, team)
    forge("x", sh("git rev-parse main").strip(), Path(".git"))
    sh(f"git cat-file tag {tag} | sed s/completed/running/ | git mktag > .git/refs/tags/{tag}")
    done = experimenter("pull", "--json")

    assert (done.returncode, list(json.loads(done.stdout)["refused"])) == (1, [tag])


def test_a_broken_tag_here_costs_itself_alone(team: Path) -> None:
    experimenter("run", "-n", "ok", "--", "true")
    tag = forge("x", GONE, Path(".git"))
    done = experimenter("push", "--json")

    found = json.loads(done.stdout)
    assert (done.returncode, [names.name_of(one) for one in found["tags"]], list(found["refused"])) == (
        1,
        ["ok"],
        [tag],
    )
    assert re.search(f"^Error: {tag}: .*{GONE}.*git tag -d {tag}$", done.stderr, re.MULTILINE), done.stderr
    assert sh("git tag", cwd=team).split() == found["tags"]
    assert [experimenter(*words).returncode for words in (["list"], ["-c", "HEAD"], ["run", "--", "true"])] == [0, 0, 0]


class TestPrePushHook:
    SAYS = 'echo "mypy....Failed"; echo "connection refused, cannot read x" >&2; exit 1'

    def test_one_that_refuses_is_shown_with_what_it_said(self, team: Path) -> None:
        hook(Path(".git"), "pre-push", f"echo >> tries; {self.SAYS}")
        sh("echo tries >> .git/info/exclude")
        itself = experimenter("run", "--push", "--", "true")
        Path("tries").unlink()
        done = experimenter("push")

        what = "cannot push to origin: the pre-push hook .git/hooks/pre-push refused it; it says\n"
        said = what + "  mypy....Failed\n  connection refused, cannot read x\n"
        assert (done.returncode, done.stderr) == (1, f"Error: {said}")
        assert Path("tries").read_text() == "\n"  # it was tried once
        assert itself.returncode == 0
        assert itself.stderr.endswith(f"'experimenter push' sends it later: {said}"), itself.stderr

    def test_one_in_a_folder_of_hooks_that_says_nothing_is_named(self, team: Path) -> None:
        hook(Path(), "pre-push", "exit 1")
        sh("git config core.hooksPath hooks")
        experimenter("run", "--", "true")

        assert "the pre-push hook hooks/pre-push refused it, and said nothing" in experimenter("push").stderr

    def test_one_that_is_slow_is_named_and_ended_with_its_children(self, team: Path) -> None:
        slow = "for word in setsid env; do $word sh -c 'echo $$ >> ../children; exec sleep 1000' & done; wait"
        hook(Path(".git"), "pre-push", f"echo checking; {slow}")
        sh("git config experimenter.pushTimeout 4")
        done = experimenter("run", "--push", "--", "true")

        assert done.returncode == 0
        assert "pre-push took longer than git config experimenter.pushTimeout allows, and was ended" in done.stderr
        assert done.stderr.endswith("\n  checking\n")
        children = Path("../children").read_text().split()
        assert len(children) == 2
        for pid in children:
            until(lambda pid=pid: not is_alive(pid), what="the end of a child")  # type: ignore[misc]


def is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
