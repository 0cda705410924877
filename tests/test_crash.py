"""kill -9, a loss of power or a full disk at any moment: whoever looks next finds whole experiments and nothing else."""

import compileall
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

import experimenter as experimenter_package
from conftest import EXPERIMENTER, detached, experimenter, fake_git, fill, make_repo, sh, until

needs_strace = pytest.mark.skipif(
    not shutil.which("strace") and "CI" not in os.environ, reason="strace, which kills at each step, is not installed"
)
STILL = (psutil.STATUS_STOPPED, psutil.STATUS_DISK_SLEEP)  # the latter also where its vfork(2) child has stopped

# What runs, outside of the repository, notes in the file $NOTED that its results are written.
WRITES = """
echo '{"a": 1}' > $EXPERIMENTER_RESULTS_FILE.part
mv $EXPERIMENTER_RESULTS_FILE.part $EXPERIMENTER_RESULTS_FILE
echo $EXPERIMENTER_TAG >> $NOTED
"""
CRASHES = WRITES + "kill -9 $PPID $$"
WAITS = WRITES + "read line < $NOTED.fifo"
SCRIPT = """
import os
from experimenter import ExperimentLogger
with ExperimentLogger("x", {}) as experiment:
    experiment.record_results({"a": 1})
    print(experiment.tag, file=open(os.environ["NOTED"], "a"))
"""
RUN = (EXPERIMENTER, "run", "-n", "x")
SCENES: Mapping[str, Sequence[str]] = {
    "run": (*RUN, "--", "sh", "-c", WRITES),
    "isolated": (*RUN, "--isolated", "--", "sh", "-c", WRITES),
    "detached": (*RUN, "-d", "--", "sh", "-c", WRITES),
    "failing": (*RUN, "--", "sh", "-c", "git pack-refs --all; exit 1"),
    "script": (sys.executable, "-W", "ignore", "-c", SCRIPT),
    "settling": (EXPERIMENTER, "list"),
    "settling an isolated one": (EXPERIMENTER, "list"),
}
SETTLERS = (("list",), ("ps",), ("run", "-n", "later", "--", "true"))
KINDS = {
    "create": ("openat", "creat", "mkdir", "mkdirat", "link", "linkat", "symlink"),
    "rename": ("rename", "renameat", "renameat2"),
    "remove": ("unlink", "unlinkat", "rmdir"),
    "start": ("fork", "vfork", "clone", "clone3"),
}
CHANGING = [call for calls in KINDS.values() for call in calls]
TRACE = ("strace", "-qq", "-e", f"trace={','.join([*CHANGING, 'execve'])}")

Step = tuple[str, int]  # a system call, and which one of its name it is in its process
Steps = Mapping[str, Sequence[Step]]  # by process: `us`, or git's verb and which one of it, as in `update-ref 2`


