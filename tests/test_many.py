"""Many at once: runs, stops and the user's own git in one repository, none of which loses another's work."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from conftest import EXPERIMENTER, experimenter, record, sh, tags, until
from experimenter import registry
from experimenter.plumbing import find_repo
from experimenter.settings import Settings
from experimenter.stop import Stopped, stop

FROZEN = """
import sys
from datetime import UTC, datetime
from experimenter import cli, live

class Stopped(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime(2026, 1, 2, 3, 4, 5, 678900, tz)

live.datetime = Stopped
sys.exit(cli.main())
"""


def spawn(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([EXPERIMENTER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def left_behind() -> list[str]:
    """Return the entries of experiments that are alive, and scratch files."""
    return [path.name for path in Path(".git/experimenter/runs").iterdir()]


def is_alive(pid: int) -> bool:
    """Say whether a process lives; one that nobody has waited for is dead."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def complaints() -> str:
    """Return what git finds wrong with the repository; objects that nothing leads to are no fault."""
    return sh("git fsck --strict 2>&1 | grep -v dangling || true")


def test_fifty_runs_at_once_while_the_user_commits_and_switches_branches(repo: Path) -> None:
    user = subprocess.Popen(
        ["sh", "-c", "i=0; while ! test -e .git/enough; do git checkout -q -b b$((i+=1)) && echo $i > other && git add other"
         " && git commit -qm $i && git checkout -q main || exit 1; done"]
    )  # fmt: skip
    runs = [spawn("run", "-n", "x", "--", "sh", "-c", "echo EXPERIMENTER_RESULTS '{\"a\": 1}'") for _ in range(50)]
    outputs = [run.communicate(timeout=60) for run in runs]
    Path(".git/enough").touch()

    assert user.wait(timeout=20) == 0
    assert [(run.returncode, said) for run, said in zip(runs, outputs, strict=True) if run.returncode] == []
    assert [record(tag)["results"] for tag in tags()] == [{"a": 1}] * 50
    assert (left_behind(), complaints()) == ([], "")


def start_in_one_microsecond() -> subprocess.Popen[str]:
    """Start a run that lasts until its stdin is closed, at the moment at which all of these start."""
    command = [sys.executable, "-c", FROZEN, "run", "-n", "x", "--", "cat"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


SAME_MICROSECOND = [f"exp_x_20260102T030405.67890{number}Z" for number in range(4)]


def test_runs_of_one_name_that_start_in_one_microsecond_get_a_tag_each(repo: Path) -> None:
    runs = [start_in_one_microsecond() for _ in range(4)]
    until(lambda: tags() == SAME_MICROSECOND, what="a tag for each")
    errors = [run.communicate(timeout=30)[1] for run in runs]

    assert [run.returncode for run in runs] == [0] * 4, errors
    assert (tags(), left_behind()) == (SAME_MICROSECOND, [])


def test_a_clock_that_goes_back_costs_no_experiment_its_tag(repo: Path) -> None:
    runs = []
    for _ in range(2):
        run = start_in_one_microsecond()
        runs.append((run.communicate(timeout=30)[1], run.returncode))

    assert [returncode for _, returncode in runs] == [0] * 2, runs
    assert (tags(), left_behind()) == (SAME_MICROSECOND[:2], [])


ENDINGS = [
    "sleep {0}",
    "sleep {0}; exit 3",
    "trap 'exit 0' TERM; sleep {0} & wait; wait",
    "trap 'exit 5' TERM; sleep {0} & wait; wait",
    "trap '' TERM; sleep {0}",
    "setsid sleep 0.1 & sleep {0}",
]

LATE = {"was just ending by itself": "ended by itself", "does not run": "too late"}


def verdict(stop: subprocess.Popen[str]) -> str:
    """Wait for a stop; return its one word on what became of the experiment."""
    output, errors = stop.communicate(timeout=30)
    words = {"its tag is kept": "kept", "its tag was removed": "removed"} if stop.returncode == 0 else LATE
    (said,) = [word for words_, word in words.items() if words_ in output + errors]
    return said


@dataclass(frozen=True)
class Contest:
    """What two stops, one of them with --keep, and the run itself said of an experiment's end, and what is left."""

    stops: set[str]
    notes: str
    returncode: int
    ending: dict[str, object]
    has_tag: bool

    @classmethod
    def hold(cls, name: str, script: str) -> "Contest":
        run = spawn("run", "-n", name, "--", "sh", "-c", f"echo ready; {script}")
        assert run.stdout
        run.stdout.readline()
        stops = [spawn("stop", name), spawn("stop", "--keep", name)]
        said = {verdict(stop) for stop in stops}
        _, notes = run.communicate(timeout=30)
        (tag,) = re.findall(rf"exp_{name}_\w+\.\w+", notes)
        (ending,) = [one for one in endings() if one["tag"] == tag]
        return cls(stops=said, notes=notes, returncode=run.returncode, ending=ending, has_tag=tag in tags())

    @property
    def was_stopped(self) -> bool:
        return bool(self.stops & {"kept", "removed"})

    def check(self) -> None:
        status = self.ending["status"]
        assert self.stops <= {"too late", "ended by itself"} or self.stops - {"too late"} in ({"kept"}, {"removed"})
        assert status == "stopped" if self.was_stopped else status in ("completed", "failed")
        assert self.has_tag == ("kept" in self.stops or status == "completed") == self.ending["is_kept"]
        assert self.returncode == self.ending["exit_code"]
        assert {"stopped": "stopped", "failed": "failed", "completed": "recorded"}[str(status)] in self.notes
        assert left_behind() == []


def endings() -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in Path(".git/experimenter/logs").glob("*.json")]


def test_two_stops_and_a_finishing_run_never_disagree(repo: Path) -> None:
    length_s = dict.fromkeys(ENDINGS, 0.2)
    for number in range(15):
        script = ENDINGS[number % len(ENDINGS)]
        contest = Contest.hold(f"x{number}", script.format(length_s[script]))
        contest.check()
        length_s[script] *= 0.85 if contest.was_stopped else 1.25  # so that all three come to it at the same time

    assert complaints() == ""


def test_a_stop_that_comes_when_another_has_just_ended_does_not_say_otherwise(repo: Path) -> None:
    run = spawn("run", "-n", "x", "--", "sh", "-c", "echo ready; exec sleep 1000")
    assert run.stdout
    run.stdout.readline()
    found = find_repo(repo)
    seen = registry.entries(found)  # what the second one has read when the first begins
    first = experimenter("stop", "x")
    (second,) = stop(found, seen, Settings(), grace_s=None, keep=True)
    run.communicate(timeout=20)

    assert first.returncode == 0
    assert isinstance(second, Stopped)
    assert (second.is_ours, second.is_kept) == (False, False)


def test_a_stop_by_name_counts_running_ones_only(repo: Path) -> None:
    for _ in range(2):
        experimenter("run", "-n", "x", "--", "true")
    done = experimenter("stop", "x")

    assert done.returncode == 1
    assert "ambiguous" not in done.stderr


def test_two_stops_of_all_end_twenty_in_the_background(repo: Path) -> None:
    runs = [spawn("run", "-d", "--", "sleep", "1000") for _ in range(20)]
    ids = {run.communicate(timeout=60)[0].strip() for run in runs}
    shown = json.loads(experimenter("ps", "--json").stdout)
    stops = [spawn("stop", "--all"), spawn("stop", "--all", "--keep")]
    outputs = [stop.communicate(timeout=60) for stop in stops]

    assert {one["id"] for one in shown} == ids
    assert len(ids) == 20
    assert [stop.returncode for stop in stops] == [0, 0], outputs
    said = [dict(re.findall(r"\((\w{8})\).*its tag (is kept|was removed)", output)) for output, _ in outputs]
    assert said[0].keys() | said[1].keys() == ids
    assert all(said[0][id_] == said[1][id_] for id_ in said[0].keys() & said[1].keys())
    assert len(tags()) == [*(said[0] | said[1]).values()].count("is kept")
    assert {record(tag)["status"] for tag in tags()} <= {"stopped"}
    assert (left_behind(), complaints()) == ([], "")
    assert not [one for one in shown if is_alive(one["pid"]) or is_alive(one["wrapper_pid"])]


def test_a_run_in_a_linked_worktree_is_seen_and_stopped_from_the_main_one(repo: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    sh(f"git worktree add -q '{linked}' -b other")
    started = experimenter("run", "-d", "-n", "x", "--", "sleep", "1000", cwd=linked)
    (shown,) = json.loads(experimenter("ps", "--json").stdout)
    stop = experimenter("stop", "x")

    assert (started.stdout.strip(), "running") == (shown["id"], shown["state"])
    assert (stop.returncode, tags(), left_behind()) == (0, [], [])
    assert not is_alive(shown["pid"])
