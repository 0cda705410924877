"""The note on untracked files that came since the last experiment, with the lines to paste."""

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import experimenter, record, sh, tags
from experimenter.patterns import patterns_for

WRITES = 'd=outputs/$(date +%s%N); mkdir -p "$d/.hydra"; date +%N > "$d/log"; date +%N > "$d/.hydra/config.yaml"'


def run(*words: str, writes: str = "true", options: tuple[str, ...] = ()) -> str:
    done = experimenter("run", *options, *words, "--", "sh", "-c", writes)
    assert done.returncode == 0, done.stderr
    return done.stderr


def lines_to_paste(stderr: str) -> list[str]:
    return [line.strip() for line in stderr.splitlines() if line.startswith("  git config --add experimenter.output ")]


def trees() -> set[str]:
    return {record(tag)["code"]["tree"] for tag in tags()}


def test_says_once_what_came_and_the_pasted_line_makes_the_code_equal_again(repo: Path) -> None:
    first = run(writes=WRITES)
    second = run(writes=WRITES)
    third = run(writes=WRITES)

    assert "came since" not in first
    for told in (second, third):
        assert "Note: 2 untracked files came since the last experiment here" in told
        assert "outputs/ (2)" in told
        assert lines_to_paste(told) == ["git config --add experimenter.output 'outputs/'"]
    sh(lines_to_paste(second)[0])
    fourth = run(writes=WRITES)
    assert "came since" not in fourth
    assert record(tags()[-1])["code"]["tree"] == sh("git rev-parse HEAD^{tree}").strip()


def test_says_nothing_where_more_differs_than_what_came(repo: Path) -> None:
    run(writes="echo 1 > made")
    sh("echo two > train.py")

    assert "came since" not in run(writes="echo 2 > made-2")
    sh("rm made; echo 3 > made-3")
    assert "came since" not in run()
    sh("echo two >> made-2")
    assert "came since" not in run()
    assert "came since" not in run()


def test_a_log_that_was_empty_counts_as_one_that_came(repo: Path) -> None:
    sh("touch run.log")
    run(writes="echo 1 >> run.log")

    assert lines_to_paste(run(writes="echo 2 >> run.log")) == ["git config --add experimenter.output 'run.log'"]
    assert "came since" not in run()


def test_an_empty_file_that_git_tracks_is_a_source_file(repo: Path) -> None:
    sh("touch empty.py; git add empty.py; git commit -qm empty")
    run()
    sh("echo 1 > empty.py")

    assert "came since" not in run()


def test_a_folder_with_code_in_it_is_not_declared(repo: Path) -> None:
    sh("mkdir pkg; echo 1 > pkg/a.py; git add pkg; git commit -qm pkg; mkdir own; echo 1 > own/untracked.py")
    run(
        writes="echo 1 > pkg/model_1.pt; echo 1 > pkg/model_2.pt; echo 1 > own/x; mkdir -p pkg/new/deep; echo 1 > pkg/new/deep/f"
    )

    told = run()

    assert sorted(lines_to_paste(told)) == [
        "git config --add experimenter.output 'own/x'",
        "git config --add experimenter.output 'pkg/model_*.pt'",
        "git config --add experimenter.output 'pkg/new/'",
    ]
    for line in lines_to_paste(told):
        sh(line)
    run()
    assert record(tags()[-1])["code"]["changed"]["added"] == ["own/untracked.py"]


@pytest.mark.parametrize("name", [b"a b", b"new\nline", b"-x", b"it's", b"[1]", b"caf\xe9", b"*"])
def test_the_line_works_for_odd_folders(repo: Path, name: bytes) -> None:
    run()
    folder = Path(name.decode(errors="surrogateescape"))
    folder.mkdir()
    (folder / "f").write_text("x")
    told = run()
    assert len(lines_to_paste(told)) == 1
    sh(lines_to_paste(told)[0])
    run()

    assert record(tags()[-1])["code"]["tree"] == sh("git rev-parse HEAD^{tree}").strip()