@dataclass(frozen=True)
class Place:
    """A repository, dirty as users have them, and how it was before."""

    top: Path
    noted: Path
    users: object = field(repr=False)

    @classmethod
    def make(cls, folder: Path) -> "Place":
        top = make_repo(folder / "repo")
        sh(
            "echo '*.log' > .gitignore; echo two > train.py; echo > new; echo > staged; git add staged; echo > a.log",
            cwd=top,
        )
        os.mkfifo(folder / "noted.fifo")  # for a command that waits
        return cls(top=top, noted=folder / "noted", users=users_things(top))

    @classmethod
    def of(cls, scene: str, folder: Path) -> "Place":
        """Return a place where a scene can be played."""
        place = cls.make(folder)
        if scene.startswith("settling"):
            place.crash(*(["--isolated"] if "isolated" in scene else []))
        return place

    def crash(self, *options: str) -> None:
        """Let a run and its command be killed right after results were written."""
        self.play(*RUN, *options, "--", "sh", "-c", CRASHES)
        assert self.written and self.entries

    @property
    def env(self) -> dict[str, str]:
        # With these two a program makes the same calls each time.
        return {"NOTED": str(self.noted), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}

    def noted_text(self) -> str:
        return self.noted.read_text() if self.noted.exists() else ""

    @property
    def written(self) -> set[str]:
        """The tags of the experiments whose results are known to be written."""
        return set(self.noted_text().split())

    @property
    def entries(self) -> list[Path]:
        runs = self.top / ".git/experimenter/runs"
        return list(runs.iterdir()) if runs.exists() else []

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        env = {**os.environ, **self.env, **(env or {})}
        with self.noted.with_suffix(".out").open("ab") as output, open(os.devnull) as nothing:
            return subprocess.Popen(
                words, cwd=self.top, env=env, process_group=0, stdin=nothing, stdout=output, stderr=output
            )

    def play(self, *words: str, env: Mapping[str, str] | None = None) -> int:
        """Run a program to its end; return its exit status."""
        return self.start(*words, env=env).wait(timeout=60)

    def pid_file(self) -> dict[str, Any]:
        """Return the PID file of the only experiment, once its command has written results."""
        until(lambda: self.written, what="results")
        (path,) = self.top.glob(".git/experimenter/runs/*/pid.json")
        value = json.loads(path.read_text())
        assert isinstance(value, dict)
        return value

    def living(self) -> list[psutil.Process]:
        """Return the processes that were started here, orphans too."""
        found = psutil.process_iter(["environ", "status"])
        return [one for one in found if (one.info["environ"] or {}).get("NOTED") == str(self.noted)]

    def kill_all(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process with its group, then whoever else was started here."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for one in self.living():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    def release(self) -> None:
        """Let a command that WAITS go on."""
        self.noted.with_suffix(".fifo").write_text("go\n")


def users_things(top: Path) -> object:
    git = top / ".git"
    files = [path for path in top.rglob("*") if path.is_file() and git not in path.parents]
    said = sh("git --no-optional-locks status --porcelain -b; git for-each-ref refs/heads; cat .git/HEAD", cwd=top)
    return said, {path: path.read_bytes() for path in [*files, git / "index", git / "config"]}


def records(top: Path) -> dict[str, dict[str, Any]]:
    """Return the records of all tags, as git has them."""
    found = sh("git for-each-ref --format='%(refname:strip=2)%0a%(contents)%00' refs/tags", cwd=top)
    pieces = [piece.strip().partition("\n") for piece in found.split("\0") if piece.strip()]
    return {tag: json.loads(message) for tag, _, message in pieces}


def settle(place: Place, turn: int = 0) -> str:
    """Let whoever's turn it is look at the repository when all is dead, and check what is left; return what it says."""
    until(lambda: not place.living(), what="the end of all processes")
    unfinished = [tag for tag, found in records(place.top).items() if found["status"] == "running"]
    done = experimenter(*SETTLERS[turn % 3], cwd=place.top)
    assert done.returncode == 0, (place, done.stderr)
    assert [tag for tag in unfinished if tag not in done.stderr] == [], (place, done.stderr)
    check(place)
    assert set(statuses(place)) <= {"completed", "interrupted"}, place
    assert place.written - records(place.top).keys() == set(), place
    return done.stderr


def check(place: Place) -> None:
    """Check that each tag has results, that nothing else was left, and that the user's things are as before."""
    git = place.top / ".git"
    found = [one for one in records(place.top).values() if one["name"] != "later"]
    assert [one for one in found if (one.get("results") or {}).get("a") != 1] == [], place
    scratch = [path for path in git.rglob("*") if path.name.endswith((".lock", ".tmp", "packed-refs.new"))]
    assert (place.entries, scratch, (git / "worktrees").exists()) == ([], [], False), place
    assert sh("git fsck --no-dangling --no-progress 2>&1", cwd=place.top) == "", place
    assert users_things(place.top) == place.users, place


def statuses(place: Place) -> list[str]:
    return [one["status"] for one in records(place.top).values() if one["name"] != "later"]


_known_steps: dict[str, Steps] = {}


@pytest.fixture
def steps(tmp_path: Path) -> Callable[[str], Steps]:
    """Return the calls by which a scene changes something, from a run of it under strace."""

    def find(scene: str) -> Steps:
        if scene not in _known_steps:
            compileall.compile_dir(
                Path(experimenter_package.__file__).parent, quiet=1
            )  # or the calls change when another does
            place, trace = Place.of(scene, tmp_path / "traced"), tmp_path / "trace"
            place.play(*TRACE, "-v", "-f", "--seccomp-bpf", "-o", str(trace), *SCENES[scene])
            _known_steps[scene] = read_trace(trace.read_text())
        return _known_steps[scene]

    return find


def read_trace(trace: str) -> Steps:
    found: dict[str, list[Step]] = defaultdict(list)
    calls: Counter[tuple[str, str]] = Counter()
    verbs: Counter[str] = Counter()
    who: dict[str, str] = {trace.split()[0]: "us"}
    for pid, call, rest in re.findall(r"^(\d+) +(\w+)\((.*)", trace, re.MULTILINE):
        calls[pid, call] += 1
        verb = re.match(r'"[^"]+/git", \["git", "-C", "[^"]*"[.]*, (?:"-c", "[^"]*"[.]*, )*"([a-z-]+)"', rest)
        if call == "execve" and verb and pid not in who:
            verbs[verb[1]] += 1
            who[pid] = f"{verb[1]} {verbs[verb[1]]}"
        is_change = call in CHANGING and not re.search("= -1 E", rest) and (call != "openat" or "O_CREAT" in rest)
        if is_change and pid in who:
            found[who[pid]].append((call, calls[pid, call]))
    return found


def kill_at(step: Step) -> list[str]:
    """Return the words in front of a command that let it be killed as it begins the system call."""
    call, ordinal = step
    return [*TRACE, "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={ordinal}"]


@needs_strace
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("scene", "every"), [("run", 1), ("isolated", 3), ("script", 3), ("settling", 2), ("settling an isolated one", 3)]
)
def test_we_are_killed_at_each_step(
    scene: str, every: int, kind: str, steps: Callable[[str], Steps], tmp_path: Path
) -> None:
    found = [step for step in steps(scene)["us"] if step[0] in KINDS[kind]]
    assert found
    for turn, step in enumerate(found[::every]):
        place = Place.of(scene, tmp_path / "-".join(map(str, step)))
        assert place.play(*kill_at(step), *SCENES[scene]) == -signal.SIGKILL, place
        settle(place, turn)


