"""What users get to read when something is wrong: one line that helps, and nothing half-made left behind."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from conftest import EXPERIMENTER, experimenter, fake_git, fill, record, sh, tags, until


def complaint(done: subprocess.CompletedProcess[str], status: int) -> str:
    """Return the message of a failed command, after checking the form of all such messages."""
    assert done.returncode == status, done
    first, *rest = done.stderr.removesuffix("\n").split("\n")
    assert first.startswith("Error: "), done.stderr
    assert all(line.startswith("  ") for line in rest), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def nothing_left(top: Path) -> None:
    assert sh("git tag", cwd=top) == ""
    runs = top / ".git/experimenter/runs"
    assert not runs.exists() or list(runs.iterdir()) == []


def test_no_git(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = experimenter("run", "--", "true", env={"PATH": str(tmp_path / "empty")})

    assert "git 2.30 or later" in complaint(done, 125)


def test_an_old_git(repo: Path, tmp_path: Path) -> None:
    old = fake_git(tmp_path / "bin", 'case "$*" in *version*) echo git version 2.29.3;; *) exec $GIT "$@";; esac')

    assert "2.29.3 is too old; experimenter needs git 2.30" in complaint(experimenter("list", env=old), 1)


@pytest.mark.parametrize("words", [["list"], ["show", "x"], ["run", "--", "true"], ["wait", "x"]])
def test_no_repository(tmp_path: Path, words: list[str]) -> None:
    done = experimenter(*words, cwd=tmp_path)

    assert f"{tmp_path} is in no git repository" in complaint(done, 125 if words[0] == "run" else 1)


def test_a_bare_repository(tmp_path: Path) -> None:
    sh(f"git init -q --bare {tmp_path}/bare.git")

    assert "bare repository" in complaint(experimenter("run", "--", "true", cwd=tmp_path / "bare.git"), 125)


def test_a_repository_of_another_user(repo: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to another user")
    sh("chown -R 12345 .")
    message = complaint(experimenter("run", "--", "true"), 125)

    assert f"git config --global --add safe.directory '{repo}'" in message
    sh(re.findall("git config .*", message)[0])
    assert experimenter("run", "--", "true").returncode == 0


def test_a_read_only_repository(small_disk: Path) -> None:
    sh(f"mount -o remount,ro {small_disk.parent}")
    message = complaint(experimenter("run", "--", "true", cwd=small_disk), 125)

    assert "Read-only file system" in message
    nothing_left(small_disk)
    assert experimenter("list", cwd=small_disk).returncode == 0


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_limit_of_file_sizes(repo: Path, blocks: int) -> None:
    limited = f"ulimit -f {blocks}; exec {EXPERIMENTER} run -- true"
    done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True)

    assert "File too large; raise the limit of the shell and try again: ulimit -f" in complaint(done, 125)
    nothing_left(repo)
    assert experimenter("run", "--", "true").returncode == 0


def test_a_umask_that_takes_all_costs_later_runs_nothing(repo: Path) -> None:
    subprocess.run(["sh", "-c", f"umask 777; exec {EXPERIMENTER} run -- true"], capture_output=True)
    state = repo / ".git/experimenter"

    assert {path.name: path.stat().st_mode & 0o777 for path in (state, state / "runs", state / "logs")} == {
        "experimenter": 0o700, "runs": 0o700, "logs": 0o700,
    }  # fmt: skip
    assert list((state / "runs").iterdir()) == []


@pytest.mark.parametrize("free_kib", [0, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64])
def test_a_full_disk_at_the_start(small_disk: Path, free_kib: int) -> None:
    (small_disk / "notes.txt").write_text("new\n" * 2000)
    with (small_disk.parent / "reserve").open("wb") as reserve:
        reserve.write(bytes(free_kib * 1024))
    fill(small_disk.parent / "filler")
    (small_disk.parent / "reserve").unlink()

    done = experimenter("run", "--", "true", cwd=small_disk)

    if done.returncode == 0:
        assert free_kib >= 32, "this little cannot have sufficed"
        assert len(tags_in(small_disk)) == 1
    else:
        assert "No space left on device" in complaint(done, 125)
        (small_disk.parent / "filler").unlink()
        listed = json.loads(experimenter("list", "--json", cwd=small_disk).stdout)
        # A command that had succeeded before the disk was full has its record now.
        assert {entry["status"] for entry in listed} <= {"completed"}
        assert len(tags_in(small_disk)) == len(listed)
        assert list(small_disk.glob(".git/experimenter/runs/*")) == []
    assert list(small_disk.rglob("*.lock")) == []


def test_a_disk_that_the_command_fills_keeps_what_it_wrote(small_disk: Path) -> None:
    script = """
        echo '{"a": 1}' > $EXPERIMENTER_RESULTS_FILE
        cat /dev/zero > ../filler 2>/dev/null
        yes | head -c 100000
    """
    done = experimenter("run", "--", "sh", "-c", script, cwd=small_disk)

    assert len(done.stdout) == 100000
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode == 125:
        (kept,) = small_disk.glob(".git/experimenter/runs/*/results.json")
        assert kept.read_text() == '{"a": 1}\n'
        assert len(tags_in(small_disk)) == 1


@pytest.mark.parametrize("result", ["", "echo 'EXPERIMENTER_RESULTS {\"b\": 1}'"])
def test_a_disk_that_the_command_fills_costs_no_experiment(small_disk: Path, result: str) -> None:
    script = f"cat /dev/zero > ../filler 2>/dev/null; {result or 'true'}"
    done = experimenter("run", "--", "sh", "-c", script, cwd=small_disk)
    (small_disk.parent / "filler").unlink()
    (found,) = json.loads(experimenter("list", "--json", cwd=small_disk).stdout)

    assert (done.returncode, found["status"]) == (0, "completed")
    assert found.get("results") == ({"b": 1} if result else None)
    assert list(small_disk.glob(".git/experimenter/runs/*")) == []


def tags_in(top: Path) -> list[str]:
    return sh("git tag", cwd=top).split()


@pytest.mark.parametrize("name", ["", "no space", "-x", "a/b", "a..b", "x" * 101, "né", "new\nline", "\x1b[31m"])
def test_a_bad_name_is_refused_with_the_rule(repo: Path, name: str) -> None:
    message = complaint(experimenter("run", f"--name={name}", "--", "touch", "ran"), 125)

    assert "1 to 100 characters of A-Z a-z 0-9 . _ -" in message
    assert "\x1b" not in message
    assert not Path("ran").exists()
    nothing_left(repo)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: 1\nb: [1, 2\n", "p.yaml, line 3, column 1"),
        (b"a: 1\nb:\n  c: 1\n  c: 2\n", "p.yaml, line 4, column 3: the key 'c' is there twice"),
        (b"- 1\n", "p.yaml must hold a mapping"),
        (b"a: \xff\n", "p.yaml is not UTF-8, at byte 3"),
        (None, "cannot read the parameter file p.yaml: No such file or directory"),
    ],
)
def test_bad_parameter_files(repo: Path, content: bytes | None, expected: str) -> None:
    if content is not None:
        Path("p.yaml").write_bytes(content)

    assert expected in complaint(experimenter("run", "--params", "p.yaml", "--", "true"), 125)
    nothing_left(repo)


@pytest.mark.parametrize("words", [["-p", "lr"], ["-p", "=1"], ["-p", "a..b=1"], ["-p", "x=[1"], ["-p", "x=@y"]])
def test_bad_parameters_on_the_command_line(repo: Path, words: list[str]) -> None:
    assert "-p" in complaint(experimenter("run", *words, "--", "true"), 125)


@pytest.mark.parametrize(
    ("prepare", "command", "status", "expected"),
    [
        ("true", "nothing-of-this-name", 127, "there is no command 'nothing-of-this-name'"),
        ("true", "./absent", 127, "there is no command './absent'"),
        ("echo x > plain", "./plain", 126, "chmod +x"),
        ("echo x > plain; chmod +x plain", "./plain", 126, "#!/bin/sh"),
        ("printf '#!/no/such\\n' > plain; chmod +x plain", "./plain", 126, "interpreter"),
        ("mkdir folder", "./folder", 126, "it is a folder"),
    ],
)
def test_commands_that_cannot_be_started(repo: Path, prepare: str, command: str, status: int, expected: str) -> None:
    sh(prepare)

    assert expected in complaint(experimenter("run", "--", command), status)
    nothing_left(repo)
    assert list(Path(".git/experimenter/logs").iterdir()) == []


def test_refused_files_come_one_a_line_and_without_control_characters(repo: Path) -> None:
    sh("printf s > $(printf 'a\\033b.pem'); printf s > .env; head -c 3k /dev/zero > big; echo s > 'new\nline.key'")
    message = complaint(experimenter("run", "--max-file-size", "2k", "--", "true"), 125)

    assert message.split("\n")[1:] == [
        "  big (3.0 KiB)",
        "  .env (looks secret)",
        "  a\\x1bb.pem (looks secret)",
        "  new\\nline.key (looks secret)",
        "",
    ]
    nothing_left(repo)


def test_a_file_that_is_refused_for_two_reasons_is_one_file(repo: Path) -> None:
    experimenter("run", "--", "true")
    sh("head -c 3k /dev/zero > dump.pem; echo new > new.py")
    message = complaint(experimenter("run", "--max-file-size", "2k", "--", "true"), 125)

    assert message.startswith("Error: 1 untracked file is too large or too secret to be stored")
    assert "  dump.pem (3.0 KiB, looks secret)\n" in message
    assert "new.py" not in message


def test_the_size_limit_may_come_from_the_configuration(repo: Path) -> None:
    sh("head -c 3k /dev/zero > big; git config experimenter.maxFileSize 2KiB")
    refused = experimenter("run", "--", "true")
    allowed = experimenter("run", "--max-file-size", "3k", "--", "true")
    sh("git config experimenter.maxFileSize plenty")
    unreadable = experimenter("run", "--", "true")

    assert "big (3.0 KiB)" in complaint(refused, 125)
    assert allowed.returncode == 0
    assert "git config experimenter.maxFileSize: 'plenty' is no size" in complaint(unreadable, 125)


def test_no_setting_comes_from_the_environment(repo: Path) -> None:
    sh("head -c 3k /dev/zero > big; git config experimenter.maxFileSize 2k")

    assert "big (3.0 KiB)" in complaint(experimenter("run", "--", "true", env={"GIT_CONFIG": "/dev/null"}), 125)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["run"], 125),
        (["run", "--"], 125),
        (["run", "--bogus", "--", "true"], 125),
        (["run", "--name"], 125),
        (["-C", ".", "run", "--bogus"], 125),
        (["run", "--max-file-size", "x", "--", "true"], 125),
        (["bogus"], 2),
        (["--bogus"], 2),
        (["list", "x"], 2),
        (["list", "--json", "--csv"], 2),
        (["show"], 2),
        (["-C", "nowhere", "list"], 1),
        (["-C", "nowhere", "run", "--", "true"], 125),
        (["-c", "nothing"], 1),
        (["-c", ""], 1),
        (["-c", "--help"], 1),
    ],
)
def test_wrong_usage(repo: Path, words: list[str], status: int) -> None:
    message = complaint(experimenter(*words), status)

    assert message.count("\n") == 1


def test_experiments_that_are_unknown_or_ambiguous(repo: Path) -> None:
    for name in ("base", "base", "other"):
        experimenter("run", "-n", name, "--", "true")
    first, second, _ = tags()

    unknown = complaint(experimenter("show", "basse"), 1)
    ambiguous = complaint(experimenter("show", "base"), 1)

    assert "no experiment 'basse'; did you mean\n  " in unknown
    assert second in unknown
    assert first in ambiguous and second in ambiguous
    assert "no experiment 'zzzz'; 'experimenter list' shows all" in complaint(experimenter("show", "zzzz"), 1)


def test_a_traceback_only_for_those_who_debug(repo: Path) -> None:
    done = experimenter("show", "x", env={"EXPERIMENTER_DEBUG": "1"})

    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: no experiment 'x'")


def test_a_reader_that_goes_away_is_no_error(repo: Path) -> None:
    for number in range(3):
        experimenter("run", "-n", f"x{number}", "--", "true")
    script = f"({EXPERIMENTER} list --json; echo $? >status) | true"

    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True).stderr == ""


def test_a_refused_run_says_how_to_go_on_in_the_configured_words(repo: Path) -> None:
    sh("echo s > .env")
    message = complaint(experimenter("run", "--", "true"), 125)

    assert ".gitignore" in message and "--allow-secrets" in message
    assert experimenter("run", "--allow-secrets", "--", "true").returncode == 0
    code = record()["code"]
    assert isinstance(code, dict)
    assert code["changed"]["added"] == [".env"]


def test_ctrl_c_in_a_listing_ends_without_a_traceback(repo: Path, tmp_path: Path) -> None:
    slow = fake_git(
        tmp_path / "bin", 'case "$*" in *for-each-ref*) kill -INT $PPID; sleep 5;; *) exec $GIT "$@";; esac'
    )

    done = experimenter("list", env=slow)

    assert (done.returncode, done.stderr) == (-2, "")


@pytest.mark.parametrize("change", ["rm notes", "echo more >> notes", ""])
def test_a_file_that_goes_while_git_reads_it_is_looked_at_again(repo: Path, tmp_path: Path, change: str) -> None:
    Path("notes").write_text("old")
    os.utime("notes", (0, 0))
    said = 'error: open("notes"): No such file or directory'
    fails = f"test -e {tmp_path}/done || {{ {change or ':'}; touch {tmp_path}/done; echo '{said}' >&2; exit 128; }}"
    until(lambda: time.time_ns() - Path("notes").stat().st_ctime_ns > 100_000_000, what="a moment")
    env = fake_git(tmp_path / "bin", f'case "$*" in *update-index*--add*) {fails};; esac\nexec $GIT "$@"')
    done = experimenter("run", "--", "true", env=env)

    if change:
        assert done.returncode == 0, done.stderr
        assert sh("git ls-tree --name-only $(git tag)^0").split() == ["notes", "train.py"][change.startswith("rm") :]
    else:
        assert 'git update-index failed: open("notes")' in complaint(done, 125)
