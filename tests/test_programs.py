"""Program files that a command names and no tag has."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import experimenter, make_repo, record, sh, tags, until

BLOCK = """
from experimenter import ExperimentLogger
with ExperimentLogger(name="t", parameters={}) as e: e.record_results({"acc": 1})
"""


@pytest.fixture
def other(repo: Path) -> Path:
    """A folder beside the repository with programs in it."""
    other = repo.parent / "A"
    (other / "package").mkdir(parents=True)
    (other / "package/__main__.py").write_text("")
    for name in ("train.py", "job.sh", "plain", "data.csv", "odd name.py"):
        (other / name).write_text("")
    (other / "run").write_text("#!/bin/sh\ntrue\n")
    (other / "run").chmod(0o755)
    (other / "binary").write_bytes(Path("/bin/true").read_bytes())
    (other / "binary").chmod(0o755)
    sh(f"mkdir inside; echo > inside/own.py; ln -s {other}/train.py linked.py; ln -s {repo}/inside {other}/back")
    return other


def warnings(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "outside the repository" in line]


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("python ../A/train.py", "../A/train.py"),
        ("python -u -W ignore ../A/train.py --lr 1", "../A/train.py"),
        ("python -- ../A/plain", "../A/plain"),
        ("python ../A/package", "../A/package"),
        ("python linked.py", "linked.py"),
        ("bash ../A/plain", "../A/plain"),
        ("sh -eu ../A/plain", "../A/plain"),
        ("env X=1 python ../A/train.py", "../A/train.py"),
        ("env X=1 python ../A/plain", "../A/plain"),
        ("env ../A/run", "../A/run"),
        ("../A/run", "../A/run"),
        ("true launch ../A/train.py", "../A/train.py"),
        ("true --script=../A/train.py", "../A/train.py"),
        ("true inside/own.py ../A/job.sh", "../A/job.sh"),
        ("sh -c 'true; python ../A/train.py --lr 1'", "../A/train.py"),
        ("sh -ec '. ../A/job.sh'", "../A/job.sh"),
        ("python '../A/odd name.py'", "../A/odd name.py"),
    ],
)
def test_a_program_outside_is_warned_of_once(repo: Path, other: Path, command: str, named: str) -> None:
    done = experimenter("run", "--", *shlex.split(command))

    assert done.returncode == 0, done.stderr
    assert warnings(done) == [f"Warning: {named} lies outside the repository; its code is not in the tag"]


@pytest.mark.parametrize(
    "command",
    [
        "python train.py", "python inside/own.py", "python ../A/back/own.py", "true ../A/data.csv", "cat ../A/plain",
        "../A/binary", "true ../A/package", "true ../A/missing.py", "true ../A/train.py/x", "/bin/true /dev/null",
        "python -m json.tool --help", "python -c 0 ../A/data.csv", "sh -c true ../A/data.csv",
        f"python {os.__file__}", f"python {pytest.__file__}", f"{sys.executable} train.py", "experimenter --version",
        f"{Path(sys.executable).parent}/experimenter --version",
    ],
)  # fmt: skip
def test_nothing_else_is(repo: Path, other: Path, command: str) -> None:
    Path("train.py").write_text("")
    done = experimenter("run", "--", *shlex.split(command))

    assert warnings(done) == []


def test_several_are_named_in_one_warning(repo: Path, other: Path) -> None:
    done = experimenter("run", "--", "python", "../A/train.py", "../A/job.sh", f"{other}/train.py", "linked.py")

    assert done.stderr.splitlines()[:3] == [
        "Warning: these files lie outside the repository; their code is not in the tag",
        "  ../A/train.py",
        "  ../A/job.sh",
    ]
    assert len(done.stderr.splitlines()) == 4


def test_words_are_seen_from_where_the_command_runs(repo: Path, other: Path) -> None:
    done = experimenter("run", "--", "python", "../../A/train.py", cwd=repo / "inside")

    assert len(warnings(done)) == 1


def test_a_linked_work_tree_is_another_place(repo: Path) -> None:
    sh("git worktree add -q ../tree; echo > ../tree/train.py")

    assert len(warnings(experimenter("run", "--", "python", "../tree/train.py"))) == 1


def test_a_sweep_warns_once_and_not_for_each_cell(repo: Path, other: Path) -> None:
    done = experimenter("sweep", "-j", "2", "-p", "seed=range(3)", "--", "python", "../A/train.py")

    assert len(warnings(done)) == 1


def test_so_does_a_rerun_here_and_a_run_in_the_background(repo: Path, other: Path) -> None:
    command = ("python", "../A/train.py")
    experimenter("run", "-n", "a", "--", *command)
    behind = experimenter("run", "-d", "-n", "b", "--", *command)
    until(lambda: len(tags()) == 2 and record(tags()[1])["status"] == "completed")

    assert len(warnings(behind)) == 1
    assert len(warnings(experimenter("rerun", "a", "--here"))) == 1


class TestBlocks:
    def test_a_script_outside_is_warned_of_once(self, repo: Path, other: Path) -> None:
        (other / "train.py").write_text(BLOCK * 3)
        done = subprocess.run([sys.executable, "../A/train.py"], capture_output=True, text=True)

        assert done.stderr == "Warning: ../A/train.py lies outside the repository; its code is not in the tag\n"
        assert len(tags()) == 3

    @pytest.mark.parametrize("words", ["inside/own.py", "-m inside.own", "../A/back/own.py"])
    def test_one_inside_is_not(self, repo: Path, other: Path, words: str) -> None:
        Path("inside/own.py").write_text(BLOCK)
        done = subprocess.run([sys.executable, *words.split()], capture_output=True, text=True)

        assert (done.returncode, done.stderr) == (0, "")

    def test_a_module_and_a_script_that_went_elsewhere_are(self, repo: Path, other: Path) -> None:
        (other / "train.py").write_text(f"import os; os.chdir({str(repo)!r}){BLOCK}")
        found = [
            subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=other).stderr
            for words in (["train.py"], ["-m", "train"])
        ]

        assert found == [f"Warning: {other}/train.py lies outside the repository; its code is not in the tag\n"] * 2

    def test_a_block_of_another_directory_is(self, repo: Path, tmp_path: Path) -> None:
        elsewhere = make_repo(tmp_path / "B")
        (repo / "train.py").write_text(BLOCK.replace('"t"', f'"t", directory={str(elsewhere)!r}'))
        done = subprocess.run([sys.executable, "train.py"], capture_output=True, text=True)

        assert done.stderr == "Warning: train.py lies outside the repository; its code is not in the tag\n"

    def test_under_a_run_the_run_alone_warns(self, repo: Path, other: Path) -> None:
        (other / "train.py").write_text(BLOCK)
        done = experimenter("run", "--", "python", "../A/train.py")

        assert len(warnings(done)) == 1

    def test_outside_of_any_repository_the_error_names_the_way_out(self, other: Path, tmp_path: Path) -> None:
        (tmp_path / "scratch").mkdir()
        (other / "train.py").write_text(BLOCK)
        done = subprocess.run(
            [sys.executable, "../A/train.py"], capture_output=True, text=True, cwd=tmp_path / "scratch"
        )

        assert re.search(r"scratch is in no git repository; .*ExperimentLogger\(…, directory=…\)$", done.stderr.strip())
