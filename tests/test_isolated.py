"""`run --isolated`: exactly the code state, in a work tree of its own that is gone afterwards."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import detached, experimenter, pid_file, record, sh, tags, until

Snapshot = Callable[[], str]


def nothing_left() -> bool:
    """Say whether no work tree and no entry are left, in the state folder or in what git notes."""
    runs = Path(".git/experimenter/runs")
    assert not runs.exists() or list(runs.iterdir()) == []
    assert not Path(".git/worktrees").exists()
    assert sh("git worktree list --porcelain").count("worktree ") == 1
    assert sh("git fsck 2>&1 | grep -v dangling || true") == ""
    return True


def everything(top: Path) -> dict[str, bytes]:
    """Return what must not change: the files, the index, HEAD, branches and configuration."""
    kept = [path for path in top.rglob("*") if path.is_file() and ".git" not in path.relative_to(top).parts]
    kept += [top / ".git" / name for name in ("HEAD", "index", "config", "refs/heads/main")]
    return {str(path): path.read_bytes() for path in kept}


def test_runs_on_exactly_the_code_state(repo: Path) -> None:
    sh("echo two > train.py; mkdir sub; echo new > sub/new.txt; echo 'ignored' > .gitignore; echo x > ignored")
    before = everything(repo)
    script = "pwd; cat ../train.py new.txt; ls -A ..; echo $PWD; git rev-parse HEAD; git status --porcelain"
    done = experimenter("run", "--isolated", "--", "sh", "-c", script, cwd=repo / "sub")

    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{repo}/.git/experimenter/runs/")
    assert lines[0].endswith("/sub")
    assert lines[1:3] == ["two", "new"]
    assert lines[3:7] == [".git", ".gitignore", "sub", "train.py"]
    assert lines[7:] == [lines[0], sh("git rev-parse HEAD").strip(), " M train.py", "?? .gitignore", "?? sub/"]
    assert record()["directory"] == "sub"
    assert "drift" not in record()
    assert everything(repo) == before
    assert nothing_left()


def in_both(script: str, *options: str) -> tuple[str, str]:
    """Return what a shell script says in a run here and in an isolated one; none of either is left behind."""
    said = [experimenter("run", *more, "--", "sh", "-c", script).stdout for more in (options, (*options, "--isolated"))]
    assert nothing_left()
    return said[0], said[1]


@pytest.mark.parametrize(
    "edit", ["true", "echo two > train.py", "rm train.py", "echo new > new.py", "chmod +x train.py"]
)
def test_git_describes_it_as_the_work_tree_that_the_user_has(repo: Path, edit: str) -> None:
    sh(f"git tag -a v1.2.0 -m v; git commit -q --allow-empty -m more; {edit}")
    here, isolated = in_both("git describe --tags --dirty; git status --porcelain; git log --format=%H; git diff")

    assert here.startswith("v1.2.0-1-g")
    assert isolated == here
    assert "drift" not in record(tags()[-1])


def test_files_that_did_not_change_are_not_read_again_there(repo: Path) -> None:
    sh("for i in 1 2 3; do echo $i > same$i; done; git add .; git commit -qm same; echo two > train.py")
    done = experimenter("run", "--isolated", "--", "git", "diff-files", "--name-only")

    assert done.stdout == "train.py\n"


def test_without_a_commit_head_is_unborn_there_and_a_commit_makes_no_branch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sh(f"git init -q {tmp_path}/young")
    monkeypatch.chdir(tmp_path / "young")
    sh("echo one > train.py")
    script = (
        "git describe --always 2>&1; git rev-parse --verify HEAD || git status --porcelain; git add .; git commit -qm x"
    )
    done = experimenter("run", "--isolated", "--", "sh", "-c", f"{script}; git log --format=%s")

    assert done.stdout.splitlines()[-2:] == ["?? train.py", "x"]
    assert "exp_" not in done.stdout
    assert sh("git for-each-ref refs/heads refs/worktree; git symbolic-ref HEAD") == "refs/heads/main\n"
    assert "drift" not in record()
    assert sh("git worktree list").count("\n") == 1


def test_new_files_that_are_ignored_are_code_there_too(repo: Path) -> None:
    sh(
        "echo '*.bin' > .gitignore; git add .; git commit -qm ignored; echo x > ./:a.bin; git --literal-pathspecs add -f :a.bin"
    )
    experimenter("run", "-n", "a", "--", "true")
    script = "cat ./:a.bin; git status --porcelain; experimenter verify a"
    done = experimenter("run", "--isolated", "--", "sh", "-c", script)

    assert done.stdout.splitlines()[:2] == ["x", " A :a.bin"]
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("edit", ["commit", "dirty", "new"])
def test_code_in_submodules_is_the_same_code_there(repo: Path, tmp_path: Path, edit: str) -> None:
    sh(f"git init -q {tmp_path}/sub; cd {tmp_path}/sub; echo s > file; git add .; git commit -qm s")
    sh(f"git submodule add -q {tmp_path}/sub lib")
    if edit != "new":
        sh("git commit -qm lib; echo edited > lib/file")
    if edit == "commit":
        sh("cd lib; git commit -qam edited")
    experimenter("run", "-n", "a", "--", "true")
    done = experimenter(
        "run", "--isolated", "--", "sh", "-c", "cat lib/file; git status --porcelain lib; experimenter verify a"
    )

    assert done.returncode == 0, done.stdout + done.stderr
    said = {"commit": " M lib", "dirty": "D  lib", "new": "A  lib"}[edit]
    assert done.stdout.splitlines()[:2] == ["s" if edit == "new" else "edited", said]
    assert nothing_left()


def test_edits_made_meanwhile_do_not_reach_it_and_are_no_drift(repo: Path) -> None:
    sh("mkfifo $HOME/go")
    id_ = detached("--isolated", "--", "sh", "-c", 'read line < "$HOME/go"; cat train.py')
    sh("echo later > train.py")
    Path(os.environ["HOME"], "go").write_text("\n")
    experimenter("wait", id_)

    assert experimenter("logs", id_).stdout == "one\n"
    assert "drift" not in record()
    assert nothing_left()


def test_what_the_command_does_to_its_own_index_hides_no_drift(repo: Path) -> None:
    sh("echo two > train.py")
    script = "echo three > train.py; git commit -qam three; git update-index --assume-unchanged train.py"
    experimenter("run", "--isolated", "--", "sh", "-c", script)

    assert record()["drift"] == {"modified": ["train.py"], "deleted": []}


def test_results_are_looked_for_there(repo: Path) -> None:
    Path("out.json").write_text('{"a": "left from an earlier run"}')
    done = experimenter("run", "--isolated", "--results", "out.json", "--", "sh", "-c", "echo '{\"a\": 1}' > out.json")

    assert record()["results"] == {"a": 1}
    assert "drift" not in record()
    assert Path("out.json").read_text() == '{"a": "left from an earlier run"}'
    assert "Warning" not in done.stderr
    assert nothing_left()


@pytest.mark.parametrize("name", [b"it's $HOME", b'q"uo te', "käse".encode(), b"caf\xe9", b"two\nlines", b"-dash"])
def test_odd_names_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    top = tmp_path / os.fsdecode(name)
    top.mkdir()
    monkeypatch.chdir(top)
    sh("git init -q; mkdir -- '-sub'; echo x > ./-sub/file; git add .; git commit -qm first")
    done = experimenter("run", "--isolated", "--", "cat", "file", cwd=top / "-sub")

    assert (done.returncode, done.stdout) == (0, "x\n")
    assert nothing_left()


def test_a_folder_that_the_code_state_has_not_is_made(repo: Path) -> None:
    sh("mkdir build; echo build > .gitignore")
    done = experimenter("run", "--isolated", "--", "pwd", cwd=repo / "build")

    assert done.stdout.endswith("/build\n")


class TestLinks:
    def test_ignored_paths_appear_there_too(self, repo: Path) -> None:
        sh("mkdir -p data/deep sub; touch data/.gitkeep; echo big > data/deep/big.bin; echo c > sub/cache")
        sh("printf 'data/*\\n!data/.gitkeep\\ncache\\n' > .gitignore; git config --add experimenter.link sub/cache")
        script = "cat data/deep/big.bin sub/cache; echo written > data/deep/new; git status --porcelain"
        done = experimenter(
            "run", "--isolated", "--link", "../data", "--", "sh", "-c", f"cd ..; {script}", cwd=repo / "sub"
        )

        assert done.stdout == "big\nc\n?? .gitignore\n?? data/\n"
        assert Path("data/deep/new").read_text() == "written\n"
        assert nothing_left()

    def test_what_was_made_read_only_there_goes_and_what_is_linked_stays(self, repo: Path) -> None:
        sh("mkdir data; echo data > .gitignore; echo x > data/x; chmod 755 data")
        script = "mkdir -p made/deep; echo x > made/deep/x; chmod -R a-w made"
        experimenter("run", "--isolated", "--link", "data", "--", "sh", "-c", script)

        assert nothing_left()
        assert Path("data/x").read_text() == "x\n"
        assert Path("data").stat().st_mode & 0o777 == 0o755

    def test_a_path_that_is_not_there_or_not_ours_is_an_error(self, repo: Path) -> None:
        missing = experimenter("run", "--isolated", "--link", "nope", "--", "true")
        outside = experimenter("run", "--isolated", "--link", "/etc", "--", "true")
        above = experimenter("run", "--isolated", "--link", "..", "--", "true")
        sh("git config experimenter.link gone")
        configured = experimenter("run", "--isolated", "--", "true")

        assert [done.returncode for done in (missing, outside, above, configured)] == [125] * 4
        assert "is not in the work tree" in above.stderr
        assert f"--link: there is no {repo}/nope to link" in missing.stderr
        assert "--link: /etc is not in the work tree" in outside.stderr
        assert f"git config experimenter.link: there is no {repo}/gone" in configured.stderr
        assert tags() == []

    def test_without_isolated_it_is_wrong_usage(self, repo: Path) -> None:
        done = experimenter("run", "--link", "train.py", "--", "true")

        assert (done.returncode, done.stderr.split(";")[0]) == (125, "Error: --link is for --isolated")

    def test_a_program_that_is_ignored_needs_one(self, repo: Path) -> None:
        sh("mkdir -p venv/bin; ln -s /bin/true venv/bin/tool; echo venv > .gitignore")
        without = experimenter("run", "--isolated", "--", "venv/bin/tool")

        assert without.returncode == 127
        assert "an isolated run has only what git does not ignore, and what --link names" in without.stderr
        assert experimenter("run", "--isolated", "--link", "venv", "--", "venv/bin/tool").returncode == 0
        assert nothing_left()


def test_submodules_are_filled_from_the_local_ones(repo: Path, tmp_path: Path) -> None:
    for name in ("inner", "outer"):
        sh(f"git init -q {tmp_path}/{name}; cd {tmp_path}/{name}; echo {name} > file; git add .; git commit -qm {name}")
    sh(f"cd {tmp_path}/outer; git submodule add -q {tmp_path}/inner deep; git commit -qm deep")
    sh(f"git submodule add -q {tmp_path}/outer lib; git submodule add -q {tmp_path}/inner empty; git commit -qm libs")
    sh("git submodule update -q --init --recursive; git submodule deinit -q -f empty")
    for name in ("inner", "outer"):
        shutil.rmtree(tmp_path / name)  # as without the network
    script = "cat lib/file lib/deep/file; ls empty; git status --porcelain; git -C lib log --format=%s"
    done = experimenter("run", "--isolated", "--", "sh", "-c", script)

    assert done.stdout == "outer\ninner\ndeep\nouter\n", done.stderr
    assert nothing_left()


def test_a_dirty_submodule_is_there_as_its_files_were(repo: Path, tmp_path: Path) -> None:
    sh(f"git init -q {tmp_path}/sub; cd {tmp_path}/sub; echo s > file; git add .; git commit -qm s")
    sh(f"git submodule add -q {tmp_path}/sub lib; git commit -qm lib; echo edited > lib/file; echo new > lib/new")

    assert experimenter("run", "--isolated", "--", "cat", "lib/file", "lib/new").stdout == "edited\nnew\n"
    assert nothing_left()


def test_a_sparse_checkout_has_everything_there(repo: Path) -> None:
    sh("mkdir a b; echo a > a/file; echo b > b/file; git add .; git commit -qm ab; git sparse-checkout set a")
    done = experimenter("run", "--isolated", "--", "cat", "a/file", "b/file")

    assert done.stdout == "a\nb\n"
    assert nothing_left()


def test_a_script_there_joins_the_run(repo: Path) -> None:
    Path("joins.py").write_text(
        "from experimenter import ExperimentLogger\n"
        'with ExperimentLogger("inner", {"lr": 1}) as experiment: experiment.record_results({"a": 1})\n'
    )
    experimenter("run", "--isolated", "-n", "outer", "--", sys.executable, "joins.py")

    assert len(tags()) == 1
    assert (record()["name"], record()["parameters"], record()["results"]) == ("outer", {"lr": 1}, {"a": 1})


def test_no_hook_of_the_user_runs(repo: Path) -> None:
    sh("mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch $HOME/ran\\n' > .git/hooks/post-checkout; chmod +x .git/hooks/*")
    experimenter("run", "--isolated", "--", "true")

    assert not Path(os.environ["HOME"], "ran").exists()


def test_the_work_tree_goes_whatever_ends_the_run(repo: Path) -> None:
    failed = experimenter("run", "--isolated", "--", "false")
    missing = experimenter("run", "--isolated", "--", "./missing")
    detached("--isolated", "-n", "x", "--", "sleep", "1000")
    stopped = experimenter("stop", "x")

    assert (failed.returncode, missing.returncode, stopped.returncode) == (1, 127, 0)
    assert nothing_left()


def test_the_work_tree_goes_after_a_crash_too(repo: Path) -> None:
    id_ = detached("--isolated", "-n", "x", "--", "sleep", "1000")
    for pid in (pid_file(id_)["wrapper_pid"], pid_file(id_)["pid"]):
        os.kill(pid, signal.SIGKILL)
    assert sh("git worktree list").count("\n") == 2
    until(lambda: experimenter("ps", "--json").stdout == "[]\n")

    assert nothing_left()


def test_a_linked_work_tree_of_the_user_is_left_alone(repo: Path, tmp_path: Path) -> None:
    sh(f"git worktree add -q {tmp_path}/experimenter-12345678; rm -r {tmp_path}/experimenter-12345678")
    experimenter("run", "--isolated", "--", "true")

    assert Path(".git/worktrees/experimenter-12345678").exists()


INSTALL = [
    "-m",
    "pip",
    "--python",
    "venv/bin/python",
    "install",
    "-q",
    "--no-build-isolation",
    "--no-deps",
    "--no-index",
]
BACKENDS = {
    "setuptools": 'requires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"',
    "hatchling": 'requires = ["hatchling"]\nbuild-backend = "hatchling.build"',
}


def editable_package(repo: Path, backend: str, layout: str) -> Path:
    """Install a package from the repository, in its environment `venv`, as `pip install -e .` does; return its source."""
    source = repo / ("src/mypackage" if layout == "src" else "mypackage")
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("VALUE = 'old'\n")
    (repo / "jobs").mkdir()
    packages = '[tool.setuptools]\npackages = ["mypackage"]\n' if layout == "flat" else ""
    project = f'[build-system]\n{BACKENDS[backend]}\n[project]\nname = "mypackage"\nversion = "1"\n{packages}'
    (repo / "pyproject.toml").write_text(project)
    sh("printf 'venv\\n*.egg-info\\nbuild\\n__pycache__\\n' > .gitignore")
    sh(f"{sys.executable} -m venv --without-pip venv")
    (site,) = (repo / "venv").glob("lib/python*/site-packages")
    (site / "backends.pth").write_text(str(next(path for path in sys.path if path.endswith("site-packages"))))
    done = subprocess.run([sys.executable, *INSTALL, "-e", "."], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return source


@pytest.mark.parametrize("layout", ["flat", "src"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["python", "console script", "shell"])
def test_an_editable_install_imports_the_copy(
    repo: Path, monkeypatch: pytest.MonkeyPatch, backend: str, layout: str, way: str
) -> None:
    source = editable_package(repo, backend, layout)
    monkeypatch.setenv("PATH", f"{repo}/venv/bin{os.pathsep}{os.environ['PATH']}")
    program = "import os, sys\nopen(os.environ['HOME'] + '/go').read()\nimport mypackage\nprint(mypackage.VALUE)\n"
    tool = repo / "venv/bin/tool"
    tool.write_text(f"#!{repo}/venv/bin/python\n{program}")
    tool.chmod(0o755)
    command = {"python": ["python", "-c", program], "console script": ["tool"], "shell": ["sh", "-c", "tool"]}[way]
    sh("mkfifo $HOME/go")
    id_ = detached("--isolated", "--", *command, cwd=repo / "jobs")
    (source / "__init__.py").write_text("VALUE = 'new'\n")
    Path(os.environ["HOME"], "go").write_text("\n")
    experimenter("wait", id_)

    assert experimenter("logs", id_).stdout == "old\n"


def test_a_pythonpath_into_the_repository_leads_to_the_copy(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sh("mkdir lib; echo 'VALUE = 1' > lib/mymodule.py")
    monkeypatch.setenv("PYTHONPATH", f"{repo}/lib{os.pathsep}/nowhere")
    code = "import mymodule, os; print(mymodule.__file__, os.environ['PYTHONPATH'])"
    place, path = experimenter("run", "--isolated", "--", sys.executable, "-c", code).stdout.split()

    assert place.startswith(f"{repo}/.git/experimenter/runs/")
    assert path == f"{Path(place).parent}{os.pathsep}/nowhere"


def test_a_script_of_another_language_may_say_what_it_likes_in_its_first_line(repo: Path) -> None:
    Path("tool").write_text("#!/bin/sh -e # don't edit\n")
    Path("tool").chmod(0o755)

    assert "Traceback" not in experimenter("run", "--isolated", "--", "./tool").stderr


def test_what_lies_in_the_folder_is_not_imported_to_ask_what_is(repo: Path) -> None:
    Path("json.py").write_text("import os; open(os.environ['HOME'] + '/imported', 'w')")
    experimenter("run", "--isolated", "--", "true")

    assert not Path(os.environ["HOME"], "imported").exists()


def test_a_git_folder_behind_a_symlink(repo: Path, tmp_path: Path) -> None:
    shutil.move(".git", tmp_path / "elsewhere")
    Path(".git").symlink_to(tmp_path / "elsewhere")
    experimenter("run", "--isolated", "--", "true")

    assert nothing_left()


def test_without_an_editable_install_pythonpath_is_left_alone(repo: Path) -> None:
    done = experimenter("run", "--isolated", "--", "env")

    assert "PYTHONPATH=" not in done.stdout


def test_many_at_once_do_not_meet(repo: Path) -> None:
    ids = [detached("--isolated", "-n", f"x{number}", "--", "cat", "train.py") for number in range(6)]

    assert [experimenter("wait", id_).returncode for id_ in ids] == [0] * 6
    assert len(json.loads(experimenter("--json").stdout)) == 6
    assert nothing_left()
