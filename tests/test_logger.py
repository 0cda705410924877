import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from conftest import EXPERIMENTER, experimenter, fake_git, record, sh, tags, until
from experimenter import ExperimentLogger, parameters
from experimenter.errors import BadName, BadParameters, FilesRefused, NotAWorkTree, NotStorable


def script(text: str) -> list[str]:
    """Return the command that runs a Python script outside the work tree, so that it is no part of the code state."""
    path = Path(os.environ["HOME"]) / "script.py"
    path.write_text("from experimenter import ExperimentLogger, parameters\n" + textwrap.dedent(text))
    return [sys.executable, str(path)]


def entries() -> list[Path]:
    return list(Path(".git/experimenter/runs").iterdir())


def test_a_block_ends_as_a_tag_on_its_code_with_its_results(repo: Path) -> None:
    sh("echo two > train.py; mkdir sub")
    with ExperimentLogger(name="baseline", parameters={"lr": 0.1}, directory="sub", description="first") as experiment:
        running = record()
        experiment.record_results({"accuracy": 0.5, "loss": 1})
        experiment.record_results({"accuracy": 0.93})

    assert running["status"] == "running"
    assert tags() == [experiment.tag]
    found = record()
    assert found["parameters"] == {"lr": 0.1}
    assert found["results"] == {"accuracy": 0.93, "loss": 1}
    assert (found["status"], found["description"], found["directory"]) == ("completed", "first", "sub")
    assert found["command"] == sys.orig_argv
    assert sh(f"git rev-parse {experiment.tag}^{{commit}}").strip() == experiment.commit
    assert sh(f"git show {experiment.commit}:train.py") == "two\n"
    assert experimenter("show", experiment.id, "--json").returncode == 0
    assert entries() == []


def test_without_results_the_tag_is_gone_afterwards(repo: Path) -> None:
    with ExperimentLogger("x", {}) as experiment:
        assert tags() == [experiment.tag]

    assert (tags(), entries()) == ([], [])


def test_when_the_block_raises_the_tag_is_gone_and_the_exception_goes_on(repo: Path) -> None:
    with pytest.raises(ZeroDivisionError), ExperimentLogger("x", {}) as experiment:
        experiment.record_results({"a": 1})
        raise ZeroDivisionError

    assert (tags(), entries()) == ([], [])


def test_edits_during_the_block_are_drift(repo: Path) -> None:
    with ExperimentLogger("x", {}) as experiment:
        sh("echo later > train.py")
        experiment.record_results({"a": 1})

    assert record()["drift"] == {"modified": ["train.py"], "deleted": []}


def test_what_json_cannot_hold_is_refused_before_anything_is_lost(repo: Path) -> None:
    with pytest.raises(NotStorable, match=r"model\.loss"):
        ExperimentLogger("x", {"model": {"loss": object()}})
    with ExperimentLogger("x", {}) as experiment:
        experiment.record_results({"a": 1})
        with pytest.raises(NotStorable, match=r"b\[1\]"):
            experiment.record_results({"a": 2, "b": [0, object()]})

    assert record()["results"] == {"a": 1}