# The git commands that change something, in the words of Steps.
GITS = {
    "run": ["update-index 1", "write-tree 1", "hash-object 1", "mktag 1", "update-ref 1", "mktag 2", "update-ref 2"],
    "isolated": ["worktree 1", "read-tree 1"],
    "failing": ["update-ref 2"],
    "settling": ["update-ref 1"],
}


def attached(inject: str) -> str:
    """Return a script that lets something happen to the process that started it, and to that one's next children."""
    trace = (
        f"env -u EXPERIMENTER_REF {' '.join(TRACE)} -o /dev/null -e inject={inject} -f -p $PPID > $NOTED.strace 2>&1"
    )
    return f"{trace} & until grep -q 'TracerPid:.*[1-9]' /proc/$PPID/status; do :; done"


def git_in_front(folder: Path, which: str, script: str) -> dict[str, str]:
    """Return an environment in which a shell script runs in place of one git command, the real one being $GIT."""
    verb, number = which.split()
    count = f"echo >> {folder}/calls; [ $(wc -l < {folder}/calls) = {number} ]"
    return fake_git(folder, f'case " $* " in *" {verb} "*) {count} && {{ {script}; }};; esac\nexec $GIT "$@"')


@needs_strace
@pytest.mark.parametrize("and_we", [False, True])
@pytest.mark.parametrize(("scene", "which"), [(scene, which) for scene, gits in GITS.items() for which in gits])
def test_a_git_is_killed_at_each_step(
    scene: str, which: str, and_we: bool, steps: Callable[[str], Steps], tmp_path: Path
) -> None:
    def kill_and_settle(turn: int, step: Step) -> None:
        folder = tmp_path / "-".join(map(str, step))
        place = Place.of(scene, folder)
        end = f"{'kill -9 $PPID; ' if and_we else ''}exit 137"
        env = git_in_front(folder / "bin", which, f'{" ".join(kill_at(step))} $GIT "$@"; {end}')
        assert (place.play(*SCENES[scene], env=env) == -signal.SIGKILL) is and_we, place
        settle(place, turn)

    found = steps(scene)[which]
    assert found
    with ThreadPoolExecutor(max_workers=8) as pool:  # since some have to wait for locks of git's
        list(pool.map(kill_and_settle, range(len(found)), found))


