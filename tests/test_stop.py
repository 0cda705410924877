"""Stopping: the whole tree is gone afterwards, the tag removed or kept, and every party says the same."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conftest import EXPERIMENTER, detached, experimenter, pid_file, record, sh, tags, until
from experimenter.process import Identity

PYTHON = sys.executable
IGNORE = "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@pytest.fixture
def mark(repo: Path) -> Iterator[str]:
    """A word for the command lines of a test's processes; whatever bears it at the end is ended."""
    word = f"mark-{os.getpid()}-{repo.parent.name}"
    yield word
    for process in bearing(word):
        process.kill()


def bearing(word: str) -> list[psutil.Process]:
    """Return the living processes with that word in their command line, but for a wrapper, which ends after them."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        is_dead = process.info["status"] == psutil.STATUS_ZOMBIE
        if not is_dead and EXPERIMENTER not in words and any(word in one for one in words):
            found.append(process)
    return found


def script(text: str, word: str) -> list[str]:
    """Return the command of a Python program, outside of the repository, that bears a word."""
    path = Path(os.environ["HOME"]) / "program.py"
    path.write_text(textwrap.dedent(text))
    return [PYTHON, str(path), word]


def entries() -> list[Path]:
    return list(Path(".git/experimenter/runs").iterdir())


def nothing_is_left(word: str) -> None:
    assert bearing(word) == []
    assert entries() == []
    assert experimenter("ps", "--json").stdout == "[]\n"


# What each tree does, and how many processes it has at least before it is stopped. All of them bear sys.argv[1].
TREES = {
    "a child that ignores SIGTERM": (2, f"""
        {IGNORE}
        subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, 1); signal.pause()", sys.argv[1]])
        signal.pause()
    """),
    "one that called setsid": (2, """
        import signal, subprocess, sys
        code = "import signal; signal.signal(15, 1); signal.pause()"
        subprocess.Popen([sys.executable, "-c", code, sys.argv[1]], start_new_session=True)
        signal.pause()
    """),
    "one that forked twice and dropped its environment": (2, """
        import os, signal, sys
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                code = "import signal; signal.signal(15, 1); signal.pause()"
                os.execve(sys.executable, [sys.executable, "-c", code, sys.argv[1]], {})
            os._exit(0)
        os.wait()
        signal.pause()
    """),
    "one that keeps forking": (5, f"""
        {IGNORE}
        while True:
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(1000)
                os._exit(0)
            os.wait()
            time.sleep(0.02)
    """),
    "one whose each child forks the next one and ends": (1, f"""
        {IGNORE}
        if os.fork():
            signal.pause()
        while True:
            if os.fork():
                os._exit(0)
            os.setsid()
            time.sleep(0.002)
    """),
    "a launcher that starts its workers again": (3, f"""
        {IGNORE}
        start = lambda: subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", sys.argv[1]])
        workers = [start(), start()]
        while True:
            workers = [one if one.poll() is None else start() for one in workers]
            time.sleep(0.01)
    """),
    "a process pool": (4, """
        import multiprocessing, time
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(3) as pool:
                pool.map(time.sleep, [1000] * 3)
    """),
    "a pool of concurrent.futures": (3, """
        import concurrent.futures, time
        if __name__ == "__main__":
            with concurrent.futures.ProcessPoolExecutor(3) as pool:
                list(pool.map(time.sleep, [1000] * 3))
    """),
}  # fmt: skip


CASES = [(kind, is_orphaned) for kind in TREES for is_orphaned in (False, True)]
# Nothing leads any more to one that dropped its environment, when also the wrapper that had adopted it was killed.
CASES.remove(("one that forked twice and dropped its environment", True))


@pytest.mark.parametrize(("kind", "orphaned"), CASES)
def test_the_whole_tree_is_gone_when_stop_returns(repo: Path, mark: str, kind: str, orphaned: bool) -> None:
    least, text = TREES[kind]
    id_ = detached("-n", "x", "--", *script(text, mark))
    until(lambda: len(bearing(mark)) >= least, what="the tree")
    if orphaned:
        os.kill(pid_file(id_)["wrapper_pid"], signal.SIGKILL)
        until(lambda: json.loads(experimenter("ps", "--json").stdout)[0]["state"] == "orphaned")

    done = experimenter("stop", "--grace", "0.5", "x")

    assert bearing(mark) == []
    assert (done.returncode, tags()) == (0, [])
    nothing_is_left(mark)


@pytest.mark.parametrize("pipeline", ["yes {0} | sleep 1000", "sh -c 'sleep 1000; : {0}' | sh -c 'cat; : {0}'; : {0}"])
def test_a_shell_pipeline_goes_when_asked(repo: Path, mark: str, pipeline: str) -> None:
    detached("-n", "x", "--", "sh", "-c", pipeline.format(mark))
    until(lambda: bearing(mark))
    done = experimenter("stop", "x")

    assert "it ended when asked; its tag was removed" in done.stdout
    nothing_is_left(mark)


def test_everyone_is_asked_so_that_a_shell_gets_to_its_trap(repo: Path, mark: str) -> None:
    """A shell runs its trap when the child that it waits for has ended."""
    detached("-n", "x", "--", "sh", "-c", f"trap 'echo saved; exit 0' TERM; echo ready; sleep 1000; : {mark}")
    until(lambda: "ready" in experimenter("logs", "x").stdout)
    done = experimenter("stop", "--keep", "x")

    assert "it ended when asked; its tag is kept" in done.stdout
    assert (record()["status"], record()["exit_code"]) == ("stopped", 0)
    assert experimenter("logs", "x").stdout.endswith("saved\n")


def test_one_that_does_not_listen_is_killed_after_the_grace(repo: Path, mark: str) -> None:
    id_ = detached(
        "-n", "x", "--grace", "0.3", "--", *script(f"{IGNORE}\nprint('ready', flush=True)\nsignal.pause()", mark)
    )
    until(lambda: "ready" in experimenter("logs", "x").stdout)
    done = experimenter("stop", "x")

    assert done.stdout == f"stopped {experiment_tag(done)} ({id_}): it was killed after 0.3 s; its tag was removed\n"
    assert experimenter("wait", id_).returncode == 128 + signal.SIGKILL
    nothing_is_left(mark)


def test_json_says_what_was_stopped_and_how(repo: Path, mark: str) -> None:
    deaf = script(f"{IGNORE}\nprint('ready', flush=True)\nsignal.pause()", mark)
    ids = [detached("-n", "deaf", "--", *deaf), detached("-n", "kept", "--", "sleep", "1000")]
    until(lambda: "ready" in experimenter("logs", "deaf").stdout)
    first = experimenter("stop", "deaf", "nothing", "--grace", "0.3", "--json")
    second = experimenter("stop", "kept", "--keep", "--json")

    assert (first.returncode, second.returncode) == (1, 0)
    assert "nothing" in first.stderr
    (deaf_one,), (kept,) = json.loads(first.stdout), json.loads(second.stdout)
    assert [deaf_one["id"], kept["id"]] == ids
    assert (deaf_one["is_kept"], deaf_one["killed_after_s"]) == (False, 0.3)
    assert (kept["tag"], kept["is_kept"], kept["killed_after_s"]) == (*tags(), True, None)
    assert experimenter("stop", "--all", "--json").stdout == "[]\n"


def experiment_tag(done: "subprocess.CompletedProcess[str]") -> str:
    return done.stdout.split()[1]


def test_a_suspended_command_is_woken_to_end(repo: Path, mark: str) -> None:
    id_ = detached("-n", "x", "--", "sleep", "1000")
    os.kill(pid_file(id_)["pid"], signal.SIGSTOP)

    assert "it ended when asked" in experimenter("stop", "x").stdout
    nothing_is_left(mark)


def test_keep_keeps_what_results_there_were(repo: Path, mark: str) -> None:
    marker = "echo 'EXPERIMENTER_RESULTS {\"a\": 1}'; exec sleep 1000"
    for way in ("alive", "orphaned"):
        id_ = detached("-n", way, "--", "sh", "-c", marker)
        until(lambda way=way: "RESULTS" in experimenter("logs", way).stdout)  # type: ignore[misc]
        if way == "orphaned":
            os.kill(pid_file(id_)["wrapper_pid"], signal.SIGKILL)
        assert experimenter("stop", "--keep", way).stdout.endswith("its tag is kept\n")

    assert [record(tag)["status"] for tag in tags()] == ["stopped", "stopped"]
    assert [record(tag)["results"] for tag in tags()] == [{"a": 1}, {"a": 1}]
    nothing_is_left(mark)


def test_a_run_in_the_foreground_says_that_it_was_stopped(repo: Path, mark: str) -> None:
    with subprocess.Popen([EXPERIMENTER, "run", "-n", "x", "--", "sleep", "1000"], stderr=subprocess.PIPE) as process:
        until(lambda: tags() and "pid" in pid_file(entries()[0].name), what="the command")
        experimenter("stop", "x")
        _, errors = process.communicate(timeout=20)

    assert process.returncode == 128 + signal.SIGTERM
    assert b"Note: the command was stopped; exp_x_" in errors
    nothing_is_left(mark)


def test_one_that_is_still_storing_its_code_leaves_nothing_behind(repo: Path, mark: str) -> None:
    sh("git config filter.slow.clean 'touch started; sleep 30'; echo '*.x filter=slow' > .gitattributes; echo x > a.x")
    with subprocess.Popen([EXPERIMENTER, "run", "-n", "x", "--", "true"], stderr=subprocess.PIPE) as process:
        until(Path("started").exists)
        assert experimenter("stop", "x").returncode == 0
        process.communicate(timeout=20)

    assert (process.returncode, tags()) == (-signal.SIGTERM, [])
    nothing_is_left(mark)


BLOCK = """
    import signal, subprocess, sys, time
    from experimenter import ExperimentLogger
    {before}
    with ExperimentLogger("x", {{"a": 1}}) as experiment:
        experiment.record_results({{"b": 2}})
        code = "import signal; signal.signal(15, 1); signal.pause()"
        subprocess.Popen([sys.executable, "-c", code, sys.argv[1]], start_new_session=True)
        print("ready", flush=True)
        while True: time.sleep(0.1)
