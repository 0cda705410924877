"""`ps`: what runs now, from wherever it was started, and nothing that only looks so."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import detached, experimenter, pid_file, sh, tags, until

PYTHON = sys.executable
KEYS = [
    "id", "tag", "name", "state", "pid", "wrapper_pid", "host", "started", "elapsed_s", "cpu_percent", "memory_bytes",
    "command",
]  # fmt: skip


def ps() -> list[dict[str, Any]]:
    done = experimenter("ps", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def forge(id_: str, **changes: object) -> str:
    """Change what a PID file says; return its text before."""
    path = Path(f".git/experimenter/runs/{id_}/pid.json")
    text = path.read_text()
    path.write_text(json.dumps({**json.loads(text), **changes}))
    return text


def restore(id_: str, text: str) -> None:
    Path(f".git/experimenter/runs/{id_}/pid.json").write_text(text)


def test_shows_what_runs_with_stable_keys(repo: Path) -> None:
    id_ = detached("-n", "x", "--", "sh", "-c", "sleep 1000", "--api-key", "hunter2", "https://me:hunter2@host/")
    (found,) = ps()

    assert list(found) == KEYS
    assert (found["id"], found["tag"], found["name"], found["state"]) == (id_, tags()[0], "x", "running")
    assert (found["pid"], found["wrapper_pid"]) == (pid_file(id_)["pid"], pid_file(id_)["wrapper_pid"])
    assert found["started"] == json.loads(experimenter("--json").stdout)[0]["started"]
    assert 0 < found["elapsed_s"] < 60
    assert found["command"] == ["sh", "-c", "sleep 1000", "--api-key", "<redacted>", "https://<redacted>@host/"]
    experimenter("stop", "x")
    assert ps() == []


def test_cpu_and_memory_are_those_of_the_whole_tree(repo: Path) -> None:
    script = """
import subprocess, sys
child = "held = bytearray(150_000_000); held[::4096] = bytes(len(held[::4096]))\\nwhile True: pass"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True).wait()
"""
    detached("-n", "x", "--", PYTHON, "-c", script)

    until(lambda: ps()[0]["memory_bytes"] > 150_000_000, what="memory of the child's child")
    until(lambda: ps()[0]["cpu_percent"] > 25, what="CPU of the child's child")
    assert ps()[0]["memory_bytes"] < 400_000_000
    experimenter("stop", "--grace", "1", "x")


def test_memory_that_a_tree_shares_counts_once(repo: Path) -> None:
    script = """
import os, signal
held = bytearray(100_000_000); held[::4096] = bytes(len(held[::4096]))
for _ in range(5):
    if os.fork() == 0: signal.pause()