@needs_strace
@pytest.mark.parametrize("call", ["rename", "execve"])
def test_the_command_is_killed_before_it_is_executed(call: str, tmp_path: Path) -> None:
    place = Place.make(tmp_path / "x")
    env = git_in_front(tmp_path / "bin", "update-ref 1", attached(f"{call}:signal=KILL:when=1"))
    place.play(*SCENES["run"], env=env)

    settle(place)
    assert records(place.top) == {}


@pytest.mark.parametrize(
    ("scene", "which"),
    [("run", "update-ref 1"), ("run", "update-ref 2"), ("failing", "update-ref 2"), ("isolated", "worktree 1")],
)
def test_a_git_that_outlives_us_changes_nothing_any_more(scene: str, which: str, tmp_path: Path) -> None:
    place = Place.make(tmp_path / "x")
    late = f"kill -9 $PPID; timeout 3 {EXPERIMENTER} ps"
    place.play(*SCENES[scene], env=git_in_front(tmp_path / "bin", which, late))

    settle(place)


@needs_strace
def test_a_lock_on_the_packed_refs_goes_whatever_git_does_elsewhere(
    steps: Callable[[str], Steps], tmp_path: Path
) -> None:
    place, elsewhere = Place.make(tmp_path / "x"), make_repo(tmp_path / "elsewhere")
    removal = [step for step in steps("failing")["update-ref 2"] if step[0] == "unlink"][-1]
    killed = f'{" ".join(kill_at(removal))} $GIT "$@"; kill -9 $PPID; exit 137'
    place.play(*SCENES["failing"], env=git_in_front(tmp_path / "bin", "update-ref 2", killed))
    with subprocess.Popen(["git", "cat-file", "--batch"], cwd=elsewhere, stdin=subprocess.PIPE):
        settle(place)


@needs_strace
def test_what_was_half_made_goes_though_its_pid_was_given_away_again(tmp_path: Path) -> None:
    in_container = ["unshare", "--fork", "--pid", "--mount-proc"]
    if subprocess.run([*in_container, "true"], capture_output=True).returncode != 0:
        pytest.skip("cannot make a namespace of process ids here")
    place = Place.make(tmp_path / "x")
    place.play(*kill_at(("rename", 1)), "sh", "-c", 'echo $$ > $NOTED.pid; exec "$@"', "sh", *SCENES["run"])
    pid = int(place.noted.with_suffix(".pid").read_text())
    place.play(*in_container, "sh", "-c", f"echo {pid - 1} > /proc/sys/kernel/ns_last_pid; {EXPERIMENTER} ps; :")

    check(place)


@pytest.mark.parametrize("part", range(10))
def test_all_are_killed_at_random_moments(part: int, tmp_path: Path) -> None:
    words = SCENES[("run", "isolated", "script", "detached")[part % 4]]
    place, chance = Place.make(tmp_path / "x"), random.Random(part)
    started_s = time.monotonic()
    place.play(*words)
    until(lambda: not place.living(), what="the end of all processes")
    duration_s = time.monotonic() - started_s
    for _ in range(10):  # each settles what the one before it left
        moment_s = time.monotonic() + chance.uniform(0, duration_s)
        process = place.start(*words)
        until(lambda: time.monotonic() >= moment_s, what="the moment")  # noqa: B023 - it is called at once
        place.kill_all(process)

    settle(place, part)