def test_mistakes_are_told_before_the_block_starts(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(BadName):
        ExperimentLogger("no/slash", {})
    with pytest.raises(BadParameters):
        ExperimentLogger("x", [1])  # type: ignore[arg-type]
    with pytest.raises(NotAWorkTree), ExperimentLogger("x", {}, directory=tmp_path):
        pass
    sh("echo s > .env")
    with pytest.raises(FilesRefused), ExperimentLogger("x", {}):
        pass
    assert (tags(), entries()) == ([], [])


def test_results_may_come_from_threads_and_forked_processes(repo: Path) -> None:
    sh(
        f"""{
            " ".join(
                script('''
        import multiprocessing, threading
        with ExperimentLogger("x", {}) as experiment:
            def note(number):
                experiment.record_results({f"r{number}": number})
            threads = [threading.Thread(target=note, args=(n,)) for n in range(10)]
            [thread.start() for thread in threads]; [thread.join() for thread in threads]
            context = multiprocessing.get_context("fork")
            workers = [context.Process(target=note, args=(n,)) for n in range(10, 20)]
            [worker.start() for worker in workers]; [worker.join() for worker in workers]
    ''')
            )
        }"""
    )

    assert record()["results"] == {f"r{number}": number for number in range(20)}


def test_blocks_in_threads_are_experiments_of_their_own(repo: Path) -> None:
    sh(
        f"""{
            " ".join(
                script('''
        import threading
        def block(number):
            with ExperimentLogger(f"x{number}", {}) as experiment:
                experiment.record_results({"n": number})
        threads = [threading.Thread(target=block, args=(n,)) for n in range(5)]
        [thread.start() for thread in threads]; [thread.join() for thread in threads]
    ''')
            )
        }"""
    )

    found = {record(tag)["name"]: record(tag)["results"] for tag in tags()}
    assert found == {f"x{number}": {"n": number} for number in range(5)}


def test_blocks_in_a_process_pool_are_experiments_of_their_own(repo: Path) -> None:
    sh(
        f"""{
            " ".join(
                script('''
        import multiprocessing
        def block(number):
            with ExperimentLogger("pool", {"n": number}) as experiment:
                experiment.record_results({"n": number})
        if __name__ == "__main__":
            with multiprocessing.Pool(4) as pool:
                pool.map(block, range(8))
    ''')
            )
        }"""
    )

    assert sorted(str(record(tag)["results"]) for tag in tags()) == [f"{{'n': {number}}}" for number in range(8)]


def test_a_forked_child_that_leaves_the_block_leaves_it_to_its_parent(repo: Path) -> None:
    sh(
        f"""{
            " ".join(
                script('''
        import os
        with ExperimentLogger("x", {}) as experiment:
            experiment.record_results({"a": 1})
            child = os.fork()
            if child == 0:
                raise SystemExit(0)
            os.waitpid(child, 0)
            assert os.path.exists(".git/refs/tags/" + experiment.tag)
    ''')
            )
        }"""
    )

    assert record()["status"] == "completed"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_end_the_block_like_an_exception(repo: Path, signum: signal.Signals) -> None:
    command = script("""
        import time
        try:
            with ExperimentLogger("x", {}) as experiment:
                experiment.record_results({"a": 1})
                print("ready", flush=True)
                time.sleep(1000)
        finally:
            print("cleaned up", flush=True)
    """)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signum)
        output, _ = process.communicate(timeout=20)

    assert output == b"cleaned up\n"
    assert process.returncode == (-signum if signum == signal.SIGINT else 128 + signum)
    assert (tags(), entries()) == ([], [])


