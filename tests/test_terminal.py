"""Programs that need a terminal, in a run as without one: pagers, editors, debuggers, shells with jobs."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from conftest import EXPERIMENTER, Terminal, experimenter, fill, pid_file, record, resize, sh, tags, until

StartTerminal = Callable[..., Terminal]
_LFLAG = 3


@pytest.fixture(autouse=True)
def _xterm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PS1", "$ ")


def needs(program: str) -> None:
    if not shutil.which(program):
        assert not os.environ.get("CI"), f"{program} is missing"
        pytest.skip(f"there is no {program} here")


def in_run(terminal: StartTerminal, *command: str) -> Terminal:
    return terminal(EXPERIMENTER, "run", "-n", "x", "--", *command)


def in_shell(terminal: StartTerminal, line: str) -> Terminal:
    """Start an interactive shell with job control, and type a line."""
    screen = terminal("bash", "--norc", "--noprofile", "-i")
    screen.expect("$ ")
    screen.type(line + "\n")
    return screen


def after(screen: Terminal, keys: str, text: str) -> None:
    """Type keys, and wait until `text` is shown after them."""
    start = len(screen.screen)
    screen.type(keys)
    until(lambda: screen.read() and text.encode() in screen.screen[start:], what=text)


def is_cooked(screen: Terminal) -> bool:
    """Say whether the user's terminal echoes and edits lines."""
    screen.read()
    wanted = termios.ECHO | termios.ICANON | termios.ISIG
    return bool(termios.tcgetattr(screen.master)[_LFLAG] & wanted == wanted)


def test_less_takes_a_single_key(repo: Path, terminal: StartTerminal) -> None:
    needs("less")
    Path("long").write_text("".join(f"line {number}\n" for number in range(200)))
    screen = in_run(terminal, "less", "long")
    screen.expect("line 20")
    screen.type(" ")
    screen.expect("line 40")
    screen.type("q")

    assert screen.end() == 0
    assert is_cooked(screen)


def test_vim_edits_is_suspended_and_goes_on(repo: Path, terminal: StartTerminal) -> None:
    needs("vim")
    Path("filled").write_text("call setline(1, 'text')\n")
    screen = in_shell(terminal, f"{EXPERIMENTER} run -- vim -u NONE -N -S filled written")
    screen.expect("text")
    after(screen, "\x1a", "Stopped")
    after(screen, "fg\n", "text")
    after(screen, ":wq\n", "Note: recorded")
    screen.type("exit\n")
    screen.end()

    assert Path("written").read_text() == "text\n"


def test_curses_gets_each_key_and_the_size(repo: Path, terminal: StartTerminal) -> None:
    Path("shows.py").write_text(
        "import curses\n"
        "def show(screen):\n"
        "    screen.addstr('%dx%d' % screen.getmaxyx())\n"
        "    return screen.getch()\n"
        "def until_q(screen):\n"
        "    while show(screen) != ord('q'): pass\n"
        "curses.wrapper(until_q)\n"
    )
    screen = in_run(terminal, sys.executable, "shows.py")
    screen.expect("24x80")
    resize(screen.master, 30, 90)
    screen.type("x")  # ncurses does not notice a resize between its look for one and its wait for a key
    screen.expect("30x90")
    screen.type("q")

    assert screen.end() == 0


def test_python_at_its_prompt_takes_ctrl_c_for_itself(repo: Path, terminal: StartTerminal) -> None:
    screen = in_run(terminal, sys.executable, "-i", "-c", "import readline")
    screen.expect(">>> ")
    # Python itself loses a Ctrl-C that comes between its prompt and its wait for a key, or takes it for the next line.
    until(lambda: shows(screen, "\x03\n", "KeyboardInterrupt"), what="KeyboardInterrupt")
    until(lambda: shows(screen, "\x03\n", "KeyboardInterrupt", times=2), what="another one")
    until(lambda: shows(screen, "print(6 * 7)\n", "42"), what="what is typed then")
    screen.type("exit()\n")

    assert screen.end() == 0
    assert record()["status"] == "completed"


def shows(screen: Terminal, keys: str, text: str, *, times: int = 1) -> bool:
    """Type keys; say whether the screen has shown a text by now."""
    screen.type(keys)
    screen.read()
    return screen.screen.count(text.encode()) >= times


def test_a_password_is_not_echoed(repo: Path, terminal: StartTerminal) -> None:
    screen = in_run(terminal, sys.executable, "-c", "import getpass; print('got', getpass.getpass()[::-1])")
    screen.expect("Password: ")
    screen.type("secret\n")
    screen.expect("got terces")

    assert screen.end() == 0
    assert b"secret" not in screen.screen


