"""Whatever our own files hold after a crash, or by a hand, costs what they are about, and never an answer of a command."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import experimenter, sh, tags
from experimenter import jobs
from experimenter.fields import BadField, Fields
from experimenter.names import id_of
from experimenter.pidfile import PidFile
from experimenter.plumbing import find_repo
from experimenter.state import StateFolder

STATE = Path(".git/experimenter")
TAG = "exp_lost_20260101T000000.000001Z"
SWEEP = "abcdef01"
WORKER: Mapping[str, Any] = {
    "host": os.uname().nodename, "boot_id": "b", "pid": 1, "start_time": 1, "command": ["x"], "started": "2026",
    "total": 1, "done": 0, "failed": 0,
}  # fmt: skip
SPEC: Mapping[str, Any] = {
    "tags": [TAG],
    "submitter": {"host": "h", "pid": 1, "start_time": 1},
    "keep": False,
    "grace_s": 1,
}
FILES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "a PID file": (
        f"runs/{id_of(TAG)}/pid.json",
        {
            "tag": TAG, "host": os.uname().nodename, "boot_id": "b", "wrapper_pid": 1, "wrapper_start_time": 1,
            "pid": 2, "start_time": 1, "command": ["x"], "grace_s": 1, "sweep": SWEEP, "cell": "k",
            "results_file": "/r", "results_stamp": [1, 2],
        },
    ),
    "an ending": (f"logs/{id_of(TAG)}.json", {"tag": TAG, "status": "failed", "exit_code": 3, "is_kept": False}),
    "a sweep's ending": (
        f"logs/{SWEEP}.json", {"sweep": SWEEP, "total": 1, "done": 0, "failed": 0, "tags": [TAG]},
    ),
    "a worker": (f"sweeps/{SWEEP}/{os.uname().nodename}-1-1/pid.json", WORKER),
    "a journal": (f"sweeps/{SWEEP}/ended", {}),
    "a submission": (f"jobs/{SWEEP}-1/spec.json", SPEC),
    "a job's id": (f"jobs/{SWEEP}-1/job.json", {"job_id": "5", "cluster": "c"}),
}  # fmt: skip
WHOLE = [b"", b"\xff", b"[" * 5000, b"5", b"nul", b"\0", None]
VALUES = ["1e999", "-1", "[[[]]]", '{"a": 1}', '"\\ud800"', '"\\u0000"', "1" + "0" * 400, "true", "[" * 5000]


def damaged(values: Mapping[str, Any]) -> list[bytes | None]:
    """Return contents that are no longer right: broken ones, and one field after the other of another kind."""
    mark = '"@"'
    fields = [
        json.dumps({**values, key: "@"}).replace(mark, VALUES[place % len(VALUES)]) for place, key in enumerate(values)
    ]
    all_fields = [json.dumps(dict.fromkeys(values, "@")).replace(mark, value) for value in VALUES]
    return [*WHOLE, *(text.encode() for text in [*fields, *all_fields])]


def put(path: Path, content: bytes | None) -> None:
    """Write a file; without content put a folder in its place."""
    sh(f"rm -rf '{path}'")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content) if content is not None else path.mkdir()


@pytest.mark.parametrize("kind", FILES)
def test_what_cannot_be_read_costs_no_answer(repo: Path, kind: str) -> None:
    name, values = FILES[kind]
    assert experimenter("run", "-n", "good", "--", "true").returncode == 0
    contents = damaged(values)
    words_of_all = (("ps",), ("list",), ("run", "--", "true"))
    of_one = (("wait", id_of(TAG)), ("logs", "lost"), ("stop", SWEEP))
    commands = words_of_all if kind == "a job's id" else words_of_all + of_one  # else its job is waited for
    for place, content in enumerate(contents):
        put(STATE / name, content)
        if kind in ("a submission", "a job's id"):
            put(STATE / f"jobs/{SWEEP}-1/{id_of(TAG)}.alive", b"")
        if kind == "a job's id":
            put(STATE / f"jobs/{SWEEP}-1/spec.json", json.dumps(SPEC).encode())
        words = commands[place % len(commands)]
        done = experimenter(*words)

        assert "Traceback" not in done.stderr, (content and content[:200], words, done.stderr)
        assert done.returncode == (0 if words[0] in ("ps", "list", "run") else 1), (content and content[:200], done)


def test_an_ending_is_believed_of_its_own_experiment_alone(repo: Path) -> None:
    experimenter("run", "-n", "x", "--", "sh", "-c", "exit 3")
    (file,) = (STATE / "logs").glob("*.json")
    before = experimenter("wait", file.stem)
    file.write_text(json.dumps({**json.loads(file.read_text()), "tag": TAG}))

    assert (before.returncode, experimenter("wait", file.stem).returncode) == (3, 1)


def test_a_sweep_goes_on_whatever_is_in_its_journal(repo: Path) -> None:
    put(STATE / f"sweeps/{SWEEP}/ended", b"\xff completed\n")
    script = f"printf '\\xff\\n' >> {repo}/.git/experimenter/sweeps/$EXPERIMENTER_SWEEP/ended"
    done = experimenter("sweep", "-p", "x=1,2", "--", "bash", "-c", script)

    assert (done.returncode, len(tags())) == (0, 2), done.stderr


def test_a_worker_that_lives_keeps_its_folder_though_its_file_cannot_be_read(repo: Path) -> None:
    script = "f=$(echo .git/experimenter/sweeps/*/*/pid.json); echo > $f; experimenter list"
    done = experimenter("sweep", "-j", "1", "-p", "x=1,2", "--", "sh", "-c", script)

    assert (done.returncode, len(tags())) == (0, 2), done.stderr


def test_numbers_are_finite_and_no_booleans() -> None:
    fields = Fields({"a": True, "b": float("inf"), "c": 10**400, "d": 2, "e": 0.5, "f": -1})

    assert (fields.number("d"), fields.number("e"), fields.pid("d"), fields.maybe(fields.text, "g")) == (
        2,
        0.5,
        2,
        None,
    )
    for read, key in [(fields.count, "a"), (fields.number, "b"), (fields.number, "c"), (fields.pid, "f")]:
        with pytest.raises(BadField):
            read(key)


class TestAside:
    def test_what_an_older_version_left_among_the_logs_goes(self, repo: Path) -> None:
        experimenter("run", "--", "true")
        (STATE / "logs/0db67c40.tmp").touch()
        assert experimenter("ps").returncode == 0

        assert list((STATE / "logs").glob("*.tmp")) == []

    def test_one_that_is_killed_as_it_writes_an_ending_leaves_nothing(self, repo: Path) -> None:
        experimenter("run", "--", "true")
        (STATE / f"runs/.new-{os.uname().nodename}-999999999-1-0a0a0a0a").write_text("half an end")
        assert experimenter("list").stderr == ""

        assert list((STATE / "runs").iterdir()) == []

    def test_a_name_that_is_none_of_ours_is_left_alone(self, repo: Path) -> None:
        experimenter("run", "--", "true")
        (STATE / "runs/.new-what-is-this").mkdir()

        assert [experimenter(word).returncode for word in ("ps", "list")] == [0, 0]


def test_a_pid_file_is_read_as_it_was_written_where_there_are_no_pid_namespaces(tmp_path: Path) -> None:
    file = replace(PidFile.of_ourselves(TAG, ["x"], keep=True, grace_s=2.5), pid_namespace="")
    place = tmp_path / id_of(TAG) / "pid.json"
    place.parent.mkdir()
    place.write_text(json.dumps(file.to_json()))

    assert PidFile.read(place) == file


def test_a_submission_is_read_as_it_was_written_with_a_push_to_the_default_remote(repo: Path) -> None:
    folder = jobs.create(StateFolder.of(find_repo(repo)), "1", [TAG], push_to="", remote=None, keep=False, grace_s=10.0)
    jobs.save_job_id(folder, "5", "")

    assert jobs.spec(folder)["push_to"] == ""
    assert [job.job_id for job in jobs.alive(StateFolder.of(find_repo(repo)))] == ["5"]
