"""`diff` and `verify`: what differs between experiments, and between one and the work tree as it is now."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import EXPERIMENTER, Terminal, experimenter, make_repo, sh, until


@pytest.fixture
def two(repo: Path) -> Path:
    """Two experiments: `b` has another parameter, result and file than `a`, whose code is HEAD."""
    experimenter(
        "run", "-n", "a", "-p", "lr=0.1", "-p", "opt=adam", "--", "echo", 'EXPERIMENTER_RESULTS {"acc": 0.5, "f1": 1}'
    )
    sh("echo two > train.py; echo new > new.py")
    experimenter(
        "run",
        "-n",
        "b",
        "-p",
        "lr=0.2",
        "-p",
        "opt=adam",
        "-p",
        "x.y=1",
        "--",
        "echo",
        'EXPERIMENTER_RESULTS {"acc": 0.75}',
    )
    return repo


def compared(*words: str) -> Any:
    done = experimenter("diff", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def everything(top: Path) -> dict[Path, str]:
    """Return a checksum of each file, the repository's own among them."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in top.rglob("*") if path.is_file()}


@pytest.mark.parametrize("numbers", [("1", "8" + "0" * 307), ("8e307", "8" + "0" * 307), ("-" + "8" * 308, "8" * 308)])
def test_numbers_that_no_float_can_hold_the_difference_of_are_compared(repo: Path, numbers: tuple[str, str]) -> None:
    for name, number in zip("ab", numbers, strict=True):
        line = f'EXPERIMENTER_RESULTS {{"x": {number}, "y": 1.7e308}}'.replace('y": 1', f'y": {"-" * (name == "b")}1')
        assert experimenter("run", "-n", name, "--", "echo", line).returncode == 0

    done = experimenter("diff", "a", "b")
    assert (done.returncode, done.stderr) == (0, "")
    assert "x  " in done.stdout or numbers[0] == "8e307"
    grouped = experimenter("list", "--group-by", "status", "--json")
    assert (grouped.returncode, json.loads(grouped.stdout)[0]["n"]) == (0, 2)
    assert experimenter("list", "--group-by", "status").returncode == 0


def test_two_experiments_are_compared_as_json(two: Path) -> None:
    tags = sh("git tag").split()

    assert compared("a", "b") == {
        "a": tags[0],
        "b": tags[1],
        "code": {"added": ["new.py"], "modified": ["train.py"], "deleted": []},
        "parameters": {"lr": [0.1, 0.2], "x.y": [None, 1]},
        "results": {"acc": [0.5, 0.75], "f1": [1, None]},
    }
    assert compared("b", "a")["code"] == {"added": [], "modified": ["train.py"], "deleted": ["new.py"]}
    assert compared("a", "a") == {
        "a": tags[0], "b": tags[0], "code": {"added": [], "modified": [], "deleted": []}, "parameters": {}, "results": {},
    }  # fmt: skip


def test_one_is_compared_with_the_work_tree_as_it_is_now(two: Path) -> None:
    assert compared("b")["code"] == {"added": [], "modified": [], "deleted": []}
    sh("rm new.py; echo three > train.py; echo 1 > 'odd\nname'; git add train.py")

    found = compared("b")

    assert found["code"] == {"added": ["odd\nname"], "modified": ["train.py"], "deleted": ["new.py"]}
    assert ("b" in found, found["parameters"], found["results"]) == (False, {}, {})


def test_people_see_parameters_results_and_the_diff_of_git(two: Path) -> None:
    shown = experimenter("diff", "a", "b").stdout

    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[3:10] == [
        "PARAMETER a b b - a", "lr 0.1 0.2 +0.1 (+100%)", "x.y - 1", "",
        "RESULT a b b - a", "acc 0.5 0.75 +0.25 (+50%)", "f1 1 -",
    ]  # fmt: skip
    a, b = sh("git tag").split()
    assert shown.endswith("\n\n" + sh(f"git diff {a}^0 {b}^0"))
    assert experimenter("diff", "a", "b", "--stat").stdout.endswith("\n\n" + sh(f"git diff --stat {a}^0 {b}^0"))
    assert experimenter("diff", "a", "a").stdout.endswith("\nthe code is the same\n")


