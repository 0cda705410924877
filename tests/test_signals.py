"""What signals to a run do: the exit status, the tag and its record, and the PID file after each."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import EXPERIMENTER, Terminal, experimenter, record, sh, tags, until

StartTerminal = Callable[..., Terminal]
DIES = "dies"  # as an exit status: of the signal; as an exit code in a record: 128 and the signal's number

# fmt: off
RULES = [
    # the signal is …   the command …         experimenter ends with …   the tag is …   with --keep its record says …
    ("INT",             "exits 0",                  DIES,                "removed",     "interrupted", 0),
    ("INT",             "exits 7",                  DIES,                "removed",     "interrupted", 7),
    ("INT",             "goes on and ends with 0",  DIES,                "removed",     "interrupted", 0),
    ("INT",             "dies of it",               DIES,                "removed",     "interrupted", DIES),

    ("TERM HUP QUIT",   "exits 0",                  0,                   "kept",        "completed",   0),
    ("TERM HUP QUIT",   "exits 7",                  7,                   "removed",     "stopped",     7),
    ("TERM HUP QUIT",   "goes on and ends with 0",  0,                   "kept",        "completed",   0),
    ("TERM HUP QUIT",   "dies of it",               DIES,                "removed",     "stopped",     DIES),

    ("USR1 USR2",       "exits 0",                  0,                   "kept",        "completed",   0),
    ("USR1 USR2",       "exits 7",                  7,                   "removed",     "failed",      7),
    ("USR1 USR2",       "goes on and ends with 0",  0,                   "kept",        "completed",   0),
    ("USR1 USR2",       "dies of it",               DIES,                "removed",     "failed",      DIES),
]
# fmt: on
TRAPS = {
    "exits 0": "trap 'exit 0' {0}",
    "exits 7": "trap 'exit 7' {0}",
    "goes on and ends with 0": "trap '' {0}",
    "dies of it": "trap - {0}",
}
KEYS = {"INT": "\x03", "QUIT": "\x1c"}


@dataclass(frozen=True)
class Rule:
    """One row of the table, for one signal."""

    signal: str
    does: str
    ends_with: int | str
    tag: str
    kept_as: str
    exit_code: int | str

    @property
    def signum(self) -> int:
        return signal.Signals[f"SIG{self.signal}"]

    @property
    def script(self) -> str:
        return f"{TRAPS[self.does].format(self.signal)}; exec <>finish; echo > ready; read line"

    @property
    def returncode(self) -> int:
        return -self.signum if self.ends_with == DIES else int(self.ends_with)

    @property
    def recorded_exit_code(self) -> int:
        return 128 + self.signum if self.exit_code == DIES else int(self.exit_code)


def rules(signals: str) -> list[Rule]:
    rows = [(name, *rest) for names, *rest in RULES for name in str(names).split()]
    return [Rule(*row) for row in rows if row[0] in signals.split()]  # type: ignore[arg-type]


def each_rule(signals: str = "INT TERM HUP QUIT USR1 USR2") -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rule", rules(signals), ids=lambda rule: f"{rule.signal}-{rule.does}")


def place(repo: Path, name: str) -> Path:
    """Make a folder for a run: the command writes `ready` there, and ends when something is written to `finish`."""
    folder = repo / name
    folder.mkdir()
    os.mkfifo(folder / "finish")
    return folder


def is_ready(folder: Path) -> bool:
    return (folder / "ready").exists()


def finish(folder: Path) -> None:
    """Let a command end that goes on."""
    (folder / "finish").write_text("\n")


def left_behind() -> list[str]:
    """Return the entries of experiments that are alive, and scratch files."""
    (top,) = sh("git rev-parse --path-format=absolute --git-common-dir").splitlines()
    return [path.name for path in Path(top, "experimenter/runs").iterdir()]


def start(folder: Path, script: str, *options: str) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own, as a shell does, and wait until its command is ready."""
    process = subprocess.Popen(
        [EXPERIMENTER, "run", "-n", folder.name, *options, "--", "sh", "-c", script],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    until(lambda: is_ready(folder) or process.poll() is not None, what="the command")
    return process


def start_detached(folder: Path, script: str, *options: str) -> int:
    """Start a run in the background; return the pid of its wrapper when its command is ready."""
    done = experimenter("run", "-d", "-n", folder.name, *options, "--", "sh", "-c", script, cwd=folder)
    assert done.returncode == 0, done.stderr
    until(lambda: is_ready(folder), what="the command")
    return int(pid_file(done.stdout.strip())["wrapper_pid"])


def pid_file(id_: str) -> dict[str, Any]:
    found = json.loads(Path(f".git/experimenter/runs/{id_}/pid.json").read_text())
    assert isinstance(found, dict)
    return found


def is_alive(pid: int) -> bool:
    """Say whether a process lives; one that nobody has waited for is dead."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def is_suspended(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


def ps() -> list[dict[str, Any]]:
    found = json.loads(experimenter("ps", "--json").stdout)
    assert isinstance(found, list)
    return found


def check(rule: Rule, *, plain: str | None, keeping: str) -> None:
    """Check what became of a run, and of an equal one that was started with --keep; by their names."""
    left = {tag.split("_")[1]: tag for tag in tags()}
    if plain:
        assert (plain in left) == (rule.tag == "kept")
    found = record(left[keeping])
    assert (found["status"], found["exit_code"]) == (rule.kept_as, rule.recorded_exit_code)
    assert left_behind() == []


class TestRules:
    @pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["wrapper", "group"])
    @each_rule()
    def test_to_a_run(self, repo: Path, rule: Rule, send: Callable[[int, int], None]) -> None:
        places = [place(repo, "plain"), place(repo, "keeping")]
        runs = [start(places[0], rule.script), start(places[1], rule.script, "--keep")]
        for run, folder in zip(runs, places, strict=True):
            send(run.pid, rule.signum)
            if rule.does.startswith("goes on"):
                finish(folder)
        for run in runs:
            run.communicate(timeout=20)

        assert [run.returncode for run in runs] == [rule.returncode] * 2
        check(rule, plain="plain", keeping="keeping")

    @each_rule("INT QUIT")
    def test_from_the_keyboard(self, repo: Path, rule: Rule, terminal: StartTerminal) -> None:
        folder = place(repo, "keeping")
        screen = terminal(
            EXPERIMENTER, "-C", "keeping", "run", "-n", "keeping", "--keep", "--", "sh", "-c", rule.script
        )
        until(lambda: screen.read() and is_ready(folder), what="the command")
        screen.type(KEYS[rule.signal])
        screen.expect("^")
        if rule.does.startswith("goes on"):
            finish(folder)

        assert os.waitstatus_to_exitcode(screen.end()) == rule.returncode
        check(rule, plain=None, keeping="keeping")

    @each_rule("INT TERM")
    def test_to_a_detached_run(self, repo: Path, rule: Rule) -> None:
        folder = place(repo, "keeping")
        os.kill(start_detached(folder, rule.script, "--keep"), rule.signum)
        if rule.does.startswith("goes on"):
            finish(folder)

        assert experimenter("wait", "keeping").returncode == rule.recorded_exit_code
        check(rule, plain=None, keeping="keeping")


class TestShells:
    @pytest.mark.parametrize("shell", ["bash", "sh"])
    @pytest.mark.parametrize("does", ["exits 0", "dies of it"])
    def test_a_loop_stops_at_ctrl_c(self, repo: Path, terminal: StartTerminal, shell: str, does: str) -> None:
        place(repo, "loop")
        script = f"{TRAPS[does].format('INT')}; exec 3<>finish; echo run; read line <&3"
        screen = terminal(
            shell, "-c", f'cd loop; for i in 1 2; do {EXPERIMENTER} run -- sh -c "{script}"; done; echo after'
        )
        screen.expect("run\r\n")  # Ctrl-C discards what the terminal has not shown yet
        screen.type("\x03")

        assert os.waitstatus_to_exitcode(screen.end()) == -signal.SIGINT
        assert (screen.screen.count(b"run\r\n"), b"after" in screen.screen, tags()) == (1, False, [])

    def test_a_shell_sees_128_and_the_number(self, repo: Path) -> None:
        shown = sh(f"{EXPERIMENTER} run -- sh -c 'kill -TERM $PPID; exec sleep 1000' || echo $?")

        assert shown == "143\n"


class TestGroup:
    def test_a_python_program_that_exits_when_asked_ends_as_without_us(self, repo: Path) -> None:
        """A group gets a signal from the system too; passed on once more, it must not hit the program as it exits."""
        Path("saves.py").write_text(
            "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
            "open(f'{sys.argv[1]}/ready', 'w').close()\nopen(f'{sys.argv[1]}/finish').read()\n"
        )
        places = [place(repo, str(number)) for number in range(8)]
        command = [EXPERIMENTER, "run", "--", sys.executable, "saves.py"]
        runs = [subprocess.Popen([*command, one.name], process_group=0, stderr=subprocess.PIPE) for one in places]
        until(lambda: all(map(is_ready, places)), what="the commands")
        for run in runs:
            os.killpg(run.pid, signal.SIGTERM)
            run.communicate(timeout=20)

        assert [run.returncode for run in runs] == [0] * 8
        assert len(tags()) == 8


class TestCtrlZ:
    def begin(self, repo: Path, terminal: StartTerminal) -> tuple[Terminal, Path]:
        """Start a run in a shell and suspend it."""
        folder = place(repo, "suspended")
        screen = terminal("bash", "--norc", "--noprofile", "-i")
        script = "echo > ready; read line; echo got $line"
        screen.type(f"{EXPERIMENTER} -C suspended run -n suspended -- sh -c '{script}'\n")
        until(lambda: screen.read() and is_ready(folder), what="the command")
        screen.type("\x1a")
        screen.expect("Stopped")
        return screen, folder

    def test_suspends_and_fg_continues(self, repo: Path, terminal: StartTerminal) -> None:
        screen, _ = self.begin(repo, terminal)
        (shown,) = ps()
        were_suspended = is_suspended(shown["pid"]) and is_suspended(shown["wrapper_pid"])
        screen.type("fg\n")
        until(lambda: not is_suspended(shown["pid"]), what="the command to go on")
        screen.type("hello\n")
        screen.expect("got hello")
        screen.expect("Note: recorded")
        screen.type("exit\n")

        assert (were_suspended, screen.end()) == (True, 0)
        assert (record()["status"], left_behind()) == ("completed", [])

    def test_stop_ends_what_is_suspended(self, repo: Path, terminal: StartTerminal) -> None:
        screen, _ = self.begin(repo, terminal)
        stop = subprocess.run([EXPERIMENTER, "stop", "suspended"], timeout=20, capture_output=True, text=True)

        assert (stop.returncode, stop.stderr) == (0, "")
        assert (tags(), left_behind()) == ([], [])
        screen.type("exit\nexit\n")
        screen.end()


class TestKilled:
    def begin(self, repo: Path, *options: str) -> tuple[Path, dict[str, Any]]:
        """Start a run, kill its wrapper, and return its place and what ps says of it."""
        folder = place(repo, "orphan")
        script = "echo '{\"a\": 1}' > $EXPERIMENTER_RESULTS_FILE; exec <>finish; echo > ready; read line"
        with start(folder, script, *options) as run:
            run.kill()
        (shown,) = ps()
        return folder, shown

    def test_the_command_lives_on_as_orphaned_until_it_is_stopped(self, repo: Path) -> None:
        _, shown = self.begin(repo)
        alive = is_alive(shown["pid"])
        stop = experimenter("stop", "orphan")

        assert (shown["state"], alive) == ("orphaned", True)
        assert stop.returncode == 0, stop.stderr
        assert not is_alive(shown["pid"])
        assert (tags(), ps(), left_behind()) == ([], [], [])

    def test_what_it_had_written_is_rescued_when_it_has_ended(self, repo: Path) -> None:
        folder, shown = self.begin(repo)
        finish(folder)
        until(lambda: not is_alive(shown["pid"]), what="the end of the command")

        assert ps() == []
        assert (record()["status"], record()["results"]) == ("interrupted", {"a": 1})
        assert left_behind() == []