def slow_git(folder: Path, verb: str, signum: signal.Signals) -> str:
    """Return a PATH with a git that sends us a signal once `verb` has done its work, and takes its time to end."""
    slow = f'$GIT "$@"; status=$?; kill -{int(signum)} $PPID; sleep 0.3; exit $status'
    return fake_git(folder, f'case "$*" in *" {verb}"*) {slow};; *) exec $GIT "$@";; esac')["PATH"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_tag_is_made_leaves_nothing_behind(
    repo: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    path = slow_git(tmp_path / "bin", "update-ref refs", signum)
    commands = ([EXPERIMENTER, "run", "--", "true"], script('with ExperimentLogger("x", {}) as e: pass'))
    for command in commands if signum == signal.SIGINT else commands[:1]:
        done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, timeout=30)

        assert done.returncode == -signum
        assert (tags(), entries()) == ([], [])


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_block_is_settled_loses_nothing(repo: Path, tmp_path: Path, signum: signal.Signals) -> None:
    command = script("""
        import os, sys
        with ExperimentLogger("x", {}) as experiment:
            experiment.record_results({"a": 1})
            os.environ["PATH"] = sys.argv[1]
    """)
    path = slow_git(tmp_path / "bin", "mktag", signum)
    done = subprocess.run([*command, path], capture_output=True, timeout=30)

    assert done.returncode != 0
    assert (record()["status"], record()["results"], entries()) == ("completed", {"a": 1}, [])


def test_results_after_the_block_are_refused(repo: Path) -> None:
    with ExperimentLogger("x", {}) as experiment:
        pass

    with pytest.raises(RuntimeError):
        experiment.record_results({"a": 1})


@pytest.mark.parametrize("way", ["link-to-top", "link-to-sub"])
def test_a_directory_behind_a_symlink_is_the_repository_it_leads_to(repo: Path, tmp_path: Path, way: str) -> None:
    sh(
        f"mkdir sub {tmp_path}/deep; ln -s {repo} {tmp_path}/deep/link-to-top; ln -s {repo}/sub {tmp_path}/deep/link-to-sub"
    )
    sh("git worktree add -q wt -b other")
    with ExperimentLogger("x", {}, directory=tmp_path / "deep" / way) as experiment:
        experiment.record_results({"a": 1})

    assert (tags(), entries()) == ([experiment.tag], [])
    assert sh(f"git ls-tree -r --name-only {experiment.commit}") == "train.py\n"


def test_sigterm_does_not_hang_a_process_pool_in_the_block(repo: Path) -> None:
    """A handler is inherited by the workers, and loses a signal that comes right after the fork."""
    command = script("""
        import multiprocessing, time
        with ExperimentLogger("x", {}) as experiment:
            for _ in range(40):
                with multiprocessing.get_context("fork").Pool(4) as pool:
                    pool.map(abs, [-1])
            experiment.record_results({"a": 1})
    """)

    assert subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    assert record()["results"] == {"a": 1}


def test_a_handler_of_the_scripts_own_is_left_alone(repo: Path) -> None:
    previous = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        mine = signal.getsignal(signal.SIGTERM)
        with ExperimentLogger("x", {}):
            assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_blocks_that_overlap_give_back_what_the_environment_named(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (ExperimentLogger(name, {}) for name in ("first", "second"))
    first.__enter__()
    second.__enter__()
    named = [os.environ["EXPERIMENTER_TAG"]]
    first.__exit__(None, None, None)
    named.append(os.environ["EXPERIMENTER_TAG"])
    second.__exit__(None, None, None)

    assert named == [second.tag, second.tag]
    assert "EXPERIMENTER_TAG" not in os.environ


class TestJoining:
    JOINS = """
        with ExperimentLogger("inner", {"lr": 0.5, "model": {"depth": 3, "width": 1}}) as experiment:
            experiment.record_results({"a": 1, "b": 1})
            experiment.record_results({"b": 2})
            print(experiment.tag, experiment.id, experiment.commit)
    """

    def test_under_a_run_the_script_joins_that_experiment(self, repo: Path) -> None:
        done = experimenter("run", "-n", "outer", "-p", "lr=0.1", "-p", "model.width=2", "--", *script(self.JOINS))

        found = record()
        code = found["code"]
        assert isinstance(code, dict)
        assert found["name"] == "outer"
        assert found["parameters"] == {"lr": 0.1, "model": {"depth": 3, "width": 2}}
        assert found["results"] == {"a": 1, "b": 2}
        shown = json.loads(experimenter("--json").stdout)[0]
        assert done.stdout.split() == [shown["tag"], shown["id"], code["commit"]]

    def test_secrets_of_the_script_stay_out_too(self, repo: Path) -> None:
        joins = 'with ExperimentLogger("inner", {"api_key": "hunter2"}) as e: e.record_results({"a": 1})'
        experimenter("run", "--", *script(joins))

        assert record()["parameters"] == {"api_key": "<redacted>"}

    def test_in_another_repository_it_is_an_experiment_of_its_own(self, repo: Path, tmp_path: Path) -> None:
        sh(f"git init -q {tmp_path}/other")
        inside = f"import os; os.chdir({str(tmp_path / 'other')!r})\n" + textwrap.dedent(self.JOINS)
        experimenter("run", "-n", "outer", "--", *script(inside))

        assert [record(tag)["name"] for tag in tags()] == ["outer"]
        assert "results" not in record()
        assert sh("git tag", cwd=tmp_path / "other").startswith("exp_inner_")

    def test_after_the_run_has_ended_it_is_an_experiment_of_its_own(self, repo: Path) -> None:
        waits = 'import os, time\nwhile os.path.exists(os.environ["EXPERIMENTER_PARAMS_FILE"]): time.sleep(0.01)\n'
        command = script(waits + textwrap.dedent(self.JOINS))
        experimenter("run", "-n", "outer", "--", "sh", "-c", '"$@" >/dev/null 2>&1 &', "sh", *command)

        until(lambda: len(tags()) == 2 and not entries(), what="the second experiment")
        assert sorted(str(record(tag)["name"]) for tag in tags()) == ["inner", "outer"]

    def test_many_scripts_of_one_run_join_it(self, repo: Path) -> None:
        joins = """
            import sys
            with ExperimentLogger("inner", {f"p{sys.argv[1]}": 1}) as experiment:
                experiment.record_results({f"r{sys.argv[1]}": 1})
        """
        path = script(joins)[1]
        loop = f"for i in 1 2 3 4; do {sys.executable} {path} $i & done; wait"
        experimenter("run", "--", "sh", "-c", loop)

        assert record()["results"] == {f"r{number}": 1 for number in range(1, 5)}.copy()
        assert sorted(record()["parameters"]) == ["p1", "p2", "p3", "p4"]


class TestParameters:
    def test_gives_the_command_its_parameters(self, repo: Path) -> None:
        command = script("print(parameters())")

        done = experimenter("run", "-p", "a.b=1e-3", "-p", "s=x", "--", *command)

        assert done.stdout == "{'a': {'b': 0.001}, 's': 'x'}\n"

    def test_is_empty_outside_a_run(self) -> None:
        assert parameters() == {}

    def test_says_so_when_the_run_has_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EXPERIMENTER_PARAMS_FILE", "/nowhere/params.json")
        with pytest.raises(BadParameters, match="EXPERIMENTER_PARAMS_FILE"):
            parameters()


def test_importing_the_package_does_nothing_and_costs_nothing(repo: Path) -> None:
    code = "import sys, experimenter; print([m for m in ('git', 'click', 'yaml', 'psutil') if m in sys.modules])"

    assert sh(f'{sys.executable} -c "{code}"') == "[]\n"
    assert EXPERIMENTER