def test_a_shell_has_job_control(repo: Path, terminal: StartTerminal) -> None:
    screen = in_run(terminal, "bash", "--norc", "--noprofile", "-i")
    screen.expect("$ ")
    after(screen, "sh -c 'echo u\"\"p; read line; echo got $line'\n", "up\r\n")
    after(screen, "\x1a", "Stopped")
    after(screen, "fg\n", "read line")
    after(screen, "hello\n", "got hello")
    after(screen, "sh -c 'echo u\"\"p; exec sleep 1000'\n", "up\r\n")
    after(screen, "\x03", "$ ")
    after(screen, "echo $((6 * 7))\n", "42")
    screen.type("exit\n")

    assert screen.end() == 0
    assert b"no job control" not in screen.screen
    assert record()["status"] == "completed"


def test_it_is_the_controlling_terminal(repo: Path, terminal: StartTerminal) -> None:
    screen = in_run(terminal, "sh", "-c", "tty; read answer </dev/tty; echo got $answer >/dev/tty; ps -o tty= -p $$")
    screen.expect("/dev/pts/")
    screen.type("yes\n")
    screen.expect("got yes")

    assert screen.end() == 0


def test_a_result_on_stderr_counts(repo: Path, terminal: StartTerminal) -> None:
    in_run(terminal, "sh", "-c", "echo 'EXPERIMENTER_RESULTS {\"a\": 1}' >&2").end()

    assert record()["results"] == {"a": 1}


def test_much_is_typed_and_shown(repo: Path, terminal: StartTerminal) -> None:
    """More than a terminal holds, by a program that takes its time."""
    script = (
        "import sys, tty; tty.setcbreak(0); print('ready', flush=True); print(len(sys.stdin.read(20000)), 'x' * 90000)"
    )
    screen = in_run(terminal, sys.executable, "-c", script)
    screen.expect("ready")
    for _ in range(20):
        screen.type("y" * 1000)
        screen.read()
    screen.expect("20000 " + "x" * 1000)

    assert screen.end() == 0
    assert screen.screen.count(b"x" * 90000) == 1


def test_what_stays_in_the_background_is_left_alone(repo: Path, terminal: StartTerminal) -> None:
    screen = in_run(terminal, "sh", "-c", "sleep 1000 & echo $! >pid")
    assert screen.end() == 0
    pid = int(Path("pid").read_text())

    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)


def test_a_run_that_goes_on_in_the_background_takes_no_key(repo: Path, terminal: StartTerminal) -> None:
    os.mkfifo("finish")
    screen = in_shell(terminal, f'{EXPERIMENTER} run -n x -- sh -c \'echo be""gun; read line <finish; echo en""ded\'')
    screen.expect("begun")
    screen.type("\x1a")
    screen.expect("Stopped")
    screen.type("bg\n")
    screen.type("echo $((6 * 7))\n")
    screen.expect("42")
    Path("finish").write_text("\n")
    screen.expect("ended")
    screen.expect("Note: recorded")
    screen.type("exit\n")
    screen.end()


def test_a_terminal_that_closes_ends_the_command(repo: Path, terminal: StartTerminal) -> None:
    script = "trap 'echo hung up >hup; exit 1' HUP; echo ready; while :; do sleep 0.1; done"
    screen = in_run(terminal, "sh", "-c", script)
    screen.expect("ready")
    wrapper = screen.pid
    os.close(screen.master)
    screen.master = os.open(os.devnull, os.O_RDONLY)
    until(screen.has_ended, what="the end of the run")

    assert (wrapper, Path("hup").read_text(), tags()) == (screen.pid, "hung up\n", [])
    assert list(Path(".git/experimenter/runs").iterdir()) == []


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_our_own_death_leaves_the_terminal_as_it_was(repo: Path, terminal: StartTerminal, shell: str) -> None:
    screen = terminal(
        shell, "-c", f"{EXPERIMENTER} run -n x -- sh -c 'echo ready; exec sleep 1000'; read line; echo got $line"
    )
    screen.expect("ready")
    assert not is_cooked(screen)
    (wrapper,) = sh(
        "experimenter ps --json | python -c 'import json, sys; print(json.load(sys.stdin)[0][\"wrapper_pid\"])'"
    ).split()
    os.kill(int(wrapper), signal.SIGKILL)
    until(lambda: is_cooked(screen), what="the terminal to be as it was")
    screen.type("hello\n")
    screen.expect("got hello")
    screen.end()
    until(lambda: "nothing runs" in experimenter("ps").stderr, what="the end of the command")

    assert tags() == []


