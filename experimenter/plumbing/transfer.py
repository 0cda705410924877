"""Runs git's commands that speak with a remote repository: with progress, a time limit, and nobody asked in vain."""

import contextlib
import os
import re
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from git.util import RemoteProgress

from experimenter.plumbing.config import config_value
from experimenter.plumbing.git import Repo, start
from experimenter.text import visible

_CHUNK_BYTES = 65536
_LOOK_AGAIN_S, _LAST_WORDS_S = 0.2, 1.0  # while git runs, and when it has ended
_ENDING_S = 2.0  # from asking a git to end until it is killed
_UNATTENDED = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",  # goes before core.askPass and SSH_ASKPASS
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",  # a helper that would open a window
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and with whom a transfer may take: until when, by time.monotonic(), and whether a person can be asked.

    `on_progress` is told what git says of its progress.
    """

    is_attended: bool = False
    until_s: float | None = None
    on_progress: Callable[[str], None] | None = None

    @property
    def left_s(self) -> float | None:
        """How many seconds are left; nothing if there is no end."""
        return None if self.until_s is None else self.until_s - time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """How a transfer ended: git's exit status (nothing if it was out of time), its stdout, what it said besides."""

    status: int | None
    stdout: bytes
    said: Sequence[str]


class _Progress(RemoteProgress):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def update(self, *_: Any) -> None:
        self._tell(visible(str(self._cur_line)))


def transfer(
    repo: Repo, words: Sequence[str], patience: Patience, *, on_timeout: Callable[[int], None] = lambda _: None
) -> Transfer:
    """Run git with `words` at the top of the work tree, the user's hooks included; return how it ended.

    Unless it is attended it has a session of its own, without a terminal that a password could be asked on, and is
    killed with all that it has started when it is out of time, of which `on_timeout` is told before, by its process id.
    """
    env = {"GIT_TERMINAL_PROMPT": "1"} if patience.is_attended else {**_UNATTENDED, **_silent_ssh(repo)}
    is_apart = not patience.is_attended
    running = start(repo.top, words, env=env, runs_hooks=True, start_new_session=is_apart)
    process = running.proc
    process.stdin.close()
    progress = _Progress(patience.on_progress or (lambda _: None))
    stdout = bytearray()
    try:
        _read(process, stdout, progress.new_message_handler(), patience)
    except TimeoutError:
        on_timeout(process.pid)
        _end(process, is_apart)
        return Transfer(status=None, stdout=bytes(stdout), said=_said(progress))
    except BaseException:  # a signal
        _end(process, is_apart)
        raise
    return Transfer(status=process.wait(), stdout=bytes(stdout), said=_said(progress))


def _said(progress: _Progress) -> list[str]:
    return [visible(line) for line in [*progress.error_lines, *progress.other_lines] if line.strip()]


def _read(process: Any, stdout: bytearray, on_line: Callable[[str], None], patience: Patience) -> None:
    """Read all that git says: its stdout, and its stderr line by line. Raises TimeoutError."""
    stderr = b""
    for stream, piece in _pieces(process, patience):
        if stream is process.stdout:
            stdout += piece
        else:
            *lines, stderr = re.split(rb"[\r\n]", stderr + piece)
            for line in lines:
                on_line(line.decode(errors="replace"))
    if stderr:
        on_line(stderr.decode(errors="replace"))
    for stream in (process.stdout, process.stderr):
        stream.close()


def _pieces(process: Any, patience: Patience) -> Iterator[tuple[Any, bytes]]:
    """Yield what git says, with the stream that it says it on. Raises TimeoutError when it is out of time."""
    ended_s: float | None = None
    with selectors.DefaultSelector() as waiting:
        for stream in (process.stdout, process.stderr):
            waiting.register(stream, selectors.EVENT_READ)
        while waiting.get_map():
            if patience.left_s is not None and patience.left_s <= 0:
                raise TimeoutError
            if ended_s is None and process.poll() is not None:
                ended_s = time.monotonic()
            if ended_s is not None and time.monotonic() - ended_s > _LAST_WORDS_S:
                return  # what it has started, such as a child of a hook, still holds the pipe
            for key, _ in waiting.select(_LOOK_AGAIN_S):
                if piece := os.read(key.fd, _CHUNK_BYTES):
                    yield key.fileobj, piece
                else:
                    waiting.unregister(key.fileobj)


def _end(process: Any, is_apart: bool) -> None:
    """End a git that is in the middle of a transfer, and what it has started."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum) if is_apart else process.send_signal(signum)
        deadline_s = time.monotonic() + _ENDING_S
        while process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.01)
    for stream in (process.stdout, process.stderr):
        stream.close()


def _silent_ssh(repo: Repo) -> Mapping[str, str]:
    """Return what keeps ssh from asking; a program that the user has put in its place is left alone."""
    if "GIT_SSH" in os.environ and "GIT_SSH_COMMAND" not in os.environ:
        return {}
    command = os.environ.get("GIT_SSH_COMMAND") or config_value(repo, "core.sshCommand") or "ssh"
    return {"GIT_SSH_COMMAND": f"{command} -o BatchMode=yes"}