print("ready", flush=True); signal.pause()
"""
    detached("-n", "x", "--", PYTHON, "-c", script)
    until(lambda: "ready" in experimenter("logs", "x").stdout)

    assert 100_000_000 < ps()[0]["memory_bytes"] < 250_000_000
    experimenter("stop", "x")


def test_shows_runs_and_blocks_of_every_linked_work_tree(repo: Path, tmp_path: Path) -> None:
    sh(f"git worktree add -q {tmp_path}/linked")
    detached("-n", "there", "--", "sleep", "1000", cwd=tmp_path / "linked")
    code = (
        'import time\nfrom experimenter import ExperimentLogger\nwith ExperimentLogger("block", {}): time.sleep(1000)'
    )
    with subprocess.Popen([PYTHON, "-c", code]) as script:
        until(lambda: len(ps()) == 2)
        found = {entry["name"]: entry for entry in ps()}
        assert found["block"]["pid"] == found["block"]["wrapper_pid"] == script.pid
        assert found["block"]["memory_bytes"] > 0
        assert "there" in found
        experimenter("stop", "--all")
    assert tags() == []


def test_one_whose_wrapper_was_killed_is_orphaned(repo: Path) -> None:
    id_ = detached("-n", "x", "--", "sleep", "1000")
    os.kill(pid_file(id_)["wrapper_pid"], signal.SIGKILL)
    until(lambda: ps()[0]["state"] == "orphaned")

    assert tags() == [ps()[0]["tag"]]
    experimenter("stop", "x")
    assert ps() == []


def test_one_that_is_being_stopped_is_stopping(repo: Path) -> None:
    detached("-n", "x", "--", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: "ready" in experimenter("logs", "x").stdout)
    with subprocess.Popen(["experimenter", "stop", "--grace", "600", "x"], stdout=subprocess.DEVNULL):
        until(lambda: ps()[0]["state"] == "stopping")
        experimenter("stop", "--grace", "0", "x")
    assert ps() == []


def test_those_of_other_hosts_are_listed_and_left_alone(repo: Path) -> None:
    id_ = detached("-n", "x", "--", "sleep", "1000")
    real = pid_file(id_)
    text = forge(id_, host="node7", pid=1, start_time=0, wrapper_pid=1, wrapper_start_time=0, boot_id="another")
    (found,) = ps()

    assert (found["host"], found["state"]) == ("node7", "running")
    assert (found["cpu_percent"], found["memory_bytes"]) == (None, None)
    assert "node7" in experimenter("ps").stdout
    experimenter("run", "-n", "y", "--", "true")
    assert len(tags()) == 2
    restore(id_, text)
    assert ps()[0]["pid"] == real["pid"]
    experimenter("stop", "x")


def test_a_file_of_another_owner_shows_nothing(repo: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file to another user")
    id_ = detached("-n", "x", "--", "sleep", "1000")
    path = Path(f".git/experimenter/runs/{id_}/pid.json")
    os.chown(path, 12345, -1)

    assert ps() == []
    assert path.exists()
    os.chown(path, os.getuid(), -1)
    experimenter("stop", "x")


@pytest.mark.parametrize("changes", [{"tag": "exp_other_20260101T000000.000000Z"}, {"tag": 7}, {"pid": "x"}])
def test_a_file_that_belongs_to_no_entry_shows_nothing(repo: Path, changes: dict[str, object]) -> None:
    id_ = detached("-n", "x", "--", "sleep", "1000")
    text = forge(id_, **changes)
    done = experimenter("ps")

    assert done.returncode == 0
    assert id_ not in done.stdout
    restore(id_, text)
    assert experimenter("stop", "x").returncode == 0


def test_one_in_a_container_that_shares_our_name_is_judged_by_its_processes(repo: Path) -> None:
    in_container = ["unshare", "--fork", "--pid", "--mount-proc"]
    if subprocess.run([*in_container, "true"], capture_output=True).returncode != 0:
        pytest.skip("cannot make a namespace of process ids here")
    sh("mkfifo go")
    with subprocess.Popen([*in_container, "experimenter", "run", "-n", "x", "--", "sh", "-c", "read line < go"]) as run:
        until(lambda: ps() and ps()[0]["pid"], what="the command")
        (found,) = ps()
        Path("go").write_text("\n")
    assert (found["state"], run.returncode, ps()) == ("running", 0, [])
    assert experimenter("list", "--json").stdout.count('"completed"') == 1


def test_what_only_looks_like_an_entry_is_left_alone(repo: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "in").mkdir(parents=True)
    experimenter("run", "--", "true")
    Path(".git/experimenter/runs/deadbee1").symlink_to(target)
    target.chmod(0o755)
    script = "d=$(dirname $EXPERIMENTER_RESULTS_FILE); mv $d $HOME/moved; ln -s $1 $d"
    experimenter("run", "--", "sh", "-c", script, "sh", str(target))
    experimenter("ps")

    assert target.stat().st_mode & 0o777 == 0o755
    assert (target / "in").stat().st_mode & 0o777 == 0o755


def test_a_damaged_pid_file_of_one_that_runs_is_told(repo: Path) -> None:
    id_ = detached("-n", "x", "--", "sleep", "1000")
    path = Path(f".git/experimenter/runs/{id_}/pid.json")
    text = path.read_text()
    path.write_text("garbage")

    assert f"Warning: {tags()[0]} still runs, but its PID file in" in experimenter("ps").stderr
    path.write_text(text)
    experimenter("stop", "x")


def test_the_table_names_all_that_matters(repo: Path) -> None:
    detached("-n", "x", "--", "sleep", "1000")
    heading, line = experimenter("ps").stdout.splitlines()

    assert heading.split() == ["ID", "NAME", "STATE", "PID", "STARTED", "ELAPSED", "CPU", "MEMORY", "HOST", "COMMAND"]
    assert "sleep 1000" in line
    experimenter("stop", "x")


def test_a_word_with_a_newline_does_not_break_the_table(repo: Path) -> None:
    detached("-n", "x", "--", "sh", "-c", "sleep 1000\n#\x1b[31m")

    lines = experimenter("ps").stdout.splitlines()
    assert len(lines) == 2
    assert "\x1b" not in lines[1]
    experimenter("stop", "x")


def test_nothing_running_is_a_notice(repo: Path) -> None:
    done = experimenter("ps")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "Note: nothing runs here\n")
    assert not Path(".git/experimenter").exists()
