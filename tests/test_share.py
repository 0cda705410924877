"""Sharing: what is sent and collected over a path, by two who push at once, by itself; and what is refused."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from conftest import EXPERIMENTER, Terminal, detached, experimenter, fake_git, fill, hook, make_repo, sh, until
from experimenter import ExperimentLogger, names
from experimenter.errors import NotShared
from experimenter.plumbing import find_repo
from experimenter.plumbing.transfer import Patience
from experimenter.remote import Remote


@pytest.fixture
def team(repo: Path, tmp_path: Path) -> Path:
    """A bare repository that is the origin of the one we are in; it has nothing yet."""
    bare = tmp_path / "team.git"
    sh(f"git init -q --bare -b main {bare}; git remote add origin {bare}; git push -q origin main")
    return bare


@pytest.fixture
def colleague(team: Path, tmp_path: Path) -> Path:
    """A clone of somebody else's."""
    sh(f"git clone -q {team} {tmp_path}/colleague; git -C {tmp_path}/colleague config user.name other")
    return tmp_path / "colleague"


def run(name: str, *options: str, cwd: Path | None = None) -> str:
    """Run an experiment with a result; return its tag."""
    done = experimenter("run", "-n", name, *options, "--", "echo", 'EXPERIMENTER_RESULTS {"a": 1}', cwd=cwd)
    assert done.returncode == 0, done.stderr
    return sh(f"git tag --list 'exp_{name}_*'", cwd=cwd).split()[-1]


def rewritten(tag: str, change: str, cwd: Path | None = None) -> str:
    """Change the record of a tag by sed; return its new object."""
    sh(f"git cat-file tag {tag} | sed '{change}' | git mktag | xargs git update-ref refs/tags/{tag}", cwd=cwd)
    return object_of(tag, cwd)


def object_of(tag: str, cwd: Path | None = None) -> str:
    return sh(f"git rev-parse refs/tags/{tag}", cwd=cwd).strip()


def tags_in(place: Path) -> list[str]:
    return [names.name_of(tag) for tag in sh("git tag --list 'exp_*'", cwd=place).split()]


@pytest.mark.parametrize("odd", [r"exp_a\302\205b", r"exp_a\342\200\250", r"exp_\342\200\251c", r"exp_\377"])
def test_names_with_odd_characters_hold_up_none_of_many(team: Path, colleague: Path, odd: str) -> None:
    first = run("first")
    for number in range(51):
        tag = f"exp_n{number}_20260101T000000.000000Z"
        sh(f"git cat-file tag {first} | sed 's/^tag .*/tag {tag}/' | git mktag | xargs git update-ref refs/tags/{tag}")
    sh(f"""git tag -a -m x "$(printf '{odd}')"; git push -q origin "$(printf '{odd}')" """)

    pushed = experimenter("push")
    pulled = experimenter("pull", cwd=colleague)

    assert (pushed.returncode, pulled.returncode) == (0, 0), pushed.stderr + pulled.stderr
    assert len(tags_in(colleague)) == 52
    assert experimenter("push", cwd=colleague).returncode == 0


def test_what_is_pushed_is_pulled_by_others_with_its_code(team: Path, colleague: Path) -> None:
    sh("echo edited > train.py")
    tag = run("a", "-p", "lr=0.1")

    pushed = experimenter("push")
    pulled = experimenter("pull", cwd=colleague)

    assert re.fullmatch(r"1 experiment pushed to origin \(with \d new objects, 7 bytes of files\)\n", pushed.stdout)
    assert (pulled.stdout, pulled.stderr) == ("1 experiment pulled from origin\n", "")
    assert object_of(tag, colleague) == object_of(tag)
    assert sh(f"git show {tag}^0:train.py", cwd=colleague) == "edited\n"
    assert experimenter("list", "--json", cwd=colleague).stdout == experimenter("list", "--json").stdout
    assert experimenter("push").stdout == "0 experiments pushed to origin\n"
    assert experimenter("pull", cwd=colleague).stdout == "0 experiments pulled from origin\n"


def test_what_is_not_finished_replaces_nothing(team: Path) -> None:
    tag = run("a")
    experimenter("push")
    finished = object_of(tag)
    rewritten(tag, "s/completed/running/", team)
    pulled = experimenter("pull")
    assert (pulled.returncode, pulled.stdout, object_of(tag)) == (0, "0 experiments pulled from origin\n", finished)

    sh(f"git update-ref refs/tags/{tag} {finished}", cwd=team)
    rewritten(tag, "s/completed/running/")
    assert experimenter("push", "a").stdout == "0 experiments pushed to origin\n"
    assert object_of(tag, team) == finished


