"""Isolated runs and checkouts where files are kept by git-annex, or by git-lfs: what only a hook or a filter fills in."""

import os
import re
import shutil
from pathlib import Path

import pytest

from conftest import experimenter, hook, record, sh, tags


def needs(program: str) -> pytest.MarkDecorator:
    missing = not shutil.which(program) and "CI" not in os.environ
    return pytest.mark.skipif(missing, reason=f"not installed: {program}")


@pytest.fixture
def annexed(repo: Path) -> Path:
    """A repository with an unlocked file, one without its content, and a locked one, as git-annex calls them."""
    sh(
        "git annex init -q; git config annex.addunlocked true; mkdir data; echo 1,2,3 > 'data/a b.csv'; echo x > data/gone"
    )
    sh(
        "touch -d @1700000000 train.py data/*; git annex add -q data; git annex drop -q --force data/gone; git config annex.addunlocked false"
    )
    sh("echo locked > data/locked; git annex add -q data/locked; git commit -qm data; git status")
    return repo


CAT = "cat 'data/a b.csv' data/locked; git status --porcelain; git describe --always --dirty"


@needs("git-annex")
class TestAnnex:
    def test_files_have_their_content(self, annexed: Path) -> None:
        hook(annexed / ".git", "post-checkout", "touch $HOME/ran")
        here = experimenter("run", "--", "sh", "-c", CAT).stdout
        for _ in range(2):
            assert experimenter("run", "--isolated", "--", "sh", "-c", CAT).stdout == here
        assert here.startswith("1,2,3\nlocked\n")
        assert not any("drift" in record(tag) for tag in tags())
        assert not Path(os.environ["HOME"], "ran").exists()
        assert sh("git status --porcelain; git worktree list | wc -l") == "1\n"

    def test_a_file_whose_content_is_not_here_stays_a_pointer(self, annexed: Path) -> None:
        done = experimenter("run", "--isolated", "--", "cat", "data/gone")

        assert (done.returncode, done.stdout) == (0, Path("data/gone").read_text())
        assert done.stdout.startswith("/annex/objects/")

    def test_where_all_files_are_locked(self, repo: Path) -> None:
        sh("git annex init -q; echo locked > locked; git annex add -q locked; git commit -qm locked")

        assert experimenter("run", "--isolated", "--", "cat", "locked").stdout == "locked\n"

    def test_an_edited_file_is_that_of_its_experiment_later_too(self, annexed: Path, tmp_path: Path) -> None:
        sh("echo 4,5,6 > 'data/a b.csv'")
        experimenter("run", "-n", "a", "--", "true")
        sh("git checkout -q data")
        again = experimenter("rerun", "a", "-n", "b", "--", "sh", "-c", CAT)
        done = experimenter("checkout", "a", str(tmp_path / "out"))

        assert done.returncode == 0, done.stderr
        assert again.stdout.startswith('4,5,6\nlocked\n M "data/a b.csv"\n')
        assert sh("cat data/*; git status --porcelain", cwd=tmp_path / "out").endswith('locked\n M "data/a b.csv"\n')
        assert (tmp_path / "out/data/a b.csv").read_text() == "4,5,6\n"
        assert Path("data/a b.csv").read_text() == "1,2,3\n"

    def test_cells_that_share_work_trees_and_fill_them_at_once(self, annexed: Path, tmp_path: Path) -> None:
        script = f"cat 'data/a b.csv' >> {tmp_path}/seen; cat data/locked; echo mine > 'data/a b.csv'"
        words = ["--isolated", "-j", "4", "-p", "x=range(8)", "--", "sh", "-c", script]
        done = experimenter("sweep", *words)

        assert done.returncode == 0, done.stderr
        assert (tmp_path / "seen").read_text() == 8 * "1,2,3\n"
        assert Path("data/a b.csv").read_text() == "1,2,3\n"

    @pytest.mark.parametrize("words", [["run", "--isolated", "--", "true"], ["checkout", "a", "../out"]])
    def test_without_git_annex_it_is_refused_by_the_names_of_the_files(
        self, annexed: Path, tmp_path: Path, words: list[str]
    ) -> None:
        experimenter("run", "-n", "a", "--", "true")
        before = sh("git tag; git worktree list")
        done = experimenter(*words, env={"PATH": without(tmp_path / "bin", "git-annex")})

        assert done.returncode in (1, 125)
        first, *paths = done.stderr.splitlines()
        assert re.search("^Error: 2 files of git-annex .* here; install git-annex, or put it on the PATH$", first)
        assert paths == ["  data/a b.csv", "  data/locked"]
        assert (sh("git tag; git worktree list"), (tmp_path / "out").exists()) == (before, False)

    def test_a_repository_without_its_files_needs_no_git_annex(self, repo: Path, tmp_path: Path) -> None:
        sh("git annex init -q; touch -d @1700000000 train.py; git status")  # else git asks the filter, not the clock
        done = experimenter(
            "run", "--isolated", "--", "cat", "train.py", env={"PATH": without(tmp_path / "b", "git-annex")}
        )

        assert (done.returncode, done.stdout) == (0, "one\n"), done.stderr

    def test_content_that_a_submodule_alone_has_is_named(self, repo: Path, tmp_path: Path) -> None:
        sh(
            f"git init -q {tmp_path}/sub; cd {tmp_path}/sub; git annex init -q; echo x > deep; git annex add -q deep; git commit -qm x"
        )
        sh(f"git submodule --quiet add {tmp_path}/sub sub; git commit -qm sub; cd sub; git annex get -q deep")
        done = experimenter("run", "--isolated", "--", "true")

        assert done.returncode == 125
        assert re.search(r"^Error: 1 file of git-annex .* run without --isolated\n  deep\n$", done.stderr)
        assert tags() == []


@needs("git-lfs")
def test_files_of_git_lfs_have_their_content(repo: Path) -> None:
    sh(
        "git lfs install --local; git lfs track '*.bin'; echo big > big.bin; git add .; git commit -qm big; echo new > new.bin"
    )
    done = experimenter("run", "-n", "a", "--isolated", "--", "sh", "-c", "cat *.bin; git status --porcelain")

    assert done.stdout == "big\nnew\n?? new.bin\n"
    assert sh(f"git cat-file -p {tags()[0]}:new.bin").startswith("version https://git-lfs")
    assert "drift" not in record()
    assert experimenter("rerun", "a", "--", "cat", "new.bin").stdout == "new\n"


def without(folder: Path, program: str) -> str:
    """Return a PATH that has all programs of ours but one."""
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for path in Path(place).glob("*"):
            (folder / path.name).unlink(missing_ok=True)
            (folder / path.name).symlink_to(path.absolute())
    (folder / program).unlink()
    return str(folder)