@pytest.mark.parametrize("whole", [True, False], ids=["all of .git", "only our state"])
@pytest.mark.parametrize("scene", ["run", "isolated"])
def test_a_loss_of_power_takes_us_back_to_any_moment(scene: str, whole: bool, tmp_path: Path) -> None:
    place, chance = Place.make(tmp_path / "x"), random.Random(0)
    git, copies = place.top / ".git", tmp_path / "copies"
    lost = git if whole else git / "experimenter"
    written = [place.noted_text()]
    process = place.start(*SCENES[scene])
    while process.poll() is None:
        os.killpg(process.pid, signal.SIGSTOP)
        until(lambda: all(one.info["status"] in STILL for one in place.living()), what="all to stand still")
        copy(lost, copies / str(len(written)))
        written.append(place.noted_text())
        os.killpg(process.pid, signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0, 0.1))
    for moment in range(1, len(written)):
        shutil.rmtree(lost, ignore_errors=True)
        copy(copies / str(moment), lost)
        place.noted.write_text(written[moment if whole else -1])
        for path in git.glob("experimenter/runs/*/pid.json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": "before"}))
        settle(place, moment)


def copy(source: Path, target: Path) -> None:
    if source.exists():
        shutil.copytree(source, target, symlinks=True)


def test_the_command_alone_is_killed(tmp_path: Path) -> None:
    place = Place.make(tmp_path / "x")
    process = place.start(*RUN, "--", "sh", "-c", WAITS)
    os.kill(place.pid_file()["pid"], signal.SIGKILL)

    assert process.wait(timeout=20) == 128 + signal.SIGKILL
    assert records(place.top) == {}
    check(place)


def test_we_alone_are_killed_and_what_the_command_writes_until_its_end_is_rescued(tmp_path: Path) -> None:
    place = Place.make(tmp_path / "x")
    place.play(*RUN, "-d", "--", "sh", "-c", f"{WAITS}; echo 'EXPERIMENTER_RESULTS {{\"b\": 2}}'")
    pid_file = place.pid_file()
    os.kill(pid_file["wrapper_pid"], signal.SIGKILL)
    (orphan,) = json.loads(experimenter("ps", "--json", cwd=place.top).stdout)
    before = statuses(place)
    place.release()

    assert (orphan["state"], orphan["pid"], before) == ("orphaned", pid_file["pid"], ["running"])
    assert "was interrupted, and nobody was left to say so; its results were rescued" in settle(place)
    assert [one["results"] for one in records(place.top).values()] == [{"a": 1, "b": 2}]


@pytest.mark.parametrize("turn", range(3))
def test_both_are_killed(turn: int, tmp_path: Path) -> None:
    written, unwritten = (Place.make(tmp_path / name) for name in ("x", "y"))
    written.crash()
    unwritten.play(*RUN, "--", "sh", "-c", "echo > $EXPERIMENTER_RESULTS_FILE.part; kill -9 $PPID $$")

    assert "its results were rescued" in settle(written, turn)
    assert "was interrupted, and nobody was left to say so; the tag was removed" in settle(unwritten, turn)


@pytest.mark.parametrize(("options", "path"), [([], "../out.json"), (["--isolated"], "out.json")])
def test_the_file_of_an_option_is_rescued(options: list[str], path: str, tmp_path: Path) -> None:
    place = Place.make(tmp_path / "x")
    script = f"echo '{{\"a\": 1}}' > {path}; echo $EXPERIMENTER_TAG > $NOTED; kill -9 $PPID $$"
    place.play(*RUN, *options, "--results", path, "--", "sh", "-c", script)

    settle(place)


@pytest.mark.parametrize("keep", [True, False])
def test_a_stop_that_is_killed_with_all_the_others_is_completed(keep: bool, tmp_path: Path) -> None:
    place = Place.make(tmp_path / "x")
    process = place.start(*RUN, "--", "sh", "-c", f"trap '' TERM; {WAITS}")
    place.pid_file()
    stop = place.start(EXPERIMENTER, "stop", "x", "--grace", "60", *(["--keep"] if keep else []))
    until(lambda: list(place.top.glob(".git/experimenter/runs/*/stopping*")), what="the stop's claim")
    place.kill_all(stop)
    process.wait()
    said = experimenter("list", cwd=place.top).stderr

    assert "was stopped, and nobody was left to say so" in said
    assert statuses(place) == (["stopped"] if keep else [])
    check(place)