def test_what_is_changed_there_meanwhile_is_not_overwritten(team: Path) -> None:
    tag = run("a")
    experimenter("push")
    rewritten(tag, "s/completed/running/", team)
    other = sh(f'git cat-file tag {tag} | sed \'s/"a": 1/"a": 2/\' | git -C {team} mktag').strip()
    hook(Path(".git"), "pre-push", f"git -C {team} update-ref refs/tags/{tag} {other}")
    done = experimenter("push")

    assert (done.returncode, f"Error: {tag}: " in done.stderr, object_of(tag, team)) == (1, True, other)
    assert "finished differently on both sides" in experimenter("push").stderr


def test_a_network_that_comes_back_is_tried_again(team: Path, tmp_path: Path) -> None:
    flaky = tmp_path / "flaky"
    fails = f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -gt 2"
    flaky.write_text(f'#!/bin/sh\n{fails} || {{ echo "Connection reset by peer" >&2; exit 1; }}\nexec "$@"\n')
    flaky.chmod(0o755)
    sh(f"git config protocol.ext.allow always; git remote set-url origin 'ext::{flaky} %S {team}'")
    run("a")
    done = experimenter("push")

    assert (done.returncode, tags_in(team)) == (0, ["a"]), done.stderr


def test_a_pre_push_hook_that_says_no_ends_a_push(team: Path, tmp_path: Path) -> None:
    run("a")
    hook(Path(".git"), "pre-push", f'echo "$1 $2" > {tmp_path}/words; exit 1')
    done = experimenter("push")
    itself = experimenter("run", "--push", "--", "true")

    assert (done.returncode, tags_in(team)) == (1, [])
    assert (tmp_path / "words").read_text() == f"origin {team}\n"
    assert (itself.returncode, "was not pushed" in itself.stderr) == (0, True)


def test_only_experiments_travel_whatever_is_set(team: Path, colleague: Path) -> None:
    run("a")
    sh("git tag -a v1 -m private exp_a_*^0 2>/dev/null || git tag -a v1 -m private $(git tag --list 'exp_a_*')^0")
    sh("git config push.followTags true; git config remote.origin.mirror true; git branch private")
    sh("git config push.default matching; git config push.recurseSubmodules only")
    sh("git config push.pushOption x; git config push.gpgSign true")  # of which this remote takes neither
    before = sh("git for-each-ref refs/heads", cwd=team)

    assert experimenter("push").returncode == 0
    assert (sh("git for-each-ref refs/heads", cwd=team), sh("git tag", cwd=team).split()) == (
        before,
        sh("git tag --list 'exp_*'").split(),
    )


def test_a_push_goes_through_the_program_that_is_set_for_it(team: Path, tmp_path: Path) -> None:
    program = tmp_path / "receive"
    program.write_text(f'#!/bin/sh\necho x >> {tmp_path}/asked\nexec git-receive-pack "$@"\n')
    program.chmod(0o755)
    sh(f"git config remote.origin.receivepack {program}; git config --add remote.origin.receivepack false")
    sh("git config remote.origin.uploadpack false")
    run("a")

    assert experimenter("push").returncode == 0
    assert (tags_in(team), (tmp_path / "asked").read_text().split()) == (["a"], ["x", "x"])
    assert experimenter("pull").returncode == 1


def test_who_may_only_read_is_told_that_there_is_nothing_to_push(team: Path) -> None:
    run("a")
    experimenter("push")
    sh("git config remote.origin.receivepack false")

    assert experimenter("push").stdout == "0 experiments pushed to origin\n"
    run("b")
    assert experimenter("push", "--dry-run").stdout.splitlines()[-1].startswith("1 experiment to push to origin")
    refused = experimenter("push")
    assert (refused.returncode, "cannot push to origin" in refused.stderr) == (1, True)


def test_a_pull_prunes_nothing_whatever_is_set(team: Path, colleague: Path) -> None:
    run("a")
    experimenter("push")
    run("mine", cwd=colleague)
    sh(
        "git config fetch.prune true; git config fetch.pruneTags true; git config remote.origin.tagOpt --tags",
        cwd=colleague,
    )
    sh("git tag v1; git push -q origin v1")
    head = (colleague / ".git/FETCH_HEAD").exists()

    assert experimenter("pull", cwd=colleague).returncode == 0

    assert tags_in(colleague) == ["a", "mine"]
    assert sh("git tag --list v1", cwd=colleague) == ""
    assert (colleague / ".git/FETCH_HEAD").exists() is head


@pytest.mark.parametrize("words", [["--remote", "lab"], []])
def test_the_remote_is_chosen(team: Path, words: list[str]) -> None:
    tag = run("a")
    sh("git remote rename origin lab")
    if not words:
        assert experimenter("push").returncode == 1
        sh("git config experimenter.remote lab")

    assert experimenter("push", *words).stdout.startswith("1 experiment pushed to lab ")
    assert experimenter("push", tag, "--remote", str(team)).stdout == f"0 experiments pushed to {team}\n"