def test_an_error_leaves_the_terminal_as_it_was(repo: Path, terminal: StartTerminal) -> None:
    screen = in_run(terminal, "no-such-command")

    assert os.waitstatus_to_exitcode(screen.end()) == 127
    assert b"Error: there is no command 'no-such-command'" in screen.screen
    assert is_cooked(screen)


def test_a_full_disk_costs_the_log_alone(
    small_disk: Path, terminal: StartTerminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_disk)
    Path(".gitignore").write_text("filler\n")
    screen = in_run(terminal, "sh", "-c", "echo ready; read line; seq 100000; rm filler")
    screen.expect("ready")
    fill(Path("filler"))
    screen.type("\n")

    assert screen.end() == 0
    assert b"99999\r\n100000" in screen.screen
    with contextlib.suppress(FileNotFoundError):
        Path("filler").unlink()


def test_streams_that_are_no_terminal_pass_through(repo: Path, terminal: StartTerminal) -> None:
    """With stdin from elsewhere the command reads that, and still sees a terminal on stdout."""
    screen = terminal(
        "sh", "-c", f"echo piped | {EXPERIMENTER} run -- sh -c 'read line; echo got $line; test -t 1 && ! test -t 0'"
    )
    screen.expect("got piped")

    assert screen.end() == 0


def test_a_leader_that_is_killed_takes_the_command_along(repo: Path, terminal: StartTerminal) -> None:
    """The terminal of the command hangs up, and its end is known all the same."""
    screen = in_run(terminal, "sh", "-c", "echo ready; exec sleep 1000")
    screen.expect("ready")
    (running,) = json.loads(experimenter("ps", "--json").stdout)
    os.kill(pid_file(running["id"])["leader_pid"], signal.SIGKILL)

    assert os.waitstatus_to_exitcode(screen.end()) == 128 + signal.SIGHUP
    assert (tags(), is_cooked(screen)) == ([], True)


def test_a_key_that_is_typed_as_the_command_ends_costs_nothing(repo: Path, terminal: StartTerminal) -> None:
    os.mkfifo("finish")
    screen = in_run(terminal, "sh", "-c", "echo ready; read line <finish; echo 'EXPERIMENTER_RESULTS {\"a\": 1}'")
    screen.expect("ready")
    (running,) = json.loads(experimenter("ps", "--json").stdout)
    os.kill(screen.pid, signal.SIGSTOP)
    Path("finish").write_text("\n")
    until(lambda: not psutil.pid_exists(running["pid"]), what="the end of the command")
    screen.type("typed ahead")
    os.kill(screen.pid, signal.SIGCONT)

    assert screen.end() == 0
    assert record()["results"] == {"a": 1}


def test_an_interpreter_goes_on_after_each_ctrl_c(repo: Path, terminal: StartTerminal) -> None:
    """Between two prompts the terminal edits lines again."""
    screen = in_run(terminal, sys.executable, "-i", "-c", "import readline")
    screen.expect(">>> ")
    for _ in range(3):
        screen.type("while True: open('looping', 'w').close()\n\n")
        until(lambda: screen.read() and Path("looping").exists(), what="the loop")
        after(screen, "\x03", "KeyboardInterrupt\r\n>>> ")
        Path("looping").unlink()
    screen.type("exit()\n")

    assert screen.end() == 0
    assert record()["status"] == "completed"


def test_keys_are_for_us_while_a_stop_waits_for_what_the_command_has_left(repo: Path, terminal: StartTerminal) -> None:
    script = "(trap '' TERM INT HUP; echo $$ >left; while :; do sleep 0.1; done) & echo ready; wait"
    screen = in_run(terminal, "sh", "-c", script)
    screen.expect("ready")
    until(Path("left").exists, what="the command's child")
    with subprocess.Popen([EXPERIMENTER, "stop", "x", "--grace", "60"]) as stop:
        until(lambda: is_cooked(screen), what="the terminal to be as it was")
        screen.type("\x03")
        screen.expect("^C")
        while not screen.has_ended():
            screen.type("\x03")
            screen.read()
        assert stop.wait(timeout=30) == 0

    assert tags() == []


def test_without_a_leader_nothing_is_sent_to_ourselves(repo: Path, terminal: StartTerminal) -> None:
    os.mkfifo("finish")
    screen = in_run(terminal, "sh", "-c", "trap '' HUP; echo ready; read line <finish")
    screen.expect("ready")
    (running,) = json.loads(experimenter("ps", "--json").stdout)
    leader = pid_file(running["id"])["leader_pid"]
    os.kill(leader, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(leader), what="the end of the leader")
    for signum in (signal.SIGTSTP, signal.SIGCONT):
        os.kill(screen.pid, signum)
    Path("finish").write_text("\n")

    assert screen.end() == 0
