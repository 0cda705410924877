"""Real repositories in a folder of their own, and the program as its users start it."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

EXPERIMENTER = str(Path(sys.executable).with_name("experimenter"))
DEADLINE_S = 30.0


@pytest.fixture(autouse=True)
def _hermetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's git settings, and whatever run the tests themselves are in."""
    home = tmp_path / "home"
    home.mkdir()
    for key in list(os.environ):
        if key.startswith(("GIT_", "EXPERIMENTER_")) or key in (
            "NO_COLOR",
            "PAGER",
            "LESS",
            "LC_ALL",
            "COLUMNS",
            "LINES",
        ):
            monkeypatch.delenv(key)
    for key, value in {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "xdg"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(tmp_path),
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_AUTHOR_DATE": "1700000000 +0200",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.com",
        "GIT_COMMITTER_DATE": "1700000000 +0200",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(key, value)
    (home / ".gitconfig").write_text('[init]\ndefaultBranch = main\n[protocol "file"]\nallow = always\n')


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit that holds train.py; the current directory."""
    top = tmp_path / "repo"
    make_repo(top)
    monkeypatch.chdir(top)
    return top


def make_repo(top: Path, *options: str) -> Path:
    subprocess.run(["git", "init", "-q", *options, str(top)], check=True)
    (top / "train.py").write_text("one\n")
    sh("git add . && git commit -qm first", cwd=top)
    return top


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB of its own with a repository in it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=2000", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.decode().strip()}")
    try:
        yield make_repo(disk / "repo")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with path.open("wb", buffering=0) as filler:
        for size in (1024 * 1024, 4096):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                continue


def sh(script: str, *, cwd: Path | None = None) -> str:
    """Run a shell script and return its stdout; fail with its stderr."""
    done = subprocess.run(["sh", "-ec", script], cwd=cwd, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="surrogateescape")


def experimenter(
    *words: str | bytes, cwd: Path | None = None, env: dict[str, str] | None = None, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [EXPERIMENTER, *words],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        input=stdin.decode(),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
    )


def under_modes(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end for whom the modes of files count, as they do not for root (capabilities(7))."""
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []
    if bound and subprocess.run([*bound, "true"], capture_output=True).returncode != 0:
        pytest.skip("root cannot do without its capabilities here")
    return subprocess.run([*bound, *words], capture_output=True, text=True, errors="surrogateescape", timeout=120)


def detached(*words: str, cwd: Path | None = None) -> str:
    """Start a run in the background; return its id."""
    done = experimenter("run", "--detach", *words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def pid_file(id_: str) -> dict[str, Any]:
    """Return what the PID file of a running experiment says."""
    value = json.loads(Path(f".git/experimenter/runs/{id_}/pid.json").read_text())
    assert isinstance(value, dict)
    return value


def until(condition: Callable[[], object], *, what: str = "the condition") -> None:
    """Wait for a condition; fail when it does not come true in time."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        select.select([], [], [], 0.01)


@dataclass
class Terminal:
    """A program in a terminal of its own: session, controlling terminal and foreground process group."""

    pid: int
    master: int
    screen: bytes = b""
    status: int | None = field(default=None)

    def read(self) -> bool:
        """Take what the terminal shows now; say whether the program still holds it."""
        ready, _, _ = select.select([self.master], [], [], 0.05)
        if not ready:
            return True
        try:
            piece = os.read(self.master, 65536)
        except OSError:
            return False
        self.screen += piece
        return bool(piece)

    def expect(self, text: str) -> None:
        """Wait until `text` was shown."""
        deadline = time.monotonic() + DEADLINE_S
        while text.encode() not in self.screen:
            assert time.monotonic() < deadline and self.read(), f"no {text!r} in {self.screen!r}"

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> int:
        """Wait for the program's end; return its wait status as waitpid(2) has it."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.has_ended():
            assert time.monotonic() < deadline, f"still running: {self.screen!r}"
            self.read()
        while self.read() and select.select([self.master], [], [], 0)[0]:
            pass
        assert self.status is not None
        return self.status

    def has_ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Start a program in a terminal of its own, of 80 columns, or others, and 24 lines."""
    opened: list[Terminal] = []

    def start(*words: str, columns: int = 80) -> Terminal:
        pid, master = pty.fork()
        if pid == 0:
            resize(0, 24, columns)
            os.execvpe(words[0], words, os.environ)  # readline has set COLUMNS, which only C knows
        opened.append(Terminal(pid, master))
        return opened[-1]

    yield start
    for one in opened:
        if one.status is None:
            os.kill(one.pid, signal.SIGKILL)
            os.waitpid(one.pid, 0)
        os.close(one.master)


def resize(master: int, rows: int, columns: int) -> None:
    import fcntl
    import struct
    import termios

    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def tags() -> list[str]:
    return sh("git tag --list 'exp_*'").split()


def hook(git_dir: Path, name: str, script: str) -> None:
    """Give a repository a hook: a script, for sh unless its first line says otherwise."""
    path = git_dir / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def fake_git(folder: Path, script: str) -> dict[str, str]:
    """Return an environment in which `git` is a script for sh, in a new folder in front of $GIT, the real one."""
    real = shutil.which("git")
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\nGIT={real}\n{script}\n")
    (folder / "git").chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def record(tag: str | None = None) -> dict[str, Any]:
    """Return the record of a tag, or of the only one, as git has it."""
    (tag,) = [tag] if tag else tags()
    message = sh(f"git for-each-ref --format='%(contents)' refs/tags/{tag}")
    value = json.loads(message)
    assert isinstance(value, dict)
    return value
