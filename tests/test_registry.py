import json
import os
from datetime import UTC, datetime
from pathlib import Path

from experimenter.names import tag
from experimenter.plumbing import find_repo
from experimenter.registry import entries, is_alive, open_entry

NOW = datetime(2026, 11, 23, 3, 19, 36, 999999, tzinfo=UTC)


def test_two_of_one_name_in_one_microsecond_get_two_tags(repo: Path) -> None:
    found = find_repo(repo)
    first, second = (open_entry(found, "x", ["true"], now=NOW) for _ in range(2))

    assert (first.tag, second.tag) == (tag("x", NOW), "exp_x_20261123T031937.000000Z")
    assert second.started > first.started
    assert [entry.tag for entry in entries(found)] == [first.tag, second.tag]


def test_an_entry_is_alive_as_long_as_its_very_process_is(repo: Path) -> None:
    found = find_repo(repo)
    entry = open_entry(found, "x", ["true"], now=NOW)
    path = entry.folder / "pid.json"
    pid_file = json.loads(path.read_text())

    assert pid_file["wrapper_pid"] == os.getpid()
    assert is_alive(found, entry.tag)
    for key in ("wrapper_start_time", "boot_id"):  # the pid was given away again, or the machine started again
        path.write_text(json.dumps({**pid_file, key: 1}))
        assert not is_alive(found, entry.tag)


def test_a_discarded_entry_leaves_nothing(repo: Path) -> None:
    entry = open_entry(find_repo(repo), "x", ["true"], now=NOW)
    (entry.folder / "index.lock").write_text("")
    entry.state.log(entry.id).write_text("output")
    entry.discard()

    assert list(entry.state.runs.iterdir()) == list(entry.state.logs.iterdir()) == []