def test_the_diff_with_the_work_tree_has_untracked_files_and_bytes_as_they_are(two: Path) -> None:
    (two / "latin.txt").write_bytes(b"caf\xe9\n")
    (two / "train.py").write_text("three\n")

    shown = experimenter("diff", "b").stdout

    assert "-two\n+three\n" in shown
    assert "+++ b/latin.txt\n@@ -0,0 +1 @@\n+caf\udce9\n" in shown


def test_no_value_hides_another_under_the_same_dotted_key(repo: Path) -> None:
    for name, values in (("a", '{"x.y": 1, "x": {"y": 2}}'), ("b", '{"x.y": 1, "x": {"y": 3}}')):
        experimenter("run", "-n", name, "--", "echo", f"EXPERIMENTER_RESULTS {values}")

    assert json.loads(experimenter("diff", "a", "b", "--json").stdout)["results"] == {"x.`y`": [2, 3]}
    assert experimenter("list", "--csv", "-n", "a").stdout.splitlines()[1].endswith(",1,2")
    assert "x.`y`" in experimenter("show", "a").stdout
    assert experimenter("list", "-n", "a").stdout.splitlines()[0].split()[-3:] == ["x.y", "x.`y`", "CODE"]


def test_on_a_terminal_the_users_colours_and_pager_are_used(
    two: Path, terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> str:
        screen = terminal("env", "GIT_PAGER=", EXPERIMENTER, "diff", "a", "b")
        assert screen.end() == 0
        return screen.screen.decode()

    sh("git config color.diff.new 'blue'; seq 100 > new.py")
    experimenter("run", "-n", "c", "--", "true")
    assert "\x1b[34m+" in shown()
    screen = terminal("env", "GIT_PAGER=sed s/^/paged:/", EXPERIMENTER, "diff", "a", "c")
    screen.end()
    assert b"paged:" in screen.screen
    sh("git config pager.diff 'sed s/^/own:/'")
    screen = terminal("env", "GIT_PAGER=sed s/^/paged:/", EXPERIMENTER, "diff", "a", "c")
    screen.end()
    assert b"own:" in screen.screen and b"paged:" not in screen.screen
    screen = terminal("env", "GIT_PAGER=sed s/^/paged:/", EXPERIMENTER, "diff", "a", "a")
    screen.end()
    assert b"own:a " in screen.screen  # however short it is, as git does
    sh("git config pager.diff false; git config color.diff false")
    screen = terminal("env", "GIT_PAGER=sed s/^/paged:/", EXPERIMENTER, "diff", "a", "c")
    screen.end()
    assert b"paged:" not in screen.screen and b"\x1b[34m" not in screen.screen
    sh("git config --unset color.diff")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in shown()


@pytest.mark.parametrize("words", [["diff", "a"], ["diff", "a", "b"], ["verify", "a"], ["verify", "b"], ["show", "a"]])
def test_nothing_is_stored_or_changed(two: Path, words: list[str]) -> None:
    sh("echo unstored > other.txt; echo three > train.py; echo secret > .env; git add other.txt")
    before = everything(two)

    experimenter(*words)

    assert everything(two) == before


def test_verify_tells_whether_the_work_tree_is_the_code(two: Path) -> None:
    done = experimenter("verify", "b")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"the work tree is the code of exp_b_\S+\n", done.stdout)

    sh("echo three > train.py; rm new.py; echo > '\x1b[2Jodd'")
    done = experimenter("verify", "b")

    assert (done.returncode, done.stderr) == (1, "")
    heading, *paths = done.stdout.splitlines()
    assert re.fullmatch(r"the work tree is not the code of exp_b_\S+; since then:", heading)
    assert paths == [r"  added     \x1b[2Jodd", "  modified  train.py", "  deleted   new.py"]


