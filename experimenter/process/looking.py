"""Looks at processes: tells them apart, says whether they live, what they use and what they were started with."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_INITIAL_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO in the sources of Linux
_DEAD, _STOPPED = "ZXx", "Tt"  # states of proc(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What tells a process from every other one, also after its pid was given away again."""

    pid: int
    start_time: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the identity of the living process `pid`."""
        seen = look_at(pid)
        assert seen, "a process that we started, or are, is there"
        return cls(pid=pid, start_time=seen.identity.start_time)

    def look(self) -> "Sighting | None":
        """Return what this very process is like now; nothing if it is gone, or its pid was given away again."""
        seen = look_at(self.pid)
        return seen if seen and seen.identity == self else None

    @property
    def is_alive(self) -> bool:
        """Whether this very process lives; one that is dead but not yet waited for (a zombie) does not."""
        seen = self.look()
        return seen is not None and not seen.is_dead

    def is_alive_in(self, namespace: str) -> bool:
        """Say whether this very process lives in another pid namespace, where it has this pid (NSpid in proc(5))."""
        for one in all_processes():
            with contextlib.suppress(OSError, IndexError):
                place = Path("/proc") / str(one.identity.pid)
                if one.identity.start_time == self.start_time and str((place / "ns/pid").readlink()) == namespace:
                    inner = (place / "status").read_text().partition("NSpid:")[2].splitlines()[0].split()[-1]
                    if int(inner) == self.pid and not one.is_dead:
                        return True
        return False

    def send(self, signum: int) -> None:
        """Send a signal to this very process, if it is there and we may."""
        if self.look():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A process as it was when we looked; `state` is a letter of proc(5)."""

    identity: Identity
    parent: int
    state: str

    @property
    def is_dead(self) -> bool:
        """Whether it has ended, though its parent has not waited for it."""
        return self.state in _DEAD

    @property
    def is_moving(self) -> bool:
        """Whether it may do something: it is neither dead nor stopped."""
        return self.state not in _DEAD + _STOPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What processes have used: CPU time so far, with that of children they waited for, and memory now."""

    cpu_s: float
    memory_bytes: int


def look_at(pid: int) -> Sighting | None:
    """Return what the process `pid` is like now; nothing if there is none.

    Start times are in clock ticks since the boot on Linux (proc(5)), else in seconds since 1970.
    """
    if sys.platform != "linux":
        return _look_by_psutil(pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a stop looks at every process, again and again
            state, parent, *rest = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Sighting(identity=Identity(pid=pid, start_time=int(rest[17])), parent=int(parent), state=state.decode())


def pids() -> set[int]:
    """Return the ids of all processes that we can see."""
    if sys.platform == "linux":
        return {int(name) for name in os.listdir("/proc") if name.isdecimal()}  # noqa: PTH208 - as in look_at
    import psutil

    return set(psutil.pids())


def all_processes() -> Iterable[Sighting]:
    """Return all processes that we can see."""
    return [seen for pid in sorted(pids()) if (seen := look_at(pid))]


def descendants(pid: int) -> list[Identity]:
    """Return the living processes that a process has started, and those that these have started."""
    children: dict[int, list[Identity]] = {}
    for one in all_processes():
        children.setdefault(one.parent, []).append(one.identity)
    found = list(children.get(pid, ()))
    for process in found:  # which grows meanwhile
        found += children.get(process.pid, ())
    return found


def is_called(process: Identity, name: str) -> bool:
    """Say whether a process runs a program, or a script of an interpreter, whose file has that name."""
    import psutil

    try:
        words = psutil.Process(process.pid).cmdline() if process.is_alive else []
    except (psutil.Error, OSError):
        return False
    return any(Path(word).name == name for word in words)


def any_works_in(folders: Iterable[Path], name: str) -> bool:
    """Say whether a living process of the program `name` has its current directory in one of the folders."""
    import psutil

    found = (one.info for one in psutil.process_iter(["name", "cwd"]))
    places = [Path(one["cwd"]) for one in found if one["name"] == name and one["cwd"]]
    return any(folder in (place, *place.parents) for folder in folders for place in places)


def any_has_variable(variable: str, value: str) -> bool:
    """Say whether another living process was started with that variable in its environment."""
    return any(has_variable(pid, variable, value) for pid in pids() - {os.getpid()})


def has_variable(pid: int, variable: str, value: str) -> bool:
    """Say whether a process was started with that variable in its environment; not if we may not know."""
    if sys.platform == "linux":
        try:
            found = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"\0{variable}={value}\0".encode() in b"\0" + found
    import psutil

    try:
        return psutil.Process(pid).environ().get(variable) == value
    except (psutil.Error, OSError):
        return False


def usage_of(processes: Iterable[Identity]) -> Usage:
    """Return what processes have used so far; shared memory counts once where the system tells (Linux)."""
    import psutil

    cpu_s, memory_bytes = 0.0, 0
    for one in processes:
        with contextlib.suppress(psutil.Error, OSError):
            process = psutil.Process(one.pid)
            cpu_s += sum(process.cpu_times()[:4])
            memory = process.memory_full_info()
            memory_bytes += getattr(memory, "pss", memory.rss)
    return Usage(cpu_s=cpu_s, memory_bytes=memory_bytes)


def cores() -> int:
    """Return how many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def host() -> str:
    """Return this machine's name."""
    return os.uname().nodename


def pid_namespace() -> str:
    """Return the name of the world in which our process ids count (pid_namespaces(7)); empty where there is but one."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def sees_all_processes() -> bool:
    """Say whether the processes of other namespaces on this host are seen here, under other ids."""
    return pid_namespace() == _INITIAL_NAMESPACE


def boot_id() -> str:
    """Return what is different after each start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        command = ["sysctl", "-n", "kern.bootsessionuuid"]  # the time of boot follows the clock
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _look_by_psutil(pid: int) -> Sighting | None:
    import psutil

    letters = {psutil.STATUS_ZOMBIE: "Z", psutil.STATUS_DEAD: "X", psutil.STATUS_STOPPED: "T"}
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            identity = Identity(pid=pid, start_time=process.create_time())
            return Sighting(identity=identity, parent=process.ppid(), state=letters.get(process.status(), "R"))
    except psutil.Error:
        return None