def test_one_that_runs_is_pushed_only_by_name_and_replaced_when_it_has_finished(team: Path, colleague: Path) -> None:
    id_ = detached(
        "-n",
        "a",
        "--",
        "sh",
        "-c",
        "while [ ! -e ../finish ]; do sleep 0.05; done; echo 'EXPERIMENTER_RESULTS {\"a\": 1}'",
    )
    (tag,) = sh("git tag --list 'exp_*'").split()
    assert experimenter("push").stdout == "0 experiments pushed to origin\n"
    assert experimenter("push", id_, "--remote", str(team)).stdout.startswith("1 experiment pushed ")
    experimenter("pull", cwd=colleague)
    Path("../finish").touch()
    experimenter("wait", id_)

    assert experimenter("push").stdout.startswith("1 experiment pushed ")
    assert experimenter("pull", cwd=colleague).stdout == "1 experiment pulled from origin\n"
    assert object_of(tag) == object_of(tag, team) == object_of(tag, colleague)


@pytest.mark.parametrize("status", [0, 1])
def test_a_remote_learns_what_became_of_one_that_was_pushed_while_it_ran(team: Path, status: int) -> None:
    id_ = detached("-n", "a", "--", "sh", "-c", f"while [ ! -e ../finish ]; do sleep 0.05; done; exit {status}")
    (tag,) = sh("git tag --list 'exp_*'").split()
    experimenter("push", id_)
    assert tags_in(team) == ["a"]
    Path("../finish").touch()
    experimenter("wait", id_)

    if status == 0:
        until(lambda: object_of(tag) == object_of(tag, team), what="the finished record")
    else:
        until(lambda: not tags_in(team), what="the removal")


@pytest.mark.parametrize("is_taken", [True, False])
def test_two_finished_records_are_a_conflict_and_the_rest_travels(team: Path, colleague: Path, is_taken: bool) -> None:
    tag = run("a")
    experimenter("push")
    experimenter("pull", cwd=colleague)
    theirs = rewritten(tag, 's/"a": 1/"a": 2/', colleague)
    sh(f"git push -q --force origin refs/tags/{tag}", cwd=colleague)
    run("b")
    sh(f"git push -q origin refs/tags/{run('c', cwd=colleague)}", cwd=colleague)
    ours = object_of(tag)

    pushed = experimenter("push")
    pulled = experimenter("pull")

    assert pulled.stdout == "1 experiment pulled from origin\n"
    assert (pushed.returncode, pushed.stderr) == (pulled.returncode, pulled.stderr) == (1, pushed.stderr)
    first, *ways = pushed.stderr.splitlines()
    assert first == f"Error: {tag}: finished differently on both sides; both stay"
    assert (object_of(tag), object_of(tag, team)) == (ours, theirs)
    assert tags_in(team) == tags_in(Path.cwd()) == ["a", "b", "c"]
    found = json.loads(experimenter("push", "--json").stdout)
    assert (found["conflicts"], found["tags"]) == ([tag], [])
    assert experimenter("push", "b").returncode == 0

    see, take, send = (way.partition(":")[2].strip() for way in ways)
    assert '"a": 2' in sh(see)
    bin_ = Path(EXPERIMENTER).parent
    if is_taken:
        sh(f"PATH={bin_}:$PATH; {take}")
    else:
        sh(send)
    assert object_of(tag) == object_of(tag, team) == (theirs if is_taken else ours)
    assert experimenter("push").returncode == experimenter("pull").returncode == 0


def test_one_that_was_removed_on_one_side_stays_on_the_other(team: Path, colleague: Path) -> None:
    for name in ("a", "b"):
        run(name)
    experimenter("push")
    experimenter("pull", cwd=colleague)
    sh("git tag -d $(git tag --list 'exp_a_*')")
    sh("git tag -d $(git tag --list 'exp_b_*')", cwd=team)

    experimenter("pull")

    assert (tags_in(Path.cwd()), tags_in(team), tags_in(colleague)) == (["a", "b"], ["a"], ["a", "b"])


def test_many_go_together_but_for_those_that_run(team: Path, colleague: Path) -> None:
    tag = run("seed")
    stream = "".join(
        f"create refs/tags/exp_n{number}_20261123T031936.123456Z {object_of(tag)}\n" for number in range(200)
    )
    subprocess.run(["git", "update-ref", "--stdin"], input=stream, text=True, check=True)
    rewritten("exp_n7_20261123T031936.123456Z", "s/completed/running/")

    assert experimenter("push").stdout.startswith("200 experiments pushed to origin (")
    assert "n7" not in tags_in(team) and len(tags_in(team)) == 200
    run("seed2", cwd=colleague)
    assert experimenter("pull", cwd=colleague).stdout == "200 experiments pulled from origin\n"