def test_verify_answers_in_json_too(two: Path) -> None:
    assert json.loads(experimenter("verify", "b", "--json").stdout)["is_equal"] is True
    done = experimenter("verify", "a", "--json")

    tag = sh("git tag").split()[0]
    code = {"added": ["new.py"], "modified": ["train.py"], "deleted": []}
    assert done.returncode == 1
    assert {**json.loads(done.stdout), "id": ""} == {"tag": tag, "id": "", "is_equal": False, "code": code}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("chmod +x train.py", {"modified": ["train.py"]}),
        ("rm train.py; ln -s other train.py", {"modified": ["train.py"]}),
        ("git update-index --assume-unchanged train.py; echo x > train.py", {"modified": ["train.py"]}),
        ("git update-index --skip-worktree train.py; echo x > train.py", {"modified": ["train.py"]}),
        ("git mv train.py moved.py", {"added": ["moved.py"], "deleted": ["train.py"]}),
        ("git commit -qm more --allow-empty; git stash -q; git checkout -q --detach", {}),
        ("touch train.py; git rm -q --cached train.py", {}),
        ("mkdir nested; git -C nested init -q; echo > nested/file", {"added": ["nested/file"]}),
        ("head -c 60000000 /dev/zero > large; echo > .env", {"added": [".env", "large"]}),
    ],
)  # fmt: skip
def test_every_change_of_the_work_tree_is_seen(repo: Path, change: str, expected: dict[str, list[str]]) -> None:
    experimenter("run", "-n", "a", "--", "true")
    sh(change)

    assert compared("a")["code"] == {"added": [], "modified": [], "deleted": [], **expected}
    assert experimenter("verify", "a").returncode == (1 if expected else 0)


def test_a_clean_filter_and_a_submodule_count_as_git_stores_them(repo: Path, tmp_path: Path) -> None:
    make_repo(tmp_path / "sub")
    sh(f"git -c protocol.file.allow=always submodule --quiet add {tmp_path}/sub sub; git commit -qm sub")
    sh("git config filter.up.clean 'tr a-z A-Z'; echo '*.txt filter=up' > .gitattributes; echo low > a.txt")
    experimenter("run", "-n", "a", "--", "true")
    assert experimenter("verify", "a").returncode == 0
    sh("echo LOW > a.txt")
    assert experimenter("verify", "a").returncode == 0
    sh("echo changed > a.txt; echo dirty > sub/train.py")

    assert compared("a")["code"] == {"added": ["sub/train.py"], "modified": ["a.txt"], "deleted": ["sub"]}
    assert "+CHANGED\n" in experimenter("diff", "a").stdout


def test_a_submodule_that_has_moved_is_seen_whatever_git_ignores(repo: Path, tmp_path: Path) -> None:
    make_repo(tmp_path / "sub")
    sh(f"git -c protocol.file.allow=always submodule --quiet add {tmp_path}/sub sub; git commit -qm sub")
    experimenter("run", "-n", "a", "--", "true")
    sh(
        "git -C sub -c user.name=a -c user.email=a@b commit -q --allow-empty -m more; git config diff.ignoreSubmodules all"
    )
    experimenter("run", "-n", "b", "--", "true")

    for words in (["a"], ["a", "b"]):
        assert compared(*words)["code"]["modified"] == ["sub"]
        assert "+Subproject commit" in experimenter("diff", *words).stdout


def test_git_notes_nothing_of_what_it_converted_for_a_diff(two: Path) -> None:
    sh("git config diff.up.textconv 'tr a-z A-Z <'; git config diff.up.cachetextconv true")
    sh("echo '*.py diff=up' > .gitattributes; echo three > train.py")

    assert "+THREE\n" in experimenter("diff", "b").stdout
    assert sh("git for-each-ref refs/notes; git gc --quiet 2>&1") == ""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_diff_leaves_no_copy_of_the_users_files(repo: Path, tmp_path: Path, signum: int) -> None:
    experimenter("run", "-n", "a", "--", "true")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    sh(
        "git config filter.slow.clean 'touch ../filtering; sleep 100'; echo '*.txt filter=slow' > .gitattributes; echo > a.txt; echo secret > .env"
    )
    process = subprocess.Popen([EXPERIMENTER, "diff", "a"], env={**os.environ, "TMPDIR": str(scratch)}, process_group=0)
    until(lambda: (tmp_path / "filtering").exists(), what="the clean filter")
    assert list(scratch.iterdir())
    process.send_signal(signum)

    assert process.wait(timeout=20) == -signum
    assert list(scratch.iterdir()) == []
    os.killpg(process.pid, signal.SIGKILL)  # the filter, which git leaves behind


def test_a_repository_with_an_odd_path_is_compared(repo: Path, tmp_path: Path) -> None:
    experimenter("run", "-n", "a", "--", "true")
    odd = tmp_path / 'odd: "path"\\ é'
    shutil.copytree(repo, odd)
    (odd / "train.py").write_text("two\n")

    done = experimenter("diff", "a", cwd=odd)

    assert (done.returncode, "+two\n" in done.stdout) == (0, True), done.stderr