@pytest.mark.parametrize("content", [b"", b"garbage", b"{}", b'{"tag": 5}', b'{"tag": "exp_', b"\xff\0", None])
def test_a_pid_file_that_says_nothing_costs_no_results(content: bytes | None, tmp_path: Path) -> None:
    with_tag, without = (Place.make(tmp_path / name) for name in ("x", "y"))
    for place in (with_tag, without):
        place.crash()
        path = place.entries[0] / "pid.json"
        path.unlink() if content is None else path.write_bytes(content)
    sh("git tag -d $(git tag)", cwd=without.top)
    without.noted.unlink()

    settle(with_tag)
    settle(without)
    assert (statuses(with_tag), statuses(without)) == (["interrupted"], [])


def test_a_pid_file_that_says_nothing_is_left_alone_while_its_command_runs(tmp_path: Path) -> None:
    place = Place.make(tmp_path / "x")
    process = place.start(*RUN, "--", "sh", "-c", WAITS)
    place.pid_file()
    (place.entries[0] / "pid.json").write_text("garbage")
    experimenter("list", cwd=place.top)
    before = statuses(place)
    place.release()
    process.wait(timeout=20)

    assert (before, statuses(place)) == (["running"], ["completed"])
    settle(place)


@pytest.mark.parametrize("changed", [{"host": "elsewhere"}, {}, {"tag": 5}])
def test_what_another_host_or_user_left_is_left_alone(changed: dict[str, object], tmp_path: Path) -> None:
    if os.geteuid() != 0 and "host" not in changed:
        pytest.skip("only root can give a file to another user")
    place = Place.make(tmp_path / "x")
    place.crash()
    (entry,) = place.entries
    path = entry / "pid.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    if "host" not in changed:
        sh(f"chown -R 12345 {entry}")
    files = sorted(entry.iterdir())
    for words in SETTLERS:
        experimenter(*words, cwd=place.top)

    assert sorted(entry.iterdir()) == files
    assert statuses(place) == ["running"]


@pytest.mark.parametrize("free_kib", [0, 4, 8, 16, 32])
def test_a_full_disk_leaves_all_to_the_next(free_kib: int, small_disk: Path) -> None:
    place = Place.make(small_disk.parent / "x")
    place.crash()
    reserve, filler = (small_disk.parent / name for name in ("reserve", "filler"))
    reserve.write_bytes(bytes(free_kib * 1024))
    fill(filler)
    reserve.unlink()
    listed, _ = look(place)
    filler.unlink()

    assert [one["tag"] for one in json.loads(listed.stdout)] == list(place.written)
    assert "was interrupted" in listed.stderr or "Warning: " in listed.stderr
    settle(place)


def test_a_disk_that_cannot_be_written_leaves_all_to_the_next(small_disk: Path) -> None:
    place = Place.make(small_disk.parent / "x")
    place.crash()
    sh(f"mount -o remount,ro {small_disk.parent}")
    listed, running = look(place)
    sh(f"mount -o remount,rw {small_disk.parent}")

    assert [one["status"] for one in json.loads(listed.stdout)] == ["running"]
    assert "Warning: " in listed.stderr and "Warning: " in running.stderr
    settle(place)


def look(place: Place) -> list[subprocess.CompletedProcess[str]]:
    answers = [experimenter(*words, "--json", cwd=place.top) for words in (["list"], ["ps"])]
    assert [done.returncode for done in answers] == [0, 0], answers
    return answers


