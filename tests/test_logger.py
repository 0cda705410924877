import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from conftest import EXPERIMENTER, experimenter, fake_git, record, sh, tags, until
from experimenter import ExperimentLogger, parameters
from experimenter.errors import BadName, BadParameters, FilesRefused, NotAWorkTree, NotStorable


def script(text: str) -> list[str]:
    """Return the command that runs a Python script outside the work tree, so that it is no part of the code state."""
    path = Path(os.environ["HOME"]) / "script.py"
    path.write_text("from experimenter import ExperimentLogger, parameters\n" + textwrap.dedent(text))
    return [sys.executable, str(path)]


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines on stderr, but for the one on the place of such a script."""
    return [line for line in done.stderr.splitlines() if "script.py lies outside the repository" not in line]


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


@pytest.mark.parametrize("starter", [[], [EXPERIMENTER, "run", "--"]], ids=["block", "run"])
def test_results_that_make_every_list_slower_are_told(repo: Path, starter: list[str]) -> None:
    body = 'with ExperimentLogger("x", {}) as e: e.record_results({"text": "x" * int(sys.argv[1])})'
    command = [*starter, *script(f"import sys\n{body}")]
    small, large = (subprocess.run([*command, size], capture_output=True, text=True) for size in ("900000", "5000000"))

    assert not [line for line in said(small) if "every list" in line]
    (line,) = [line for line in said(large) if "every list" in line]
    assert re.fullmatch(r"(Warning: )?the results of exp_\S+ are 4\.8 MiB; every list reads them: .*", line)


def test_edits_during_the_block_are_drift(repo: Path) -> None:
    with ExperimentLogger("x", {}) as experiment:
        sh("echo later > train.py")
        experiment.record_results({"a": 1})

    assert record()["drift"] == {"modified": ["train.py"], "deleted": []}


def test_what_json_cannot_hold_is_refused_by_itself(repo: Path) -> None:
    with ExperimentLogger("x", {}) as experiment:
        experiment.record_results({"a": 1, "z": 0})
        with pytest.raises(NotStorable, match=r"^b\[1\] is a object"):
            experiment.record_results({"a": 2, "b": [0, object()], "c": 3})
        unlike: dict[Any, Any] = {(1, 2): 0, "model": {"took": timedelta(1), "size": 5}, "lost": {"x": Decimal(1)}}
        with pytest.raises(NotStorable) as refused:
            experiment.record_results(unlike)

    assert record()["results"] == {"a": 2, "z": 0, "c": 3, "model": {"size": 5}}
    assert refused.value.message == "3 values cannot be stored"
    assert [line.split(" is a ")[0] for line in refused.value.details] == [
        "the mapping has a key that is no text: (1, 2)", "model.took", "lost.x",
    ]  # fmt: skip


def test_what_is_nested_deeper_than_a_record_can_be_is_refused_by_itself(repo: Path) -> None:
    deep: dict[str, object] = {}
    for _ in range(150):
        deep = {"x": deep}
    endless: dict[str, object] = {"y": 1}
    endless |= {"one": endless, "other": endless}
    with ExperimentLogger("x", {}) as experiment, pytest.raises(NotStorable, match="2 values cannot be stored"):
        experiment.record_results({"a": 1, "deep": deep, "endless": endless})

    assert [one["results"] for one in json.loads(experimenter("list", "--json").stdout)] == [{"a": 1}]


def test_all_parameters_that_cannot_be_stored_are_named(repo: Path) -> None:
    with pytest.raises(NotStorable, match=r"model\.loss is a (?s:.*)\n  took is a datetime\.timedelta"):
        ExperimentLogger("x", {"model": {"loss": object(), "lr": 1}, "took": timedelta(1)})

    assert tags() == []


def ended(body: str) -> subprocess.CompletedProcess[str]:
    """Run a script with a block that has recorded `acc`, and then does what is given."""
    text = 'import os, sys\nwith ExperimentLogger("x", {}) as e:\n    e.record_results({"acc": 0.9})\n'
    return subprocess.run(script(text + textwrap.indent(body, "    ")), capture_output=True, text=True)


@pytest.mark.parametrize(
    "leaving",
    ["sys.exit(0)", "sys.exit()", "sys.exit(None)", "exit()", "sys.exit(False)", "raise SystemExit", "sys.exit(256)"],
)
def test_an_exit_that_is_success_for_python_is_one_for_the_block(repo: Path, leaving: str) -> None:
    done = ended(leaving)

    assert (done.returncode, said(done)) == (0, [])
    assert (record()["status"], record()["results"]) == ("completed", {"acc": 0.9})


@pytest.mark.parametrize(
    ("leaving", "status"),
    [("sys.exit(1)", 1), ("sys.exit('text')", 1), ("sys.exit(True)", 1), ("sys.exit(-1)", 255), ("sys.exit(0.0)", 1), ("sys.exit('')", 1)],
)  # fmt: skip
def test_any_other_exit_is_a_failure_that_is_told(repo: Path, leaving: str, status: int) -> None:
    done = ended(leaving)

    assert done.returncode == status
    assert (tags(), entries()) == ([], [])
    assert re.search(
        r"^Warning: the block was left by SystemExit; exp_x_\S+ was removed, with its results \{\"acc\": 0\.9\}$",
        done.stderr,
        re.M,
    )


def test_a_block_that_raises_says_what_became_of_its_results(repo: Path) -> None:
    done = ended("e.record_results({'url': 'https://me:hush@h/', 'text': 'x' * 5000}); 1 / 0")

    (line,) = [
        line
        for line in done.stderr.splitlines()
        if line.startswith("Warning: the block was left by ZeroDivisionError; exp_x_")
    ]
    assert '{"acc": 0.9, "url": "https://<redacted>@h/"' in line
    assert len(line) < 1200
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_a_block_without_results_says_so_unless_it_raises(repo: Path) -> None:
    quiet, raising = (
        subprocess.run(script(f'with ExperimentLogger("x", {{}}): {body}'), capture_output=True, text=True)
        for body in ("pass", "1 / 0")
    )

    (line,) = said(quiet)
    assert re.fullmatch(r"Warning: the block has recorded no results; exp_x_\S+ was removed", line)
    assert "exp_x" not in raising.stderr


@pytest.mark.parametrize("value", ["datetime.timedelta(1)", "decimal.Decimal(1)", "object()", "{1: {'x': b''}}"])
def test_results_stay_where_a_value_that_was_refused_ends_the_block(repo: Path, value: str) -> None:
    done = ended(f"import datetime, decimal; e.record_results({{'took': {value}, 'loss': 1}})")

    assert done.returncode == 1
    assert (record()["status"], record()["results"]) == ("failed", {"acc": 0.9, "loss": 1})
    assert "NotStorable: took" in done.stderr.splitlines()[-1]
    kept = r"^Warning: the block was left by NotStorable; exp_x_\S+ is kept as failed, with the results before that$"
    assert re.search(kept, done.stderr, re.M)


def test_results_stay_in_all_blocks_that_a_refused_value_ends(repo: Path) -> None:
    done = ended("with ExperimentLogger('y', {}) as inner:\n  inner.record_results({'n': 1, 'took': object()})")

    assert done.returncode == 1
    found = {str(record(tag)["name"]): (record(tag)["status"], record(tag)["results"]) for tag in tags()}
    assert found == {"x": ("failed", {"acc": 0.9}), "y": ("failed", {"n": 1})}


def test_a_refusal_that_was_caught_does_not_keep_a_block_that_raises_later(repo: Path) -> None:
    done = ended("try: e.record_results({'took': object()})\nexcept Exception: pass\nraise RuntimeError('later')")

    assert done.returncode == 1
    assert tags() == []
    assert "was removed, with its results" in done.stderr


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

    @pytest.mark.parametrize("joint", ["; ", " & "])
    def test_of_many_scripts_in_one_run_the_first_joins_it(self, repo: Path, joint: str) -> None:
        joins = """
            import sys
            with ExperimentLogger("inner", {"seed": sys.argv[1]}) as experiment:
                experiment.record_results({"loss": sys.argv[1]})
        """
        path = script(joins)[1]
        loop = joint.join(f"{sys.executable} {path} {number}" for number in range(4))
        experimenter("run", "-n", "outer", "--", "sh", "-c", f"{loop} & wait")

        self.assert_one_joined(4)

    def assert_one_joined(self, count: int) -> None:
        """Assert that of so many blocks one is the run, and each other one of its own, with its own results."""
        found = [record(tag) for tag in tags()]
        (outer,) = [one for one in found if one["name"] == "outer"]
        (tag,) = [tag for tag in tags() if tag.startswith("exp_outer_")]
        assert [one.get("parent") for one in found if one is not outer] == [tag] * (count - 1)
        assert all(str(one["parameters"]["seed"]) == str(one["results"]["loss"]) for one in found)
        assert sorted(str(one["parameters"]["seed"]) for one in found) == [str(number) for number in range(count)]

    @pytest.mark.parametrize(
        "blocks",
        [
            "for seed in range(4): block(seed)",
            "block(0); block(1)\nlogger = ExperimentLogger('inner', {'seed': 2})\nwith logger as e: e.record_results({'loss': 2})\n"
            "logger = ExperimentLogger('inner', {'seed': 3})\nwith logger as e: e.record_results({'loss': 3})",
            "threads = [threading.Thread(target=block, args=(n,)) for n in range(4)]\n"
            "[one.start() for one in threads]; [one.join() for one in threads]",
            "with multiprocessing.get_context('fork').Pool(4) as pool: pool.map(block, range(4), chunksize=1)",
            "block(0)\nif not os.fork(): block(1); os._exit(0)\nos.wait(); block(2)\n"
            "subprocess.run([sys.executable, '-c', open(__file__).read().partition('#')[0] + 'block(3)'], check=True)",
        ],
        ids=["loop", "objects", "threads", "pool", "children"],
    )
    def test_of_many_blocks_in_one_run_the_first_joins_it(self, repo: Path, blocks: str) -> None:
        start = """
            import multiprocessing, os, subprocess, sys, threading
            def block(seed):
                with ExperimentLogger("inner", {"seed": seed}) as experiment:
                    experiment.record_results({"loss": seed})
            # what follows differs
        """
        done = experimenter("run", "-n", "outer", "--", *script(textwrap.dedent(start) + blocks))

        assert done.returncode == 0, done.stderr
        self.assert_one_joined(4)

    def test_a_block_that_is_entered_again_is_another_experiment(self, repo: Path) -> None:
        again = 'logger = ExperimentLogger("inner", {})\nfor n in range(2):\n    with logger as e: e.record_results({"n": n})'
        experimenter("run", "-n", "outer", "--", *script(again))

        assert [(record(tag)["name"], record(tag)["results"]) for tag in tags()] == [
            ("inner", {"n": 1}), ("outer", {"n": 0}),
        ]  # fmt: skip

    def test_a_block_inside_the_one_that_joined_is_an_experiment_of_its_own(self, repo: Path) -> None:
        nested = """
            with ExperimentLogger("one", {}) as one:
                with ExperimentLogger("two", {}) as two:
                    with ExperimentLogger("three", {}) as three: three.record_results({"n": 3})
                    two.record_results({"n": 2})
                one.record_results({"n": 1})
        """
        experimenter("run", "-n", "outer", "--", *script(nested))

        found = {record(tag)["name"]: (record(tag)["results"], record(tag).get("parent", "")[:8]) for tag in tags()}
        assert found == {"outer": ({"n": 1}, ""), "two": ({"n": 2}, "exp_oute"), "three": ({"n": 3}, "exp_two_")}

    def test_parameters_that_differ_are_told_with_both_values(self, repo: Path) -> None:
        joins = """
            inner = {"lr": 0.5, "same": 1.0, "model": {"depth": 3, "width": 2}, "api_key": "hush-b", "on": 1, "mine": 0}
            with ExperimentLogger("inner", inner) as experiment: experiment.record_results({"a": 1})
        """
        given = ["lr=0.1", "same=1", "model.depth=3", "model.width=9", "api_key=hush-a", "on=true", "theirs=0"]
        options = [word for one in given for word in ("-p", one)]
        done = experimenter("run", "-n", "outer", *options, "--", *script(joins))

        assert said(done)[:-1] == [
            "Warning: parameters of the run win over those of the block",
            "  lr is 0.1, not 0.5",
            "  model.width is 9, not 2",
            '  api_key is "<redacted>", not "<redacted>"',
            "  on is true, not 1",
        ]
        assert record()["parameters"]["lr"] == 0.1


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
