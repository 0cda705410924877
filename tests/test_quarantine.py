"""What is stored goes aside first: nothing of it stays where a run fails, or is killed."""

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from conftest import EXPERIMENTER, experimenter, fill, make_repo, record, sh, tags, until


def stored(top: Path) -> set[Path]:
    return {path for path in (top / ".git/objects").rglob("*") if path.is_file()}


def left(top: Path) -> list[Path]:
    return [
        path
        for path in (top / ".git").rglob("*")
        if path.name.startswith(("tmp_", ".new-")) or path.name.endswith("objects")
    ]


def free(top: Path) -> int:
    disk = os.statvfs(top)
    return disk.f_bavail * disk.f_frsize


@pytest.mark.parametrize("size", ["3m", "100k"])
def test_a_full_disk_gets_its_space_back(small_disk: Path, size: str) -> None:
    experimenter("run", "-n", "warm", "--", "true", cwd=small_disk)
    sh(f"head -c {size} /dev/urandom > data; head -c 3m /dev/zero > filler", cwd=small_disk)
    sh("echo filler > .gitignore; git add .gitignore; git commit -qm ignore", cwd=small_disk)
    fill(small_disk / "filler")
    os.truncate(small_disk / "filler", (small_disk / "filler").stat().st_size - 90 * 1024)
    before, space = stored(small_disk), free(small_disk)

    done = experimenter("run", "--", "true", cwd=small_disk)

    assert done.returncode == 125
    assert "No space left on device" in done.stderr
    assert stored(small_disk) == before
    assert free(small_disk) >= space
    assert left(small_disk) == [small_disk / ".git/objects"]


@pytest.mark.parametrize("words", [("run",), ("sweep", "-p", "a=1")])
def test_what_a_killed_run_had_stored_is_removed_by_the_next_command(repo: Path, words: tuple[str, ...]) -> None:
    sh("git config filter.slow.clean 'cat; echo > ~/stored; sleep 60'; echo 'z filter=slow' > .gitattributes")
    sh("head -c 3m /dev/urandom > a; echo 1 > z")
    before = stored(repo)
    running = subprocess.Popen([EXPERIMENTER, *words, "--", "true"], start_new_session=True)
    until(Path(os.environ["HOME"], "stored").exists, what="the first file")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert stored(repo) == before

    sh("git config --unset filter.slow.clean; rm z")
    experimenter("ps")
    experimenter("list")

    assert left(repo) == [repo / ".git/objects"]
    assert tags() == []


def test_a_failing_filter_leaves_no_object(repo: Path) -> None:
    sh("git config filter.no.clean false; git config filter.no.required true; echo 'z filter=no' > .gitattributes")
    sh("echo 1 > a; echo 1 > z")
    before = stored(repo)

    assert experimenter("run", "--", "true").returncode == 125
    assert stored(repo) == before
    assert left(repo) == [repo / ".git/objects"]


@pytest.mark.parametrize("shared", ["group", "all", "0660", "umask"])
def test_objects_have_the_modes_that_git_gives_them(tmp_path: Path, shared: str) -> None:
    ours, gits = (make_repo(tmp_path / name, f"--shared={shared}") for name in ("ours", "gits"))
    for top in (ours, gits):
        sh("for i in 1 2 3 4 5; do echo $i > f$i; done; head -c 2m /dev/zero > big", cwd=top)
    experimenter("run", "--", "true", cwd=ours)
    sh("git -c core.bigFileThreshold=1m add .; git write-tree", cwd=gits)

    def modes(top: Path) -> dict[str, tuple[int, int]]:
        objects = top / ".git/objects"
        return {
            f"{path.parent.name}/{path.suffix if path.parent.name == 'pack' else path.name}": (
                stat.S_IMODE(path.stat().st_mode),
                path.stat().st_gid,
            )
            for path in objects.rglob("*")
        }

    assert modes(gits).items() <= modes(ours).items()


def test_files_of_a_shared_repository_belong_to_its_group(repo: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files to any group")
    sh("git config core.sharedRepository group; chgrp -R 12345 .git; find .git -type d | xargs chmod g+ws")
    sh("echo two > train.py; echo 1 > a")
    before = stored(repo)

    experimenter("run", "--", "true")

    new = stored(repo) - before
    assert {path.stat().st_gid for path in new} == {12345}
    assert {path.parent.stat().st_gid for path in new} == {12345}


def test_runs_on_equal_code_at_once_all_have_it(repo: Path) -> None:
    sh("for i in $(seq 50); do echo $i > f$i; done; head -c 2m /dev/urandom > big")
    running = [subprocess.Popen([EXPERIMENTER, "run", "-n", f"n{number}", "--", "true"]) for number in range(4)]

    assert [one.wait() for one in running] == [0] * 4
    assert len({record(tag)["code"]["commit"] for tag in tags()}) == 1
    assert sh("git fsck --connectivity-only 2>&1 | grep -v dangling || true") == ""


def test_works_where_objects_lie_elsewhere(repo: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    sh(f"git clone -q --shared . {shared}; echo two > {shared}/train.py; echo 1 > {shared}/a")

    done = experimenter("run", "--", "true", cwd=shared)

    assert done.returncode == 0, done.stderr
    assert sh("git fsck 2>&1 | grep -v dangling || true", cwd=shared) == ""


def test_objects_on_another_file_system_are_copied(small_disk: Path, repo: Path) -> None:
    sh(
        f"mv .git/objects {small_disk}/objects; ln -s {small_disk}/objects .git/objects; echo two > train.py; echo 1 > a"
    )

    done = experimenter("run", "--", "true")

    assert done.returncode == 0, done.stderr
    assert sh("git fsck 2>&1 | grep -v dangling || true") == ""
    assert not list((small_disk / "objects").rglob("tmp_*"))