@needs_strace
@pytest.mark.parametrize(
    ("delay", "moment"), [("delay_enter", "afterwards"), ("delay_enter", "meanwhile"), ("delay_exit", "before")]
)
def test_a_forked_command_that_is_noted_while_others_settle_runs_only_if_they_leave_it(
    delay: str, moment: str, tmp_path: Path
) -> None:
    place = Place.make(tmp_path / "x")
    late = attached(f"rename:{delay}=3000000:when=1")
    env = git_in_front(tmp_path / "bin", "update-ref 1", late)
    process = place.start(*RUN, "--", "sh", "-c", f"echo > $NOTED.ran; {WAITS}", env=env)
    until(lambda: is_noted(place, "pid.json" if moment == "before" else "pid.tmp"), what="the command's PID file")
    process.kill()
    process.wait()
    noted = f"grep -q '\"pid\"' {place.top}/.git/experimenter/runs/*/pid.json"
    wait = f"until {noted}; do :; done" if moment == "meanwhile" else ":"
    env = git_in_front(tmp_path / "bin2", "update-ref 1", wait)
    settling = experimenter("ps", "--json", cwd=place.top, env=env)
    left = [one["state"] for one in json.loads(settling.stdout)]
    if left:
        until(lambda: place.written, what="results")
        place.release()
    settle(place)

    assert left == (["orphaned"] if moment == "before" else [])
    assert place.noted.with_suffix(".ran").exists() is (moment == "before")


def is_noted(place: Place, file: str) -> bool:
    """Say whether a file of the entry names the command."""
    found = (place.top / ".git/experimenter/runs").glob(f"[!.]*/{file}")
    return any('"pid"' in path.read_text() for path in found)


@needs_strace
def test_a_signal_between_fork_and_exec_is_for_the_command(tmp_path: Path) -> None:
    place = Place.make(tmp_path / "x")
    env = git_in_front(tmp_path / "bin", "update-ref 1", attached("rename:delay_exit=2000000:when=1"))
    process = place.start(*RUN, "--", "sh", "-c", "echo > $NOTED.ran; read line < $NOTED.fifo", env=env)
    until(lambda: is_noted(place, "pid.json"), what="the command's PID file")
    (path,) = place.top.glob(".git/experimenter/runs/*/pid.json")
    os.kill(json.loads(path.read_text())["pid"], signal.SIGTERM)

    assert process.wait(timeout=20) == 128 + signal.SIGTERM
    assert not place.noted.with_suffix(".ran").exists()
    assert (records(place.top), place.entries) == ({}, [])


def test_a_run_that_is_killed_before_it_goes_to_the_background_ends_its_starter_alike(tmp_path: Path) -> None:
    place = Place.make(tmp_path / "x")
    env = git_in_front(tmp_path / "bin", "update-ref 1", "kill -9 $PPID; exit 137")

    assert place.play(*SCENES["detached"], env=env) == -signal.SIGKILL
    assert place.noted.with_suffix(".out").read_text() == ""
    settle(place)


@needs_strace
def test_locks_are_held_on_files_that_can_be_written_as_nfs_wants_it(repo: Path, tmp_path: Path) -> None:
    def flags_of_locked(*words: str) -> Iterator[str]:
        """Yield the flags with which each file was opened that a command locks."""
        out = tmp_path / words[0]
        trace = ["strace", "-ff", "-qq", "-e", "trace=openat,flock", "-e", "signal=none", "-o", str(out)]
        subprocess.run([*trace, EXPERIMENTER, *words], check=True, capture_output=True, timeout=60)
        for process in tmp_path.glob(f"{words[0]}.*"):
            opened: dict[str, str] = {}
            for call in process.read_text().splitlines():
                if found := re.match(r"openat\(.*, (O_\S+?)(?:, 0\d+)?\) = (\d+)", call):
                    opened[found[2]] = found[1]
                elif found := re.match(r"flock\((\d+), LOCK_(?:EX|SH)", call):
                    yield opened[found[1]]

    seen = list[str]()
    for words in (("stop", "--all"), ("list",), ("sweep", "-p", "x=1,2", "--", "true")):
        detached("--", "sleep", "1000")
        if words == ("list",):
            (one,) = json.loads(experimenter("ps", "--json").stdout)
            for pid in (one["wrapper_pid"], one["pid"]):
                os.kill(pid, signal.SIGKILL)
            until(lambda pid=one["pid"]: not psutil.pid_exists(pid), what="the end")  # type: ignore[misc]
        locked = list(flags_of_locked(*words))
        assert locked, words
        seen += locked
    experimenter("stop", "--all")

    assert all(re.match("O_RDWR|O_WRONLY", flags) for flags in seen), seen