"""


@pytest.mark.parametrize("before", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"], ids=["listens", "ignores"])
@pytest.mark.parametrize("keep", [[], ["--keep"]], ids=["removed", "kept"])
def test_a_block_of_a_script_with_all_that_it_started_goes_too(
    repo: Path, mark: str, before: str, keep: list[str]
) -> None:
    with subprocess.Popen(script(BLOCK.format(before=before), mark), stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        done = experimenter("stop", "--grace", "0.5", *keep, "x")

    assert done.returncode == 0
    assert process.returncode == (128 + signal.SIGTERM if not before else -signal.SIGKILL)
    assert [(record(tag)["status"], record(tag)["results"]) for tag in tags()] == [("stopped", {"b": 2})] * len(keep)
    nothing_is_left(mark)


def test_a_script_that_goes_on_after_its_block_was_stopped_is_let(repo: Path, mark: str) -> None:
    """As a notebook does, or a loop over experiments."""
    text = """
        import sys, time
        from experimenter import ExperimentLogger
        try:
            with ExperimentLogger("x", {}) as experiment:
                print("ready", flush=True)
                time.sleep(1000)
        except SystemExit:
            print("on", flush=True)
            sys.stdin.readline()
    """
    with subprocess.Popen(script(text, mark), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        done = experimenter("stop", "--grace", "0.3", "x")
        output, _ = process.communicate(b"\n", timeout=20)

    assert (done.returncode, output, process.returncode) == (0, b"on\n", 0)
    nothing_is_left(mark)


def test_what_a_block_starts_knows_its_parent(repo: Path) -> None:
    text = """
        import os, subprocess, sys
        from experimenter import ExperimentLogger
        with ExperimentLogger("outer", {}) as experiment:
            subprocess.run(["experimenter", "run", "-n", "inner", "--", "true"], check=True)
            experiment.record_results({"a": 1})
        assert "EXPERIMENTER_TAG" not in os.environ
    """
    subprocess.run(script(text, "x"), check=True, capture_output=True)

    inner, outer = sorted(tags())
    assert record(inner)["parent"] == outer


def test_a_run_that_stops_itself_ends(repo: Path, mark: str) -> None:
    command = f"{EXPERIMENTER} stop $EXPERIMENTER_ID; echo not reached: {mark}"
    done = experimenter("run", "-n", "x", "--", "sh", "-c", command)

    assert done.returncode == 128 + signal.SIGTERM
    assert "not reached" not in done.stdout
    assert "its tag follows when this command has ended, too" in done.stdout
    assert tags() == []
    nothing_is_left(mark)


def test_a_run_inside_a_run_goes_with_the_outer_one(repo: Path, mark: str) -> None:
    inner = f"{EXPERIMENTER} run -d -n inner -- sleep 1000; exec {EXPERIMENTER} run -n second -- sleep 1000"
    detached("-n", "outer", "--", "sh", "-c", inner)
    until(lambda: len(json.loads(experimenter("ps", "--json").stdout)) == 3)
    experimenter("stop", "outer")

    assert tags() == []
    nothing_is_left(mark)


def test_stopping_one_leaves_the_others_alone(repo: Path, mark: str) -> None:
    for name in ("one", "two", "three"):
        detached("-n", name, "--", "sleep", "1000")
    done = experimenter("stop", "one", "three")

    assert sorted(line.split("_")[1] for line in done.stdout.splitlines()) == ["one", "three"]
    assert [entry["name"] for entry in json.loads(experimenter("ps", "--json").stdout)] == ["two"]
    assert experimenter("stop", "--all").returncode == 0
    nothing_is_left(mark)


# How it comes that only what a command has started lives on.
SURVIVING = ["wrapper and command are killed", "the wrapper is killed and the command ends", "a script is killed"]


def survivor(way: str, mark: str) -> None:
    """Let an experiment `x` that has written results end but for a child."""
    child = f"sh -c 'echo $$ > child; read line < go; : {mark}'"
    writes = "echo '{\"a\": 1}' > $EXPERIMENTER_RESULTS_FILE"
    sh("printf 'child\ngo\n' >> .git/info/exclude; mkfifo go")
    if way == "a script is killed":
        lines = [
            "import subprocess, experimenter",
            "with experimenter.ExperimentLogger('x', {}) as experiment:",
            "    experiment.record_results({'a': 1})",
            f"    subprocess.run({child!r}, shell=True)",
        ]
        process = subprocess.Popen(script("\n".join(lines), "script"))
        until(lambda: Path("child").exists() and Path("child").read_text(), what="the child")
        process.kill()
        process.wait()
    else:
        end = "read line < end" if "ends" in way else "wait"
        sh("echo end >> .git/info/exclude; mkfifo end")
        id_ = detached("-n", "x", "--", "sh", "-c", f"{writes}; (setsid {child}) & {end}")
        until(lambda: Path("child").exists() and Path("child").read_text(), what="the child")
        pids = pid_file(id_)
        os.kill(pids["wrapper_pid"], signal.SIGKILL)
        os.kill(pids["pid"], signal.SIGKILL) if end == "wait" else Path("end").write_text("\n")
        command = Identity(pid=pids["pid"], start_time=pids["start_time"])
        until(lambda: not command.is_alive, what="the end of the command")


@pytest.mark.parametrize("way", SURVIVING)
def test_what_only_a_child_of_its_command_is_left_of_is_shown_and_stopped(repo: Path, mark: str, way: str) -> None:
    survivor(way, mark)
    (shown,) = json.loads(experimenter("ps", "--json").stdout)
    listed = experimenter("list")
    done = experimenter("stop", "x")

    assert (shown["state"], shown["pid"]) == ("orphaned", None)
    assert (listed.stderr, done.returncode, tags()) == ("", 0, [])
    nothing_is_left(mark)


@pytest.mark.parametrize("way", SURVIVING)
def test_it_is_waited_for_and_then_what_it_had_written_is_rescued(repo: Path, mark: str, way: str) -> None:
    survivor(way, mark)
    with subprocess.Popen([EXPERIMENTER, "wait", "x"], stderr=subprocess.DEVNULL) as waiting:
        assert experimenter("list").stderr == ""
        assert waiting.poll() is None
        Path("go").write_text("\n")
        assert waiting.wait(timeout=20) == 1  # nobody knows the command's status
    until(lambda: not bearing(mark), what="the end of the child")

    assert "its results were rescued" in experimenter("list").stderr
    assert (record()["status"], record()["results"]) == ("interrupted", {"a": 1})
    nothing_is_left(mark)


def test_it_is_stopped_though_a_command_that_settled_it_was_killed(repo: Path, mark: str) -> None:
    survivor(SURVIVING[0], mark)
    (entry,) = entries()
    (entry / "running").rename(entry / "ending")  # as one killed between two looks has left it

    assert experimenter("stop", "x").returncode == 0
    nothing_is_left(mark)


def test_one_that_settles_is_not_held_by_what_its_command_leaves_running(repo: Path, mark: str) -> None:
    """Its command has ended, so that the experiment has: what it started in the background goes on without it."""
    survivor(SURVIVING[0], mark)
    (entry,) = entries()
    (entry / "open").rename(entry / "settling")  # as a wrapper that was killed at its end has left it

    assert "its results were rescued" in experimenter("ps").stderr
    assert (entries(), len(bearing(mark))) == ([], 1)


def test_two_stops_at_once_agree(repo: Path, mark: str) -> None:
    detached("-n", "x", "--", *script(f"{IGNORE}\nprint('ready', flush=True)\nsignal.pause()", mark))
    until(lambda: "ready" in experimenter("logs", "x").stdout)
    words = [EXPERIMENTER, "stop", "x", "--grace"]
    # Only the second one has an end to its grace, so that the first is there however long the second takes to start.
    with subprocess.Popen([*words, "600"], stdout=subprocess.PIPE, text=True) as first:
        until(lambda: json.loads(experimenter("ps", "--json").stdout)[0]["state"] == "stopping")
        second = experimenter(*words[1:], "0.5", "--keep")
        output, _ = first.communicate(timeout=60)

    assert (first.returncode, second.returncode) == (0, 0)
    assert "it was killed after 0.5 s; its tag is kept" in second.stdout
    assert "another stop ended it; its tag is kept" in output
    assert record()["status"] == "stopped"
    nothing_is_left(mark)


def test_a_stop_that_is_interrupted_leaves_a_run_that_ends_with_its_command(repo: Path, mark: str) -> None:
    """A child that goes on does not hold it, as nobody is there to kill it."""
    child = f"(trap '' TERM; exec sleep 1000) & echo $!; exec sh -c 'read line < {repo}/go; : {mark}'"
    sh("mkfifo go")
    with subprocess.Popen(
        [EXPERIMENTER, "run", "-n", "x", "--", "sh", "-c", f"trap '' TERM; {child}"], stdout=-1
    ) as run:
        assert run.stdout
        pid = int(run.stdout.readline())
        stop = subprocess.Popen([EXPERIMENTER, "stop", "--grace", "600", "x"])
        until(lambda: json.loads(experimenter("ps", "--json").stdout)[0]["state"] == "stopping")
        stop.send_signal(signal.SIGINT)
        stop.wait(timeout=20)
        Path("go").write_text("\n")
        assert run.wait(timeout=20) == 0

    os.kill(pid, signal.SIGKILL)
    assert (tags(), entries()) == ([], [])


def test_one_that_cannot_be_settled_does_not_keep_the_others(repo: Path, mark: str) -> None:
    orphan = detached("-n", "orphan", "--", "sleep", "1000")
    os.kill(pid_file(orphan)["wrapper_pid"], signal.SIGKILL)
    detached("-n", "x", "--", *script(f"{IGNORE}\nprint('ready', flush=True)\nsignal.pause()", mark))
    until(lambda: "ready" in experimenter("logs", "x").stdout)
    sh("git pack-refs --all; touch -d yesterday .git/packed-refs.lock")
    done = experimenter("stop", "--all", "--grace", "1")
    Path(".git/packed-refs.lock").unlink()

    assert done.returncode == 1
    assert "Error: exp_orphan_" in done.stderr
    assert bearing(mark) == []
    experimenter("ps")
    assert (tags(), entries()) == ([], [])


class TestErrors:
    def refused(self, *words: str) -> str:
        done = experimenter("stop", *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: ")
        return done.stderr

    def test_one_that_does_not_run(self, repo: Path) -> None:
        experimenter("run", "-n", "done", "--", "true")
        failed = experimenter("run", "-n", "failed", "--", "false").stderr.split()[7].rstrip(";")

        for word, tag in (("done", tags()[0]), ("failed", failed)):
            assert self.refused(word) == f"Error: {tag} does not run here; 'experimenter ps' shows what does\n"

    def test_an_unknown_one_with_the_nearest(self, repo: Path) -> None:
        id_ = detached("-n", "baseline", "--", "sleep", "1000")

        assert self.refused("basline") == f"Error: no experiment 'basline'; did you mean\n  {id_}  {tags()[0]}\n"
        experimenter("stop", "--all")

    def test_an_ambiguous_one_with_the_candidates(self, repo: Path) -> None:
        ids = [detached("-n", "x", "--", "sleep", "1000") for _ in range(2)]
        message = self.refused("x")

        assert "'x' is ambiguous" in message
        assert all(f"  {id_}  exp_x_" in message for id_ in ids)
        assert experimenter("stop", *ids).returncode == 0

    def test_a_name_counts_among_running_ones_only(self, repo: Path) -> None:
        experimenter("run", "-n", "x", "--", "true")
        detached("-n", "x", "--", "sleep", "1000")

        assert experimenter("stop", "x").returncode == 0
        assert [record()["status"]] == ["completed"]

    def test_one_on_another_host_and_one_of_another_user(self, repo: Path) -> None:
        if os.getuid() != 0:
            pytest.skip("only root can give a file to another user")
        id_ = detached("-n", "x", "--", "sleep", "1000")
        path = Path(f".git/experimenter/runs/{id_}/pid.json")
        text = path.read_text()
        path.write_text(json.dumps({**json.loads(text), "host": "node7"}))

        assert self.refused("x") == f"Error: {tags()[0]} runs on node7, and can be stopped only there\n"
        assert experimenter("stop", "--all").stderr == "Note: nothing runs here\n"
        path.write_text(text)
        os.chown(path, 12345, -1)
        assert self.refused("x") == f"Error: {tags()[0]} belongs to another user, who alone can stop it\n"
        os.chown(path, os.getuid(), -1)
        assert experimenter("stop", "x").returncode == 0

    def test_the_others_are_stopped_all_the_same(self, repo: Path) -> None:
        detached("-n", "x", "--", "sleep", "1000")
        done = experimenter("stop", "nobody", "x")

        assert done.returncode == 1
        assert done.stdout.startswith("stopped exp_x_")

    def test_all_with_none_running_is_a_notice(self, repo: Path) -> None:
        done = experimenter("stop", "--all")

        assert (done.returncode, done.stdout, done.stderr) == (0, "", "Note: nothing runs here\n")

    def test_wrong_usage(self, repo: Path) -> None:
        for words in ([], ["x", "--all"], ["x", "--grace", "soon"]):
            done = experimenter("stop", *words)
            assert (done.returncode, done.stdout) == (2, "")
        assert "--grace: 'soon' is no number of seconds" in done.stderr


def test_the_grace_comes_from_the_option_the_run_and_git_config(repo: Path, mark: str) -> None:
    sh("git config experimenter.grace 0.2")
    for options, said in (([], "0.2 s"), (["--grace", "0.4"], "0.4 s")):
        detached("-n", "x", *options, "--", *script(f"{IGNORE}\nprint('ready', flush=True)\nsignal.pause()", mark))
        until(lambda: "ready" in experimenter("logs", tags()[0]).stdout)
        assert said in experimenter("stop", "x").stdout


def test_a_stranger_with_a_recycled_pid_is_never_signalled(repo: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        start_time = Identity.of(stranger.pid).start_time
        for changes in ({"boot_id": "another"}, {"start_time": 1, "wrapper_start_time": 1}):
            id_ = detached("-n", "x", "--", "sleep", "1000")
            real = pid_file(id_)
            os.kill(real["wrapper_pid"], signal.SIGKILL)
            os.kill(real["pid"], signal.SIGKILL)
            forged: dict[str, object] = {"pid": stranger.pid, "wrapper_pid": stranger.pid, "start_time": start_time}
            forged |= {"wrapper_start_time": start_time, **changes}
            Path(f".git/experimenter/runs/{id_}/pid.json").write_text(json.dumps({**real, **forged}))

            assert experimenter("stop", "--all").stderr.endswith("Note: nothing runs here\n")
            assert experimenter("ps", "--json").stdout == "[]\n"
        assert stranger.poll() is None
        stranger.kill()


def test_one_that_became_another_users_is_told_as_such(repo: Path) -> None:
    """As `sudo` makes one; here root does without the right to signal others."""
    without_right = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"]
    if subprocess.run([*without_right, "true"], capture_output=True).returncode != 0:
        pytest.skip("cannot drop a capability here")
    id_ = detached("-n", "x", "--", "setpriv", "--reuid=12345", "--clear-groups", "sleep", "1000")
    pid = pid_file(id_)["pid"]
    until(lambda: psutil.Process(pid).uids().real == 12345)
    done = subprocess.run([*without_right, EXPERIMENTER, "stop", "--grace", "0", "x"], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {tags()[0]} was killed, but does not go; look at the processes {pid}\n"
    assert (experimenter("stop", "--grace", "0", "x").returncode, tags()) == (0, [])


def test_works_from_a_linked_work_tree(repo: Path, mark: str, tmp_path: Path) -> None:
    sh(f"git worktree add -q {tmp_path}/linked")
    detached("-n", "x", "--", "sleep", "1000", cwd=tmp_path / "linked")

    assert experimenter("stop", "x").returncode == 0
    nothing_is_left(mark)
