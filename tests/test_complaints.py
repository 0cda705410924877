"""What git cannot read is refused by name, and what else it warns of is told."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import EXPERIMENTER, experimenter, sh, tags, under_modes

DENIED = "Permission denied"


def objects(top: Path) -> list[Path]:
    return sorted(path for path in (top / ".git/objects").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("lock", "named"),
    [
        ("mkdir pkg; echo 1 > pkg/a.py; chmod 311 pkg", ["pkg/"]),
        ("mkdir pkg; echo 1 > pkg/a.py; chmod 000 pkg", ["pkg/"]),
        ("mkdir pkg; echo 1 > pkg/a.py; chmod 644 pkg", ["pkg/.gitignore", "pkg/a.py"]),
        ("mkdir pkg empty; echo 1 > pkg/a.py; chmod 311 pkg empty", ["pkg/", "empty/"]),
        ("mkdir pkg; echo 1 > pkg/a.py; git add pkg; git commit -qm pkg; chmod 000 pkg", ["pkg/", "pkg/a.py"]),
        (
            "mkdir pkg; echo 1 > pkg/a.py; git add pkg; git commit -qm pkg; chmod 644 pkg",
            ["pkg/a.py"],
        ),
        ("chmod 000 train.py", ["train.py"]),
        ("echo 1 > new.py; echo 1 > b; chmod 000 new.py b", ["new.py", "b"]),
        ("echo 1 > 'a b'; chmod 000 'a b'", ["a b"]),
        ("echo x > .gitignore; chmod 000 .gitignore", [".gitignore"]),
        ("mkdir s; echo x > s/f; echo x > s/.gitignore; chmod 000 s/.gitignore", ["s/.gitignore"]),
        ("echo '* text' > .gitattributes; chmod 000 .gitattributes; echo 1 >> train.py", [".gitattributes"]),
        ("chmod 000 .git/info/exclude", [".git/info/exclude"]),
        ("mkdir -p ~/xdg/git; echo x > ~/xdg/git/ignore; chmod 000 ~/xdg/git/ignore", ["xdg/git/ignore"]),
        ("touch ~/mine; chmod 000 ~/mine; git config core.excludesFile ~/mine", ["mine"]),
        ("mkdir ~/d; touch ~/d/x; chmod 000 ~/d; git config core.excludesFile ~/d/x", ["d/x"]),
        ("git init -q n; mkdir n/sub; echo 1 > n/sub/a; chmod 311 n/sub", ["n/sub/"]),
        ("git init -q n; echo 1 > n/a; git -C n add a; chmod 000 n/a", ["n/a"]),
        ("git init -q n; mkdir n/s; echo 1 > n/s/a; git -C n add s; chmod 000 n/s", ["n/s/", "n/s/a"]),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(repo: Path, lock: str, named: list[str]) -> None:
    sh(lock)
    before = objects(repo)

    done = under_modes(EXPERIMENTER, "run", "--", "true")

    first, *lines = done.stderr.splitlines()
    assert done.returncode == 125
    assert first.startswith("Error: git cannot read ")
    assert "chmod" in first
    assert all(any(line.endswith(f"{name} ({DENIED})") for line in lines) for name in named), lines
    assert all(line.startswith("  ") for line in lines)
    assert objects(repo) == before
    assert tags() == []


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["run", "-d", "--", "true"], 125),
        (["sweep", "-p", "a=1,2", "--", "true"], 1),
        (["submit", "--", "true"], 1),
        (["diff", "first"], 1),
        (["diff", "--stat", "first"], 1),
        (["verify", "first"], 1),
    ],
)
def test_every_command_that_looks_at_the_code_refuses_it(repo: Path, words: list[str], status: int) -> None:
    under_modes(EXPERIMENTER, "run", "-n", "first", "--", "true")
    sh("mkdir pkg; echo 1 > pkg/a.py; chmod 311 pkg")

    done = under_modes(EXPERIMENTER, *words)

    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.splitlines()[0].startswith("Error: ")
    assert f"  pkg/ ({DENIED})" in done.stderr.splitlines() or "Slurm" in done.stderr


def test_a_block_of_a_script_refuses_it(repo: Path) -> None:
    sh("mkdir pkg; echo 1 > pkg/a.py; chmod 311 pkg")

    script = "import experimenter\nwith experimenter.ExperimentLogger('x', {}): pass"
    done = under_modes(sys.executable, "-c", script)

    assert "FilesUnreadable" in done.stderr
    assert f"pkg/ ({DENIED})" in done.stderr


def test_what_is_no_code_may_be_unreadable(repo: Path) -> None:
    sh("mkdir __pycache__ ignored; echo ignored > .gitignore; chmod 311 __pycache__ ignored")

    assert under_modes(EXPERIMENTER, "run", "--", "true").returncode == 0


def test_rules_that_may_lie_in_the_home_of_another_user_are_a_warning_once(repo: Path) -> None:
    sh("chmod 000 ~; mkdir a b; echo 1 > a/x; echo 1 > b/y")

    done = under_modes(EXPERIMENTER, "run", "--", "true")

    assert done.returncode == 0
    warnings = [line for line in done.stderr.splitlines() if "git/ignore" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("Warning: git says: unable to access ")


def test_a_path_beyond_what_git_takes_is_refused_by_name(repo: Path) -> None:
    folder = os.open(".", os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=folder)
        folder = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)

    done = experimenter("run", "--", "true")

    assert done.returncode == 125
    assert done.stderr.startswith("Error: git cannot read 1 file or folder; give them other names, or add")
    assert "ddd… (File name too long)" in done.stderr
    sh("rm -r d*")


def test_a_path_that_is_long_from_the_root_alone_is_code(repo: Path) -> None:
    folder, path = os.open(".", os.O_RDONLY), ""
    while len(path) + 201 + 1 < 4096:
        os.mkdir("d" * 200, dir_fd=folder)
        folder = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)
        path += "d" * 200 + "/"
    descriptor = os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
    os.write(descriptor, b"x")

    done = experimenter("run", "--", "true")

    assert done.returncode == 0, done.stderr
    assert f"{path}x" in sh(f"git ls-tree -r --name-only {tags()[0]}").splitlines()
    sh("rm -r d*")


@pytest.mark.parametrize("name", ["git~1", ".GIT/x", ".git /x", "a/.Git/x"])
def test_a_name_that_git_takes_for_its_own_is_refused(repo: Path, name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("x")
    before = objects(repo)

    done = experimenter("run", "--", "true")

    assert done.returncode == 125
    assert f"  {name} (git takes no such path)" in done.stderr.splitlines()
    assert set(objects(repo)) == set(before)


def test_other_warnings_of_git_are_told_once(repo: Path) -> None:
    sh("ln -s train.py .gitattributes; git config filter.odd.clean 'cat; exit 1'; echo '*.x filter=odd' > rules")
    sh("git config core.attributesFile rules; echo 1 > a.x; echo 1 > b.x")

    done = experimenter("run", "-n", "x", "--", "true")

    lines = [line for line in done.stderr.splitlines() if "git says" in line]
    assert done.returncode == 0
    assert any("symbolic links" in line for line in lines)
    assert any("external filter" in line for line in lines)
    assert len(lines) == len(set(lines))
    assert all(line.startswith("Warning: ") for line in lines)


def test_what_a_filter_says_is_not_taken_for_what_git_says(repo: Path) -> None:
    sh(
        "git config filter.odd.clean 'echo \"nothing: Permission denied\" >&2; cat'; echo '*.x filter=odd' > .gitattributes"
    )
    sh("echo 1 > a.x")

    assert experimenter("run", "--", "true").returncode == 0


@pytest.mark.skipif(not Path("/usr/share/locale/de").is_dir() or not shutil.which("locale"), reason="no German here")
def test_git_is_understood_whatever_its_user_speaks(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    if b"de_DE" in subprocess.run(["locale", "-a"], capture_output=True).stdout:
        monkeypatch.setenv("LANG", "de_DE.UTF-8")
    sh("mkdir pkg; echo 1 > pkg/a.py; chmod 311 pkg")

    assert f"  pkg/ ({DENIED})" in under_modes(EXPERIMENTER, "run", "--", "true").stderr.splitlines()