def test_two_who_push_at_once_lose_nothing(team: Path, colleague: Path) -> None:
    for place in (Path.cwd(), colleague):
        seed = object_of(run("seed", cwd=place), place)
        who = place.name
        stream = "".join(
            f"create refs/tags/exp_{who}{number}_20261123T031936.123456Z {seed}\n" for number in range(200)
        )
        subprocess.run(["git", "update-ref", "--stdin"], input=stream, text=True, check=True, cwd=place)
    both = [
        subprocess.Popen([EXPERIMENTER, "push"], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for place in (Path.cwd(), colleague)
    ]
    said = [process.communicate(timeout=60) for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert len(tags_in(team)) == 402


def test_a_remote_that_refuses_one_takes_the_rest(team: Path) -> None:
    hook(team, "update", "case $1 in *exp_bad_*) printf 'not \\033[31mthis one\\n' >&2; exit 1;; esac")
    said = "not \\x1b[31mthis one"
    bad = run("bad")
    run("good")

    done = experimenter("push")

    assert (done.returncode, tags_in(team)) == (1, ["good"])
    assert done.stderr == f"Note: origin says:\n  {said}\nError: {bad}: [remote rejected] (hook declined)\n"
    kept = experimenter("run", "-n", "bad_", "--push", "--", "true")
    assert (kept.returncode, said in kept.stderr, "sends it later" in kept.stderr) == (0, True, False)


def test_what_is_too_large_is_refused_before_anything_leaves(team: Path) -> None:
    sh(
        "git config experimenter.maxPushSize 1M; head -c 2000000 /dev/urandom > large.bin; head -c 9000 /dev/urandom > small.bin"
    )
    run("a")

    done = experimenter("push")

    assert (done.returncode, tags_in(team)) == (1, [])
    first, *paths = done.stderr.splitlines()
    assert first.startswith(
        "Error: the new files are 1.9 MiB, more than the 1.0 MiB of git config experimenter.maxPushSize"
    )
    assert paths[:2] == ["  1.9 MiB  large.bin", "  8.8 KiB  small.bin"]
    assert "sends it later" not in experimenter("run", "-n", "large", "--push", "--", "true").stderr
    experimenter("rm", "large", "--yes")
    sh("git config experimenter.maxPushSize 10M")
    experimenter("push")
    sh("git config experimenter.maxPushSize 1M; echo > other")
    run("b")
    assert experimenter("push").returncode == 0  # the files are known there from the first one


def test_a_dry_run_lists_and_sends_nothing(team: Path) -> None:
    sh("echo 12345678 > new.txt")
    tag = run("a")

    done = experimenter("push", "--dry-run")

    new = sh(f"git rev-list --objects {tag}^0 --not origin/main").split("\n")[:-1]
    assert done.stdout == f"{tag}\n1 experiment to push to origin (with {len(new)} new objects, 9 bytes of files)\n"
    said = json.loads(experimenter("push", "--dry-run", "--json").stdout)
    assert (said["tags"], said["objects"], said["size_bytes"]) == ([tag], len(new), 9)
    assert tags_in(team) == []


def test_a_failed_one_that_was_kept_travels_as_that(team: Path, colleague: Path) -> None:
    assert experimenter("run", "-n", "bad", "--keep", "--", "sh", "-c", "exit 3").returncode == 3
    experimenter("push")
    experimenter("pull", cwd=colleague)

    (found,) = json.loads(experimenter("list", "--json", cwd=colleague).stdout)
    assert (found["name"], found["status"], found["exit_code"]) == ("bad", "failed", 3)


def test_a_remote_that_goes_away_half_way_costs_a_pull_nothing(team: Path, colleague: Path, tmp_path: Path) -> None:
    sh("head -c 1000000 /dev/urandom > data.bin")
    run("a")
    experimenter("push")
    program = tmp_path / "half"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, subprocess, sys\n"
        "with subprocess.Popen(['git-upload-pack', *sys.argv[1:]], stdout=subprocess.PIPE) as served:\n"
        "    left = 100_000\n"
        "    while left and (piece := served.stdout.read1(left)):\n"
        "        left -= os.write(1, piece)\n"
        "    served.kill()\n"
    )
    program.chmod(0o755)
    sh(f"git config remote.origin.uploadpack {program}", cwd=colleague)
    done = experimenter("pull", cwd=colleague)

    assert (done.returncode, done.stdout, tags_in(colleague)) == (1, "", [])
    assert done.stderr.startswith("Error: cannot fetch from origin (tried 3 times): ")
    sh("git config --unset remote.origin.uploadpack", cwd=colleague)
    assert experimenter("pull", cwd=colleague).stdout == "1 experiment pulled from origin\n"
    sh("git fsck --strict", cwd=colleague)


def test_the_pre_push_hook_runs(team: Path) -> None:
    hook(Path(".git"), "pre-push", "cat >> ../pushed")
    run("a")
    experimenter("push")

    assert "refs/tags/exp_a_" in Path("../pushed").read_text()


class TestByItself:
    @pytest.mark.parametrize("options", [["--push"], ["--push", "origin"], []])
    def test_a_run_pushes_when_asked_or_configured(self, team: Path, options: list[str]) -> None:
        if not options:
            sh("git config experimenter.push true")

        done = experimenter("run", "-n", "a", *options, "--", "true")

        assert (done.returncode, tags_in(team)) == (0, ["a"])
        assert re.search(r"^Note: pushed exp_a_\S+ to origin$", done.stderr, re.MULTILINE)

    def test_a_failed_run_pushes_nothing(self, team: Path) -> None:
        assert experimenter("run", "--push", "--", "false").returncode == 1
        assert tags_in(team) == []

    def test_a_run_in_the_background_pushes_too(self, team: Path) -> None:
        id_ = detached("-n", "a", "--push", "--", "true")
        experimenter("wait", id_)

        until(lambda: tags_in(team) == ["a"], what="the push")

    @pytest.mark.parametrize(
        "url", ["https://me:s3cret@localhost:1/x.git", "/no/such/place", "ssh://me:s3cret@localhost:1/x"]
    )
    def test_what_did_not_go_is_sent_by_the_next_push_and_the_status_stays(self, team: Path, url: str) -> None:
        sh(f"git remote set-url origin '{url}'")
        done = experimenter("run", "-n", "a", "--push", "--", "true")

        assert done.returncode == 0
        assert re.search(
            r"^Warning: exp_a_\S+ was not pushed, 'experimenter push' sends it later: ", done.stderr, re.MULTILINE
        )
        assert "s3cret" not in done.stderr + Path(".git/experimenter").joinpath("logs").name
        sh(f"git remote set-url origin {team}")
        experimenter("push")
        assert tags_in(team) == ["a"]

    def test_a_remote_that_hangs_holds_a_run_no_longer_than_the_bound(self, team: Path) -> None:
        sh(
            "git remote set-url origin ext::'sleep 1000'; git config protocol.ext.allow always; git config experimenter.pushTimeout 1"
        )
        started_s = time.monotonic()

        done = experimenter("run", "-n", "a", "--push", "--", "true")

        assert (done.returncode, time.monotonic() - started_s < 15) == (0, True)
        assert "did not answer in time" in done.stderr

    def test_nor_does_a_history_that_is_long_to_walk(self, team: Path, tmp_path: Path) -> None:
        slow = fake_git(tmp_path / "bin", 'case "$*" in *rev-list*) exec sleep 1000;; *) exec $GIT "$@";; esac')
        sh("git config experimenter.pushTimeout 1")
        started_s = time.monotonic()

        done = experimenter("run", "-n", "a", "--push", "--", "true", env=slow)

        assert (done.returncode, time.monotonic() - started_s < 15) == (0, True)
        assert "git did not find out in time what origin lacks" in done.stderr

    def test_a_block_of_a_script_pushes_when_it_has_finished_or_at_once(self, team: Path) -> None:
        Path("script.py").write_text(
            "import subprocess, sys\n"
            "from experimenter import ExperimentLogger\n"
            "with ExperimentLogger('a', {}, push=True) as experiment:\n"
            "    experiment.record_results({'a': 1})\n"
            "with ExperimentLogger('b', {}) as experiment:\n"
            "    experiment.push()\n"
            "    experiment.record_results({'a': 1})\n"
            "    print(subprocess.run(['git', '-C', sys.argv[1], 'tag'], capture_output=True, text=True).stdout)\n"
        )
        done = subprocess.run([sys.executable, "script.py", str(team)], capture_output=True, text=True)

        assert done.returncode == 0, done.stderr
        assert [names.name_of(tag) for tag in done.stdout.split()] == ["a", "b"]
        for tag in sh("git tag").split():
            assert object_of(tag) == object_of(tag, team)
            assert '"status": "completed"' in sh(f"git cat-file tag {tag}", cwd=team)


SCRIPT_THAT_PUSHES = """
import os, signal, sys
from experimenter import ExperimentLogger

with ExperimentLogger("a", {"lr": 1}, push="push" in sys.argv) as experiment:
    if "now" in sys.argv:
        experiment.push()
    if "results" in sys.argv:
        experiment.record_results({"loss": 1})
    if "raise" in sys.argv:
        raise ValueError
    if "kill" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("runner", [[], [EXPERIMENTER, "run", "-n", "a", "--"]], ids=["alone", "joined"])
@pytest.mark.parametrize(
    ("words", "shared"),
    [
        (["push", "results"], ["completed"]),
        (["now", "results"], ["completed"]),
        (["now", "push", "results"], ["completed"]),
        (["now", "raise"], []),
        (["push", "raise"], []),
    ],
)
def test_a_remote_learns_what_became_of_a_block(
    team: Path, runner: list[str], words: list[str], shared: list[str]
) -> None:
    Path("script.py").write_text(SCRIPT_THAT_PUSHES)
    done = subprocess.run([*runner, sys.executable, "script.py", *words], capture_output=True, text=True)

    assert done.returncode == ("raise" in words), done.stderr
    records = [sh(f"git cat-file tag {tag}", cwd=team) for tag in sh("git tag", cwd=team).split()]
    statuses = [re.findall(r'"status": "(\w+)"', record)[0] for record in records]
    assert statuses == shared
    assert ("Note: removed exp_a_" in done.stderr) == (bool(runner) and words == ["now", "raise"])


def test_a_block_is_pushed_by_configuration_and_a_remote_that_is_gone_changes_nothing(team: Path) -> None:
    Path("script.py").write_text(SCRIPT_THAT_PUSHES)
    sh(f"mv {team} {team}.gone; git config experimenter.push true")
    done = subprocess.run([sys.executable, "script.py", "results"], capture_output=True, text=True)
    assert (done.returncode, "was not pushed" in done.stderr) == (0, True)
    assert len(sh("git tag").split()) == 1

    sh(f"mv {team}.gone {team}")
    subprocess.run([sys.executable, "script.py", "results"], check=True)
    assert tags_in(team) == ["a"]
    assert experimenter("push").stdout.startswith("1 experiment pushed")


def test_what_a_crash_leaves_on_a_remote_is_told(team: Path) -> None:
    Path("script.py").write_text(SCRIPT_THAT_PUSHES)
    subprocess.run([sys.executable, "script.py", "now", "kill"], check=False)
    (tag,) = sh("git tag", cwd=team).split()

    assert (
        f"Warning: {tag} was pushed while it ran; remove it there: git push REMOTE :refs/tags/{tag}"
        in experimenter().stderr
    )


def test_the_same_code_on_two_machines_is_found_under_one_sha(team: Path, colleague: Path) -> None:
    edits = "echo 'print(1)' > train.py; echo new > new.txt; mkdir -p sub; echo > 'sub/größe.txt'"
    for place, zone in ((Path.cwd(), "Asia/Kolkata"), (colleague, "America/New_York")):
        sh(edits, cwd=place)
        env = {"TZ": zone, "GIT_AUTHOR_NAME": zone, "GIT_COMMITTER_EMAIL": f"{zone}@x"}
        assert experimenter("run", "-n", place.name, "--", "true", cwd=place, env=env).returncode == 0
        assert experimenter("push", cwd=place).returncode == 0
    for place in (Path.cwd(), colleague):
        experimenter("pull", cwd=place)
        found = json.loads(experimenter("list", "--json", cwd=place).stdout)
        assert len(found) == 2 and len({one["code"]["commit"] for one in found}) == 1
        assert len(json.loads(experimenter("-c", found[0]["code"]["commit"], "--json", cwd=place).stdout)) == 2


@pytest.mark.parametrize("options", ["--depth 1", "--filter=blob:none --no-checkout"])
def test_a_shallow_or_partial_clone_can_share(team: Path, tmp_path: Path, options: str) -> None:
    sh("echo two > two.txt; git add two.txt; git commit -qm two; git push -q origin main")
    sh("git config uploadpack.allowFilter true", cwd=team)
    sh(f"git clone -q {options} file://{team} {tmp_path}/clone; git -C {tmp_path}/clone checkout -q main")
    run("a", cwd=tmp_path / "clone")

    assert experimenter("push", cwd=tmp_path / "clone").returncode == 0
    assert experimenter("pull").stdout == "1 experiment pulled from origin\n"
    assert experimenter("rerun", "a", "-n", "b").returncode == 0


def test_a_remote_that_lacks_the_branch_gets_its_history_along(repo: Path, tmp_path: Path) -> None:
    empty, fresh = tmp_path / "empty.git", make_repo(tmp_path / "fresh")
    sh(f"git init -q --bare {empty}")
    tag = run("a")
    experimenter("push", "--remote", str(empty))

    assert experimenter("pull", "--remote", str(empty), cwd=fresh).returncode == 0
    assert sh(f"git rev-list {tag}", cwd=fresh) == sh(f"git rev-list {tag}")
    assert sh("git fsck --no-dangling 2>/dev/null", cwd=empty) == ""


def test_progress_is_shown_on_a_terminal_alone(team: Path, colleague: Path, terminal: Callable[..., Terminal]) -> None:
    sh("head -c 300000 /dev/urandom > data.bin")
    run("a")
    screen = terminal(EXPERIMENTER, "push")
    screen.end()

    assert b"Writing objects: 100%" in screen.screen
    screen = terminal(EXPERIMENTER, "-C", str(colleague), "pull")
    screen.end()
    assert b"Compressing objects: 100%" in screen.screen
    run("b")
    assert "objects:" not in experimenter("push").stderr + experimenter("pull", cwd=colleague).stderr


def test_a_full_remote_loses_nothing(repo: Path, small_disk: Path) -> None:
    team = small_disk.parent / "team.git"
    sh(f"git init -q --bare {team}; git remote add origin {team}; git push -q origin main")
    sh("head -c 20000000 /dev/urandom > large.bin")
    tag = run("a")
    fill(small_disk.parent / "filler")
    refused = experimenter("push")
    itself = experimenter("run", "-n", "b", "--push", "--", "true")

    assert (refused.returncode, refused.stdout) == (1, "0 experiments pushed to origin\n")
    assert re.fullmatch(r"Note: origin says:\n  .*No space left on device\n(  .*\n)*Error: \S+: .*\n", refused.stderr)
    assert (itself.returncode, "was not pushed, 'experimenter push' sends it later" in itself.stderr) == (0, True)
    (small_disk.parent / "filler").unlink()
    experimenter("rm", tag, "--yes")
    sh("rm large.bin")
    run("c")
    assert experimenter("push", *[one for one in sh("git tag").split() if "exp_c_" in one]).returncode == 0
    assert tags_in(team) == ["c"]


@pytest.mark.parametrize("refspec", ["+refs/tags/*:refs/tags/*", "+refs/*:refs/*"])
def test_no_fetch_overwrites_what_is_here_whatever_is_set(team: Path, colleague: Path, refspec: str) -> None:
    tag = run("a")
    experimenter("push")
    experimenter("pull", cwd=colleague)
    rewritten(tag, 's/"a": 1/"a": 2/', colleague)
    sh(f"git push -q --force origin refs/tags/{tag}", cwd=colleague)
    ours = object_of(tag)
    sh(f"git config --add remote.origin.fetch '{refspec}'")

    for words in (["push", "--dry-run"], ["push"], ["pull"]):
        assert experimenter(*words).returncode == 1
        assert object_of(tag) == ours


def many(tag: str, count: int) -> None:
    stream = "".join(
        f"create refs/tags/exp_n{number}_20261123T031936.123456Z {object_of(tag)}\n" for number in range(count)
    )
    subprocess.run(["git", "update-ref", "--stdin"], input=stream, text=True, check=True)


def test_what_a_pattern_takes_along_unasked_is_taken_back(team: Path) -> None:
    many(run("seed"), 60)
    found = find_repo(Path.cwd())
    planned = [tag for tag in sh("git tag --list 'exp_n*'").split() if "exp_n7_" not in tag]
    rewritten("exp_n7_20261123T031936.123456Z", "s/completed/running/")  # as if it had begun just now

    assert Remote.of(found, None, Patience()).push_new(planned, leave=[]) == {}
    assert sorted(sh("git tag", cwd=team).split()) == sorted(planned)


def test_tags_that_only_look_alike_stay_where_they_are(team: Path, colleague: Path) -> None:
    many(run("seed"), 60)
    sh("git tag exp_data/v1; git tag exp_notes")
    assert experimenter("push").returncode == 0
    assert sh("git tag --list exp_data/v1 exp_notes", cwd=team) == ""
    sh("git push -q origin exp_data/v1")

    assert experimenter("pull", cwd=colleague).stdout == "61 experiments pulled from origin\n"
    assert sh("git tag --list exp_data/v1", cwd=colleague) == ""
    assert experimenter("pull", cwd=colleague).stdout == "0 experiments pulled from origin\n"


def test_what_is_pushed_elsewhere_is_looked_for_and_removed_there(team: Path, tmp_path: Path) -> None:
    sh(f"git init -q --bare {tmp_path}/fork.git; git remote set-url --push origin {tmp_path}/fork.git")
    run("a")

    assert experimenter("push").stdout.startswith("1 experiment pushed to origin ")
    assert experimenter("push").stdout == "0 experiments pushed to origin\n"
    assert (tags_in(team), tags_in(tmp_path / "fork.git")) == ([], ["a"])
    assert experimenter("rm", "a", "--remote", "--yes").returncode == 0
    assert tags_in(tmp_path / "fork.git") == []


@pytest.mark.parametrize("push", ["", "--push"])
def test_what_is_pushed_to_in_two_places_is_refused(team: Path, push: str) -> None:
    sh(f"git remote set-url --add {push} origin ../x.git; git remote set-url --add {push} origin ../y.git")
    run("a")

    done = experimenter("push")

    assert (done.returncode, tags_in(team)) == (1, [])
    assert re.match(r"Error: origin is pushed to in \d places; name one with --remote\n", done.stderr)


def test_a_word_of_the_command_is_not_taken_for_a_remote(team: Path) -> None:
    done = experimenter("run", "--push", "echo", "hi")

    assert (done.returncode, sh("git tag")) == (125, "")
    assert done.stderr == "Error: there is no remote echo; git remote add echo URL, or give a path\n"


def test_a_path_may_have_any_name(team: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a=b c.git"
    sh(f"git init -q --bare '{odd}'")
    run("a")

    assert experimenter("push", "--remote", "../a=b c.git").returncode == 0
    assert tags_in(odd) == ["a"]


def test_without_a_remote_it_says_what_to_do(repo: Path) -> None:
    run("a")
    for words in (["push"], ["pull"], ["rm", "a", "--remote", "--yes"]):
        done = experimenter(*words)
        assert (done.returncode, done.stderr) == (
            1,
            "Error: there is no remote origin; git remote add origin URL, or --remote R\n",
        )


def test_a_record_there_that_cannot_be_read_is_a_conflict(team: Path) -> None:
    tag = run("a")
    sh(
        f'git cat-file tag {tag} | sed \'s/"schema": 1/"schema": 9/\' | git -C {team} hash-object -t tag -w --stdin > ../newer'
    )
    sh(f"git push -q origin {tag}^0:refs/heads/x; git -C {team} update-ref refs/tags/{tag} $(cat ../newer)")

    assert experimenter("push", "a").returncode == 1
    done = experimenter("run", "-n", "b", "--push", "--", "true")
    assert done.returncode == 0 and "pushed exp_b_" in done.stderr


def test_a_hook_that_leaves_a_process_behind_is_not_waited_for(team: Path) -> None:
    hook(Path(".git"), "pre-push", "sleep 60 &\necho $! > ../child")
    run("a")
    started_s = time.monotonic()

    assert experimenter("push").returncode == 0
    assert time.monotonic() - started_s < 20
    os.kill(int(Path("../child").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_push_and_whatever_speaks_for_it(team: Path, tmp_path: Path, signum: int) -> None:
    hang = tmp_path / "hang"
    hang.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/speaking\nexec sleep 1000\n")
    hang.chmod(0o755)
    sh(f"git remote set-url origin ext::{hang}; git config protocol.ext.allow always")
    tag = run("a")
    process = subprocess.Popen(
        [EXPERIMENTER, "push"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0
    )
    until(lambda: (tmp_path / "speaking").exists() and (tmp_path / "speaking").read_text(), what="the transfer")
    speaking = psutil.Process(int((tmp_path / "speaking").read_text()))
    process.send_signal(signum)

    process.communicate(timeout=20)
    assert process.returncode == -signum
    until(lambda: not speaking.is_running(), what="the end of the transfer")
    assert object_of(tag)


def test_a_signal_during_the_push_of_a_run_leaves_its_status(team: Path, tmp_path: Path) -> None:
    hang = tmp_path / "hang"
    hang.write_text(f"#!/bin/sh\ntouch {tmp_path}/speaking\nexec sleep 1000\n")
    hang.chmod(0o755)
    sh(f"git remote set-url origin ext::{hang}; git config protocol.ext.allow always")
    words = [EXPERIMENTER, "run", "--push", "--", "true"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0)
    until(lambda: (tmp_path / "speaking").exists(), what="the transfer")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)

    assert process.returncode == 0
    assert b"was not pushed, 'experimenter push' sends it later: a signal ended it" in said


def test_a_block_without_results_has_nothing_to_push(team: Path) -> None:
    logger = ExperimentLogger("a", {})
    with pytest.raises(RuntimeError, match="inside of the with block"):
        logger.push()
    with logger:
        pass
    with pytest.raises(NotShared, match="is gone, so that there is nothing to push"):
        logger.push()


def test_a_shallow_clone_that_a_remote_does_not_take_is_told_the_way_out(team: Path, tmp_path: Path) -> None:
    sh("echo two > train.py; git commit -qam two; git push -q origin main")
    sh(f"git clone -q --depth 1 file://{team} {tmp_path}/shallow; git init -q --bare {tmp_path}/empty.git")
    run("a", cwd=tmp_path / "shallow")

    done = experimenter("push", "--remote", f"{tmp_path}/empty.git", cwd=tmp_path / "shallow")

    assert (done.returncode, "'git fetch --unshallow' completes it" in done.stderr) == (1, True)


def test_a_submodule_whose_commit_is_not_here_is_named(team: Path, colleague: Path, tmp_path: Path) -> None:
    make_repo(tmp_path / "library")
    allow = "-c protocol.file.allow=always"
    sh(f"git {allow} submodule --quiet add {tmp_path}/library sub; git commit -qm sub; git push -q origin main")
    sh(f"git pull -q; git {allow} submodule --quiet update --init", cwd=colleague)
    sh("cd sub; echo new > new; git add new; git commit -qm new")
    run("a")
    experimenter("push")
    experimenter("pull", cwd=colleague)

    done = experimenter("checkout", "a", str(tmp_path / "place"), cwd=colleague)

    assert (done.returncode, (tmp_path / "place").exists()) == (1, False)
    assert done.stderr.startswith("Error: the submodule sub here lacks the commit ")


def test_whether_a_block_pushes_is_true_or_false() -> None:
    with pytest.raises(TypeError, match="push is True or False"):
        ExperimentLogger("a", {}, push="lab")  # type: ignore[arg-type]
