"""`logs`: the output of a run, while it runs and afterwards."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import EXPERIMENTER, Terminal, detached, experimenter, pid_file, sh, tags, until
from experimenter.logs import collapsed


def logs(*words: str) -> bytes:
    done = subprocess.run([EXPERIMENTER, "logs", *words], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def test_both_streams_are_there_while_it_runs_and_afterwards(repo: Path) -> None:
    sh("mkfifo go")
    id_ = detached("-n", "x", "--", "sh", "-c", "echo out; echo err >&2; read line < go; echo more")
    until(lambda: logs("x") == b"out\nerr\n")
    Path("go").write_text("\n")
    experimenter("wait", id_)

    assert logs("x") == logs(id_) == logs(id_[:5]) == logs(tags()[0]) == b"out\nerr\nmore\n"


def test_follows_until_the_run_ends(repo: Path) -> None:
    sh("mkfifo go")
    detached("-n", "x", "--", "sh", "-c", "echo first; read line < go; echo last")
    with subprocess.Popen([EXPERIMENTER, "logs", "-f", "x"], stdout=subprocess.PIPE) as following:
        assert following.stdout
        assert following.stdout.readline() == b"first\n"
        Path("go").write_text("\n")
        assert following.stdout.read() == b"last\n"
    assert following.returncode == 0


def test_follows_also_one_in_the_foreground_and_one_whose_wrapper_was_killed(repo: Path) -> None:
    sh("mkfifo go")
    id_ = detached("-n", "x", "--", "sh", "-c", "read line < go; echo last")
    os.kill(pid_file(id_)["wrapper_pid"], signal.SIGKILL)
    with subprocess.Popen([EXPERIMENTER, "logs", "-f", "x"], stdout=subprocess.PIPE) as following:
        Path("go").write_text("\n")
        assert following.stdout and following.stdout.read() == b"last\n"


def test_one_that_failed_still_has_its_log_by_id_and_by_name(repo: Path) -> None:
    id_ = detached("-n", "x", "--", "sh", "-c", "echo last words; exit 3")
    experimenter("wait", id_)

    assert tags() == []
    assert logs(id_) == logs("x") == b"last words\n"


def test_progress_bars_show_their_last_state_and_with_raw_all_of_it(repo: Path) -> None:
    script = r"printf 'begin\r\n 10%%\r 50%%\r100%%\nend\r'"
    experimenter("run", "-n", "x", "--", "sh", "-c", script)

    assert logs("x") == b"begin\n100%\nend"
    assert logs("x", "--raw") == b"begin\r\n 10%\r 50%\r100%\nend\r"


def test_bytes_of_any_kind_pass(repo: Path) -> None:
    blob = bytes(range(256)) * 3000
    subprocess.run([EXPERIMENTER, "run", "-n", "x", "--", "cat"], input=blob, stdout=subprocess.DEVNULL, check=True)

    assert logs("x", "--raw") == blob


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_collapsing_is_the_same_however_the_pieces_are_cut(size: int) -> None:
    text = b"a\rb\rc\n\r\n\rx\r\ry\r\nlast\r40%\r50%\r"
    pieces = [text[place : place + size] for place in range(0, len(text), size)]

    assert b"".join(collapsed(pieces, redraws=False)) == b"c\n\ny\n50%"


def test_collapsing_holds_no_more_than_a_line(repo: Path) -> None:
    bar = (b"\r%9d it" % number for number in range(200_000))

    assert b"".join(collapsed(bar, redraws=False)) == b"   199999 it"


def test_on_a_terminal_a_bar_is_drawn_over_while_it_is_followed(repo: Path, terminal: Callable[..., Terminal]) -> None:
    sh("mkfifo go")
    detached("-n", "x", "--", "sh", "-c", r"printf ' 10%%\r 20%%\r'; read line < go; printf '100%%\ndone\n'")
    screen = terminal(EXPERIMENTER, "logs", "-f", "x")
    screen.expect(" 20%")
    Path("go").write_text("\n")
    screen.end()

    assert b" 10%" not in screen.screen
    assert screen.screen.replace(b"\r\n", b"\n") == b" 20%\r\x1b[K100%\ndone\n"


def test_only_the_newest_are_kept(repo: Path) -> None:
    sh("git config experimenter.keepLogs 1")
    for name in ("one", "two"):
        experimenter("run", "-n", name, "--", "echo", name)
    done = experimenter("logs", "one")

    assert logs("two") == b"two\n"
    assert done.returncode == 1
    assert f"Error: {tags()[0]} has no log; " in done.stderr
    assert "git config experimenter.keepLogs" in done.stderr


def test_a_block_of_a_script_has_none(repo: Path) -> None:
    code = 'import time\nfrom experimenter import ExperimentLogger\nwith ExperimentLogger("x", {}): time.sleep(1000)'
    with subprocess.Popen(["python", "-c", code]):
        until(tags)
        done = experimenter("logs", "x")
        assert (done.returncode, done.stderr) == (
            1,
            f"Error: {tags()[0]} has no log; what a script prints goes where the script's output goes\n",
        )
        experimenter("stop", "x")


def test_an_unknown_one_is_named_with_the_nearest(repo: Path) -> None:
    experimenter("run", "-n", "baseline", "--", "true")
    done = experimenter("logs", "basline")

    assert done.returncode == 1
    assert "no experiment 'basline'; did you mean\n" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly(repo: Path) -> None:
    detached("-n", "x", "--", "sh", "-c", "yes | head -c 5000000; exec sleep 1000")
    done = sh(f"{EXPERIMENTER} logs -f x | head -n 1")

    assert done == "y\n"
    experimenter("stop", "x")