def test_files_that_are_refused_and_came_since_are_told_with_the_line(repo: Path) -> None:
    run(writes="mkdir -p ckpt; head -c 3000 /dev/zero > ckpt/epoch1; head -c 3000 /dev/zero > ckpt/epoch2")

    done = experimenter("run", "--max-file-size", "2k", "--", "true")

    assert done.returncode == 125
    assert done.stderr.startswith("Error: 2 untracked files are too large")
    assert lines_to_paste(done.stderr) == ["git config --add experimenter.output 'ckpt/'"]
    sh(lines_to_paste(done.stderr)[0])
    assert experimenter("run", "--max-file-size", "2k", "--", "true").returncode == 0


def test_files_that_were_code_before_and_are_refused_are_not_told_as_outputs(repo: Path) -> None:
    sh("head -c 3000 /dev/zero > weights")
    run()

    done = experimenter("run", "--max-file-size", "2k", "--", "true")

    assert "came since" not in done.stderr


def test_each_linked_work_tree_has_its_own_last_experiment(repo: Path) -> None:
    sh("git worktree add -q ../linked -b other; echo 1 > ../linked/made")
    run()

    assert "came since" not in experimenter("run", "--", "true", cwd=repo.parent / "linked").stderr
    sh("echo 1 > ../linked/made-2")
    assert "made-2" in experimenter("run", "--", "true", cwd=repo.parent / "linked").stderr


@pytest.mark.parametrize(
    "damage",
    ["rm -r", "truncate -s 0", "chmod 000", "echo '[' >", "echo '{\"tree\": 1}' >", 'echo \'{"tree": "x y"}\' >'],
)
def test_a_memory_that_is_missing_or_damaged_is_no_error(repo: Path, damage: str) -> None:
    run()
    sh(f"for f in .git/experimenter/code/*; do {damage} $f; done; echo 1 > made")

    told = run()

    assert "Error" not in told and "Traceback" not in told


def test_a_last_code_state_that_is_gone_is_no_error(repo: Path) -> None:
    sh("echo 1 > untracked")
    run("-n", "x")
    sh(f"git tag -d {tags()[0]}; git gc -q --prune=now; echo 1 > made")

    assert "came since" not in run()


def test_is_told_in_the_background_by_a_sweep_and_in_a_script_once(repo: Path) -> None:
    run()
    sh("echo 1 > made-1")
    background = experimenter("run", "-d", "--", "true")
    sh("echo 1 > made-2")
    sweep = experimenter("sweep", "-p", "a=1,2,3", "--", "true")
    sh("echo 1 > made-3")
    script = "import experimenter\nwith experimenter.ExperimentLogger('x', {}) as block: block.record_results({'a': 1})"
    block = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    for told in (background.stderr, sweep.stderr, block.stderr):
        assert told.count("came since") == 1
        assert len(lines_to_paste(told)) == 1


def test_a_pattern_covers_what_is_alike_and_nothing_else() -> None:
    paths = [b"run_1.txt", b"run_2.txt", b"a.py", b"b.py", b"d/e/f", b"known/x"]

    found = patterns_for(paths, [b"train.py", b"known/y"])

    assert found == {
        "run_*.txt": [b"run_1.txt", b"run_2.txt"],
        "a.py": [b"a.py"],
        "b.py": [b"b.py"],
        "d/": [b"d/e/f"],
        "known/x": [b"known/x"],
    }
    assert patterns_for([b"run_1.txt", b"run_2.txt"], [b"run_me.txt"]) == {
        "run_1.txt": [b"run_1.txt"],
        "run_2.txt": [b"run_2.txt"],
    }


def test_a_source_file_that_was_written_meanwhile_is_no_output(repo: Path) -> None:
    run(writes="mkdir pkg; echo 'x = 1' > pkg/new.py")

    assert "came since" not in run()
