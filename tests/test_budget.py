"""How many new untracked files are let in, and what they cost where they are."""

import os
import subprocess
from pathlib import Path

import pytest

from conftest import experimenter, make_repo, record, sh, tags


def spread(folder: str, count: int, *, size: int = 100, ending: str = ".png") -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Path(folder, f"{number}{ending}").write_bytes(os.urandom(size))


def stored() -> list[Path]:
    return sorted(path for path in Path(".git/objects").rglob("*") if path.is_file())


def refused(*options: str) -> list[str]:
    before = stored()
    done = experimenter("run", *options, "--", "true")
    assert (done.returncode, done.stdout, tags()) == (125, "", [])
    assert stored() == before
    return done.stderr.splitlines()


def test_too_many_new_files_are_refused_with_their_folders_and_lines_to_paste(repo: Path) -> None:
    sh("git config experimenter.maxNewFiles 50; mkdir pkg; echo 1 > pkg/a.py; git add pkg; git commit -qm pkg")
    spread("data/train", 40)
    spread("pkg/more", 15)

    lines = refused()

    assert lines[0].startswith("Error: 55 untracked files, 5.4 KiB, are too many to be stored; ")
    assert [line.strip() for line in lines[1:3]] == ["data/: 40 files, 3.9 KiB", "pkg/more/: 15 files, 1.5 KiB"]
    assert [line.strip() for line in lines[4:]] == [
        "echo '/data/' >> .gitignore",
        "echo '/pkg/more/' >> .gitignore",
        "git config --add experimenter.output 'data/'",
        "git config --add experimenter.output 'pkg/more/'",
        "git config experimenter.maxNewFiles 55",
    ]


@pytest.mark.parametrize("line", [4, 5, 6])
@pytest.mark.parametrize("folder", ["data", "a b", "it's", "-x", "[1]", "back\\slash", "new\nline"])
def test_each_of_the_lines_works_when_pasted(repo: Path, folder: str, line: int) -> None:
    (repo / "sub").mkdir()
    Path(".gitignore").write_text("*.log")  # and no end of a line
    sh("git add .gitignore; git config experimenter.maxNewFiles 10")
    spread(folder, 12)

    told = experimenter("run", "--", "true", cwd=repo / "sub").stderr.splitlines()
    sh(told[line - 1].strip(), cwd=repo / "sub")

    assert experimenter("run", "--", "true", cwd=repo / "sub").returncode == 0
    assert "*.log" in Path(".gitignore").read_text().splitlines()


def test_too_much_in_all_is_refused(repo: Path) -> None:
    sh("git config experimenter.maxNewSize 10k")
    spread("data", 3, size=4000)

    lines = refused()

    assert "data/: 3 files, 11.7 KiB" in lines[1]
    assert lines[-1] == "  git config experimenter.maxNewSize 1G"


def test_files_that_the_repository_has_do_not_count(repo: Path) -> None:
    spread("data", 30)
    Path("data/odd\nname").write_text("odd")
    Path('data/"quoted"').write_text("quoted")
    sh("git add data; git commit -qm data; git rm -rq --cached data; git commit -qm out")
    sh("git config experimenter.maxNewFiles 5")

    assert experimenter("run", "--", "true").returncode == 0
    spread("more", 6)
    assert "more/: 6 files" in experimenter("run", "--", "true").stderr


def test_files_of_nested_repositories_count(repo: Path) -> None:
    make_repo(repo / "nested")
    spread("nested/data", 6)
    sh("git config experimenter.maxNewFiles 5")

    assert "nested/: 6 files" in refused()[1]


def test_tracked_and_declared_files_do_not_count(repo: Path) -> None:
    sh("git config experimenter.maxNewFiles 5; git config experimenter.output out/")
    spread("out", 6)
    spread("data", 6)
    sh("git add data")

    assert experimenter("run", "--", "true").returncode == 0


@pytest.mark.parametrize("words", [("sweep", "-p", "a=1"), ("run", "-d")])
def test_every_start_is_refused(repo: Path, words: tuple[str, ...]) -> None:
    sh("git config experimenter.maxNewFiles 5")
    spread("data", 6)

    assert "too many to be stored" in experimenter(*words, "--", "true").stderr


def test_a_wrong_limit_is_named(repo: Path) -> None:
    sh("git config experimenter.maxNewFiles lots")

    assert "git config experimenter.maxNewFiles: 'lots' is no whole number" in experimenter("run", "--", "true").stderr


@pytest.mark.parametrize("settings", ["true", "git config core.autocrlf true"])
def test_thousands_of_new_files_make_a_pack_and_are_right(repo: Path, settings: str) -> None:
    spread("data", 1200, ending=".bin")
    for number in range(1100):
        Path(f"data/{number}.txt").write_bytes(b"%d\r\n" % number)
    sh(settings)

    experimenter("run", "--", "true")

    loose = [path for path in stored() if path.parent.name not in ("pack", "info")]
    assert len(loose) < 20
    assert len(list(Path(".git/objects/pack").glob("*.pack"))) <= 2
    sh("git -c core.safecrlf=false add -A")
    assert record()["code"]["tree"] == sh("git write-tree").strip()
    assert sh("git fsck 2>&1 | grep -v dangling || true") == ""


def test_few_new_files_stay_loose(repo: Path) -> None:
    spread("data", 5)
    experimenter("run", "--", "true")

    assert list(Path(".git/objects/pack").glob("*")) == []


def test_a_git_that_makes_no_packs_of_its_own_gets_one(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experimenter import quarantine, snapshot
    from experimenter.limits import Limits
    from experimenter.plumbing import find_repo

    monkeypatch.setattr(quarantine, "_BULK_CHECKIN", (99,))
    spread("data", 1200)

    code = snapshot.take(find_repo(repo), Limits(max_file_size_bytes=1000), scratch=repo / ".git/scratch")

    assert len(list(Path(".git/objects/pack").glob("*.pack"))) == 1
    assert subprocess.run(["git", "archive", code.commit], capture_output=True).returncode == 0
