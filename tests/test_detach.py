"""`run --detach`: back at once with the id, and on its own from then on."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from conftest import EXPERIMENTER, Terminal, detached, experimenter, pid_file, record, sh, tags, until


def test_prints_the_id_alone_and_ends_as_any_run(repo: Path) -> None:
    done = experimenter(
        "run", "-d", "-n", "x", "-p", "lr=0.1", "--", "sh", "-c", "echo 'EXPERIMENTER_RESULTS {\"a\": 1}'"
    )
    id_ = done.stdout.strip()

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{id_}\n"
    assert experimenter("wait", id_).returncode == 0
    assert json.loads(experimenter("--json").stdout)[0]["id"] == id_
    found = record()
    assert (found["status"], found["results"], found["parameters"]) == ("completed", {"a": 1}, {"lr": 0.1})
    assert experimenter("logs", id_).stdout == 'EXPERIMENTER_RESULTS {"a": 1}\n'


def test_returns_only_when_the_command_runs(repo: Path) -> None:
    sh("git config filter.slow.clean 'cat; sleep 0.5'; echo '*.x filter=slow' > .gitattributes; echo x > a.x")
    id_ = detached("--", "sleep", "1000")

    assert psutil.Process(pid_file(id_)["pid"]).cmdline() == ["sleep", "1000"]
    experimenter("stop", id_)


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["--", "no-such-command"], 127, "there is no command 'no-such-command'"),
        (["--", "./train.py"], 126, "cannot execute './train.py': no permission"),
        (["-n", "a/b", "--", "true"], 125, "'a/b' cannot be a name"),
        (["--params", "none.yaml", "--", "true"], 125, "none.yaml"),
    ],
)
def test_says_why_a_command_did_not_start(repo: Path, words: list[str], status: int, reason: str) -> None:
    done = experimenter("run", "-d", *words)

    assert (done.returncode, done.stdout, tags()) == (status, "", [])
    assert done.stderr.startswith("Error: ")
    assert reason in done.stderr
    assert not Path(".git/experimenter/runs").exists() or list(Path(".git/experimenter/runs").iterdir()) == []


def test_refused_files_are_told_to_the_user(repo: Path) -> None:
    Path(".env").write_text("s")
    done = experimenter("run", "-d", "--", "true")

    assert (done.returncode, done.stdout) == (125, "")
    assert ".env (looks secret)" in done.stderr


def test_ctrl_c_while_it_starts_leaves_nothing_behind(repo: Path) -> None:
    sh("git config filter.slow.clean 'touch started; sleep 20'; echo '*.x filter=slow' > .gitattributes; echo x > a.x")
    process = subprocess.Popen([EXPERIMENTER, "run", "-d", "--", "true"], stderr=subprocess.PIPE, process_group=0)
    until(Path("started").exists)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)

    assert (process.returncode, errors, tags()) == (-signal.SIGINT, b"", [])
    assert list(Path(".git/experimenter/runs").iterdir()) == []


def test_is_in_a_session_of_its_own_without_a_terminal(repo: Path) -> None:
    id_ = detached("-n", "x", "--", "sh", "-c", "cat; test -t 0 || echo no terminal; tty; exec sleep 1000")
    found = pid_file(id_)
    until(lambda: "not a tty" in experimenter("logs", id_).stdout)

    assert os.getsid(found["pid"]) == os.getsid(found["wrapper_pid"]) == found["wrapper_pid"] != os.getsid(0)
    experimenter("stop", "x")


def test_survives_the_terminal_that_it_was_started_from(repo: Path, terminal: Callable[..., Terminal]) -> None:
    """When a terminal closes, the kernel sends SIGHUP to the processes of its session."""
    screen = terminal("sh", "-c", f"{EXPERIMENTER} run -d -n x -- sleep 1000; exec sleep 1000")
    until(lambda: json.loads(experimenter("ps", "--json").stdout))
    screen.read()
    os.kill(screen.pid, signal.SIGHUP)
    screen.end()
    os.close(screen.master)
    screen.master = os.open(os.devnull, os.O_RDONLY)

    (found,) = json.loads(experimenter("ps", "--json").stdout)
    assert found["state"] == "running"
    assert "it ended when asked" in experimenter("stop", "x").stdout


def test_does_not_hold_the_output_of_its_starter_open(repo: Path) -> None:
    done = sh(f"{EXPERIMENTER} run -d -n x -- sleep 1000 2>&1 | cat")

    assert len(done.strip()) == 8
    experimenter("stop", "x")


def test_a_failure_removes_the_tag_and_wait_knows_the_status(repo: Path) -> None:
    id_ = detached("-n", "x", "--", "sh", "-c", "echo out; echo err >&2; exit 7")

    assert experimenter("wait", id_).returncode == 7
    assert experimenter("wait", "x").returncode == 7
    assert tags() == []
    assert experimenter("logs", id_).stdout == "out\nerr\n"


def test_wait_returns_when_it_ends_also_from_elsewhere(repo: Path, tmp_path: Path) -> None:
    sh(f"mkfifo go; git worktree add -q {tmp_path}/linked")
    detached("-n", "x", "--", "sh", "-c", "read line < go; kill -TERM $$")
    with subprocess.Popen([EXPERIMENTER, "-C", str(tmp_path / "linked"), "wait", "x"]) as waiting:
        Path("go").write_text("\n")
        assert waiting.wait(timeout=20) == 128 + signal.SIGTERM


def test_a_result_behind_a_progress_bar_is_found(repo: Path) -> None:
    """The log has both streams in one, and a bar on stderr does not end its line."""
    script = """
        printf ' 10%%\\r 50%%\\r' >&2; echo 'EXPERIMENTER_RESULTS {"a": 1}'
        echo 'x EXPERIMENTER_RESULTS {"a": "no marker line"}'; printf 'EXPERIMENTER_RESULTS {"b": 2}'
    """
    experimenter("wait", detached("--", "sh", "-c", script))

    assert record()["results"] == {"a": 1, "b": 2}


def test_what_its_reader_has_to_know_is_in_the_log(repo: Path) -> None:
    id_ = detached("--", "sh", "-c", "echo two > train.py; echo '[1]' > $EXPERIMENTER_RESULTS_FILE")
    experimenter("wait", id_)
    said = experimenter("logs", id_).stdout

    assert said.startswith("Warning: EXPERIMENTER_RESULTS_FILE is not a JSON object")
    assert "Warning: files changed while the experiment ran" in said
    assert "Note:" not in said


def test_inherits_no_descriptor_that_others_wait_for(repo: Path) -> None:
    """A pipe that the shell gave us is the command's, as for a run in the foreground."""
    done = subprocess.run(["bash", "-c", f"{EXPERIMENTER} run -d -n x -- cat <(echo hi)"], capture_output=True)
    experimenter("wait", done.stdout.decode().strip())

    assert experimenter("logs", "x").stdout == "hi\n"
