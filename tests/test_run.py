import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from conftest import EXPERIMENTER, Terminal, experimenter, make_repo, record, resize, sh, tags, until

PYTHON = sys.executable
StartTerminal = Callable[..., Terminal]


def left_behind() -> list[str]:
    """Return the entries of experiments that are alive, and scratch files."""
    return [str(path) for path in Path(".git/experimenter/runs").iterdir()]


def log_of(output: str) -> bytes:
    """Return the log that a run names on stderr."""
    return Path(output.split("its log is ")[1].split()[0]).read_bytes()


def start(*words: str, **options: object) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own, as a shell does, and wait until its command runs."""
    process = subprocess.Popen(
        [EXPERIMENTER, "run", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
        **options,  # type: ignore[call-overload]
    )
    assert isinstance(process, subprocess.Popen)
    until(lambda: process.poll() is not None or pid_files(), what="a PID file with the command")
    return process


def pid_files() -> list[dict[str, object]]:
    found = []
    for path in Path(".git/experimenter/runs").glob("*/pid.json"):
        entry = json.loads(path.read_text())
        if "pid" in entry:
            found.append(entry)
    return found


class TestRecord:
    def test_a_run_ends_as_a_tag_on_the_code_that_ran(self, repo: Path) -> None:
        sh("mkdir sub; echo two > train.py; echo 'import sys; print(open(\"../train.py\").read())' > sub/go.py")

        done = experimenter(
            "run",
            "--name",
            "baseline",
            "--description",
            "first try",
            "-p",
            "lr=1e-3",
            "--",
            "python",
            "go.py",
            cwd=repo / "sub",
        )

        assert (done.returncode, done.stdout) == (0, "two\n\n")
        (tag,) = tags()
        found = record()
        assert list(found) == [
            "schema", "name", "description", "parameters", "status", "started", "finished", "command", "directory",
            "exit_code", "code", "resources", "host", "python", "experimenter",
        ]  # fmt: skip
        started = str(found["started"])
        assert tag == f"exp_baseline_{started.replace('-', '').replace(':', '')}"
        assert found["parameters"] == {"lr": 0.001}
        assert (found["status"], found["exit_code"], found["directory"]) == ("completed", 0, "sub")
        assert found["command"] == ["python", "go.py"]
        code = found["code"]
        assert isinstance(code, dict)
        assert code["commit"] == sh(f"git rev-parse {tag}^{{commit}}").strip()
        assert code["tree"] == sh(f"git rev-parse {tag}^{{tree}}").strip()
        assert (code["base"], code["branch"]) == (sh("git rev-parse HEAD").strip(), "main")
        assert code["changed"] == {"added": ["sub/go.py"], "modified": ["train.py"], "deleted": []}
        assert sh(f"git show {tag}:train.py") == "two\n"
        resources = found["resources"]
        assert isinstance(resources, dict)
        assert resources["wall_s"] > 0
        assert resources["max_rss_bytes"] > 10**6
        assert left_behind() == []

    def test_the_tag_is_there_as_running_while_the_command_runs(self, repo: Path) -> None:
        script = 'git for-each-ref --format="%(contents)" refs/tags/$EXPERIMENTER_TAG'

        assert json.loads(experimenter("run", "--", "sh", "-c", script).stdout)["status"] == "running"

    def test_without_a_name_it_comes_from_the_command(self, repo: Path) -> None:
        sh("echo 'exit 0' > train.sh")
        experimenter("run", "--", "sh", "train.sh", "--fast")

        assert record()["name"] == "train"

    def test_edits_during_the_run_are_drift(self, repo: Path) -> None:
        sh("echo g > gone; git add gone; git commit -qm gone")
        done = experimenter("run", "--", "sh", "-c", "echo two > train.py; rm gone; echo new > new")

        assert record()["drift"] == {"modified": ["train.py"], "deleted": ["gone"]}
        assert "Warning: files changed while the experiment ran" in done.stderr
        assert "\n  train.py\n  gone\n" in done.stderr

    def test_secrets_reach_the_command_but_not_the_record(self, repo: Path) -> None:
        words = ("-p", "db.password=hunter2", "-p", "url=https://me:hunter2@host/x")
        script = 'echo "$EXPERIMENTER_PARAM_DB__PASSWORD $EXPERIMENTER_PARAM_URL" "$@"'

        done = experimenter("run", *words, "--", "sh", "-c", script, "sh", "--api-key", "hunter2")

        assert done.stdout == "hunter2 https://me:hunter2@host/x --api-key hunter2\n"
        assert "hunter2" not in sh(f"git cat-file -p {tags()[0]}")
        assert record()["parameters"] == {"db": {"password": "<redacted>"}, "url": "https://<redacted>@host/x"}

    def test_words_and_paths_that_are_not_utf8_are_quoted_as_by_git(self, repo: Path) -> None:
        os.mkdir(b"caf\xe9")
        Path(os.fsdecode(b"caf\xe9/x")).write_text("")
        done = experimenter("run", "--", "printf", "%s", b"\xe9", cwd=Path(os.fsdecode(b"caf\xe9")))

        assert done.returncode == 0
        assert record()["command"] == ["printf", "%s", '"\\351"']
        assert record()["directory"] == '"caf\\351"'
        code = record()["code"]
        assert isinstance(code, dict)
        assert code["changed"]["added"] == ['"caf\\351/x"']

    def test_a_run_inside_a_run_is_its_child(self, repo: Path) -> None:
        experimenter("run", "-n", "outer", "-p", "secret=1", "--", EXPERIMENTER, "run", "-n", "inner", "--", "env")

        inner, outer = sorted(tags())
        assert record(inner)["parent"] == outer
        assert "parent" not in record(outer)
        assert record(inner)["parameters"] == {}

    def test_a_run_inside_a_git_hook_is_recorded_where_it_is(self, repo: Path) -> None:
        sh(f"mkdir -p .git/hooks; printf '#!/bin/sh\\n{EXPERIMENTER} run -n hooked -- true\\n' > .git/hooks/pre-commit")
        sh("chmod +x .git/hooks/pre-commit; echo two > train.py; git commit -qam second")

        assert record()["name"] == "hooked"
        assert sh("git status --porcelain") == ""

    def test_works_in_a_sha256_repository(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(make_repo(tmp_path / "sha256", "--object-format=sha256"))
        sh("echo two > train.py")

        assert experimenter("run", "--", "true").returncode == 0
        assert sh(f"git show {tags()[0]}:train.py") == "two\n"
        assert len(json.loads(experimenter("-c", tags()[0], "--json").stdout)) == 1

    def test_two_runs_share_a_code_state(self, repo: Path) -> None:
        for name in ("one", "two"):
            experimenter("run", "-n", name, "--", "true")

        first, second = (sh(f"git rev-parse {tag}^{{commit}}") for tag in tags())
        assert first == second


class TestEnvironment:
    def test_the_command_learns_who_it_is(self, repo: Path) -> None:
        script = (
            "import os, json; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('EXPERIMENTER_')}))"
        )

        done = experimenter(
            "run", "-n", "x", "-p", "m.d=3", "--", PYTHON, "-c", script, env={"EXPERIMENTER_PARAM_OLD": "1"}
        )

        found = json.loads(done.stdout)
        (tag,) = tags()
        assert found.pop("EXPERIMENTER_PARAMS_FILE").startswith(str(repo / ".git/experimenter/runs"))
        assert found.pop("EXPERIMENTER_RESULTS_FILE").startswith(str(repo / ".git/experimenter/runs"))
        assert json.loads(found.pop("EXPERIMENTER_PARAMS")) == {"m": {"d": 3}}
        assert found == {
            "EXPERIMENTER_TAG": tag,
            "EXPERIMENTER_ID": json.loads(experimenter("--json").stdout)[0]["id"],
            "EXPERIMENTER_NAME": "x",
            "EXPERIMENTER_COMMIT": sh(f"git rev-parse {tag}^{{commit}}").strip(),
            "EXPERIMENTER_PARAM_M__D": "3",
        }

    def test_parameters_too_large_for_the_environment_are_in_the_file(self, repo: Path) -> None:
        Path("p.json").write_text(json.dumps({"big": "x" * 3_000_000, "lr": 0.5}))
        script = "import os, json; print(len(json.load(open(os.environ['EXPERIMENTER_PARAMS_FILE']))['big']), "
        script += "os.environ.get('EXPERIMENTER_PARAMS'), os.environ['EXPERIMENTER_PARAM_LR'])"

        done = experimenter("run", "--params", "p.json", "--", PYTHON, "-c", script)

        assert done.stdout == "3000000 None 0.5\n"
        assert "Warning: the parameter big does not fit" in done.stderr

    def test_many_parameters_are_in_the_file_alone(self, repo: Path) -> None:
        Path("p.json").write_text(json.dumps({f"key{number}": "x" * 1000 for number in range(5000)}))
        script = "import experimenter; print(len(experimenter.parameters()))"

        done = experimenter("run", "--params", "p.json", "--", PYTHON, "-c", script)

        assert done.stdout == "5000\n"
        assert "Warning: the parameters do not fit into the environment" in done.stderr


class TestResults:
    def test_come_from_the_files_and_the_marker_lines_later_over_earlier(self, repo: Path) -> None:
        script = """
            echo '{"a": "file", "b": "file", "c": "file"}' > $EXPERIMENTER_RESULTS_FILE
            echo '{"b": "option", "c": "option"}' > out.json
            echo 'EXPERIMENTER_RESULTS {"c": "early"}'
            echo 'x EXPERIMENTER_RESULTS {"c": "no marker line"}'
            echo 'EXPERIMENTER_RESULTS {"c": "late", "d": NaN}' >&2
            echo 'EXPERIMENTER_RESULTS {"c": "late", "n": NaN, "nested": {"x": [1, null]}}'
        """
        experimenter("run", "--results", "out.json", "--", "sh", "-c", script)

        assert record()["results"] == {"a": "file", "b": "option", "c": "late", "n": "NaN", "nested": {"x": [1, None]}}

    def test_a_file_left_from_an_earlier_run_is_not_taken_but_the_same_text_written_again_is(self, repo: Path) -> None:
        Path("out.json").write_text('{"a": 1}')
        first = experimenter("run", "-n", "first", "--results", "out.json", "--", "true")
        experimenter("run", "-n", "second", "--results", "out.json", "--", "sh", "-c", "echo '{\"a\": 1}' > out.json")

        records = {entry["name"]: entry for entry in json.loads(experimenter("--json").stdout)}
        assert "results" not in records["first"]
        assert records["second"]["results"] == {"a": 1}
        assert "Note: recorded" in first.stderr
        assert "without results" in first.stderr

    def test_a_marker_line_may_come_in_pieces_and_be_long(self, repo: Path) -> None:
        script = """
import sys, time
sys.stdout.write('EXPERIMENTER_RES'); sys.stdout.flush(); sys.stderr.write('between'); sys.stderr.flush()
sys.stdout.write('ULTS {"x": "' + 'y' * 10_000_000 + '"}')
"""
        experimenter("run", "--", PYTHON, "-c", script)

        results = record()["results"]
        assert isinstance(results, dict)
        assert len(results["x"]) == 10_000_000

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("[1]", "is not a JSON object"),
            ("{", "is not JSON"),
            (r"\377", "is not UTF-8"),
            ("", "is not JSON"),
            ("[" * 50000, "is not JSON"),
            ('{"a":' * 250 + "1" + "}" * 250, "cannot be stored"),
        ],
    )
    def test_unreadable_ones_never_cost_the_experiment(self, repo: Path, text: str, reason: str) -> None:
        script = f"printf '{text}' > $EXPERIMENTER_RESULTS_FILE; echo 'EXPERIMENTER_RESULTS {{\"b\": 1}}'"
        done = experimenter("run", "--", "sh", "-c", script)

        assert done.returncode == 0
        assert record()["results"] == {"b": 1}
        assert f"Warning: EXPERIMENTER_RESULTS_FILE {reason}" in done.stderr
        if text:
            kept = Path(done.stderr.split("is kept in ")[1].split("\n")[0])
            assert kept.read_bytes() == (b"\xff" if text == r"\377" else text.encode())
            assert kept.parent == repo / ".git/experimenter/logs"

    @pytest.mark.parametrize(
        "make",
        ["mkdir $EXPERIMENTER_RESULTS_FILE", "mkdir out.json", "mkfifo out.json", "mkfifo $EXPERIMENTER_RESULTS_FILE"],
    )
    def test_something_else_than_a_file_never_costs_the_experiment(self, repo: Path, make: str) -> None:
        done = experimenter("run", "--results", "out.json", "--", "sh", "-c", make)

        assert (done.returncode, len(tags())) == (0, 1)
        assert "Warning: cannot read" in done.stderr
        assert left_behind() == []

    def test_writing_the_results_file_is_no_drift_and_leaving_it_alone_is_told(self, repo: Path) -> None:
        sh("echo {} > out.json; git add .; git commit -qm results")
        script = "echo '{\"a\": 1}' > out.json"
        written = experimenter("run", "-n", "a", "--results", "out.json", "--", "sh", "-c", script)
        left = experimenter("run", "-n", "b", "--results", "out.json", "--", "true")

        assert "drift" not in record(tags()[0])
        assert "Warning" not in written.stderr
        assert f"Warning: the command did not write {repo}/out.json" in left.stderr

    def test_a_command_that_removes_its_folder_of_state_keeps_its_tag(self, repo: Path) -> None:
        script = "echo 'EXPERIMENTER_RESULTS {\"a\": 1}'; rm -r $(dirname $EXPERIMENTER_RESULTS_FILE)"
        done = experimenter("run", "--", "sh", "-c", script)

        assert done.returncode == 0
        assert (record()["status"], record()["results"]) == ("completed", {"a": 1})


class TestOutput:
    def test_passes_through_byte_for_byte(self, repo: Path) -> None:
        blob = bytes(range(256)) * 5000
        done = subprocess.run([EXPERIMENTER, "run", "--", "cat"], input=blob, capture_output=True)

        assert done.stdout == blob
        (log,) = Path(".git/experimenter/logs").glob("*.log")
        assert log.read_bytes() == blob

    def test_stdout_and_stderr_stay_apart(self, repo: Path) -> None:
        done = experimenter("run", "--", "sh", "-c", "echo out; echo err >&2")

        assert done.stdout == "out\n"
        assert done.stderr.startswith("err\nNote: recorded exp_sh_")

    def test_comes_at_once(self, repo: Path) -> None:
        with start("--", "sh", "-c", "printf now; read line; printf later", stdin=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.read(3) == b"now"
            assert process.communicate(b"\n", timeout=20)[0] == b"later"
            assert process.returncode == 0

    def test_the_run_ends_with_its_command_though_a_background_child_holds_stdout(self, repo: Path) -> None:
        process = start("--", "sh", "-c", "sleep 1000 & echo $!; yes | head -c 100000")
        output, _ = process.communicate(timeout=20)

        pid, _, rest = output.partition(b"\n")
        os.kill(int(pid), signal.SIGKILL)
        assert len(rest) == 100000
        assert process.returncode == 0

    def test_the_run_ends_though_a_background_child_keeps_writing(self, repo: Path) -> None:
        sh(f"timeout 20 {EXPERIMENTER} run -- sh -c 'yes & exec sleep 0.1' | wc -c")

        assert record()["status"] == "completed"

    def test_the_command_meets_a_closed_reader_as_without_us(self, repo: Path) -> None:
        done = sh(f"{EXPERIMENTER} run --keep -- yes | head -n 1")

        assert done == "y\n"
        assert record()["exit_code"] == 128 + signal.SIGPIPE

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    def test_works_with_standard_streams_closed(self, repo: Path, closed: str) -> None:
        sh(f"{EXPERIMENTER} run -- sh -c 'echo out; echo err >&2' {closed}")

        assert record()["status"] == "completed"
        (log,) = Path(".git/experimenter/logs").glob("*.log")
        assert sorted(log.read_bytes().split()) == [b"err", b"out"]

    def test_a_full_disk_under_stdout_does_not_hang_or_lose_the_tag(self, repo: Path) -> None:
        sh(f"{EXPERIMENTER} run -- sh -c 'echo out || true; exit 0' > /dev/full")

        assert record()["status"] == "completed"

    @pytest.mark.parametrize("reader", ["2>/dev/full", "2> >(head -c 0)"])
    def test_a_stderr_that_nobody_reads_changes_nothing(self, repo: Path, reader: str) -> None:
        Path("drifts.sh").write_text("echo x > train.py; echo 'EXPERIMENTER_RESULTS {\"a\": 1}'")
        done = subprocess.run(["bash", "-c", f"{EXPERIMENTER} run -- sh drifts.sh {reader}"], capture_output=True)
        failed = subprocess.run(["bash", "-c", f"{EXPERIMENTER} run -- sh -c 'exit 3' {reader}"], capture_output=True)

        assert (done.returncode, failed.returncode) == (0, 3)
        assert (record()["status"], record()["results"]) == ("completed", {"a": 1})
        assert left_behind() == []

    def test_descriptors_that_the_shell_opened_reach_the_command(self, repo: Path) -> None:
        done = subprocess.run(["bash", "-c", f"{EXPERIMENTER} run -- cat <(echo hi)"], capture_output=True)

        assert done.stdout == b"hi\n"


class TestTerminal:
    def test_the_command_sees_a_terminal_of_the_same_size_also_after_a_resize(
        self, repo: Path, terminal: StartTerminal
    ) -> None:
        script = """
import os, signal, sys
show = lambda *_: print(*os.get_terminal_size(1), os.get_terminal_size(2).lines, os.isatty(0), os.isatty(1), flush=True)
signal.signal(signal.SIGWINCH, show)
show()
sys.stdin.readline()
"""
        screen = terminal(EXPERIMENTER, "run", "--", PYTHON, "-c", script)
        screen.expect("80 24 24 True True")
        resize(screen.master, 50, 132)
        screen.expect("132 50 50 True True")
        screen.type("\n")

        assert screen.end() == 0

    def test_line_endings_and_colours_are_as_without_us(self, repo: Path, terminal: StartTerminal) -> None:
        script = r"printf 'a\nb\r\033[31mred\033[0m\n'"
        alone = terminal("sh", "-c", script)
        alone.end()
        screen = terminal(EXPERIMENTER, "run", "--", "sh", "-c", script)
        screen.end()

        assert screen.screen.startswith(alone.screen)

    def test_programs_that_read_the_terminal_work(self, repo: Path, terminal: StartTerminal) -> None:
        Path("debugged.py").write_text("x = 41\nbreakpoint()\nprint('x is', x)\n")
        screen = terminal(EXPERIMENTER, "run", "--", PYTHON, "debugged.py")
        screen.expect("(Pdb)")
        screen.type("x = 42\n")
        screen.type("continue\n")
        screen.expect("x is 42")

        assert screen.end() == 0

    def test_ctrl_c_reaches_the_command_once_and_removes_the_tag_even_if_it_exits_0(
        self, repo: Path, terminal: StartTerminal
    ) -> None:
        script = """
import signal, sys, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print('ready', flush=True)
while not seen: signal.pause()
print('seen', len(seen), flush=True)
"""
        screen = terminal(EXPERIMENTER, "run", "--", PYTHON, "-c", script)
        screen.expect("ready")
        screen.type("\x03")
        status = screen.end()

        assert b"seen 1" in screen.screen
        assert os.WTERMSIG(status) == signal.SIGINT
        assert b"Note: the command was interrupted; exp_python" in screen.screen
        assert (tags(), left_behind()) == ([], [])

    def test_a_second_ctrl_c_kills_at_once(self, repo: Path, terminal: StartTerminal) -> None:
        script = "trap '' INT; echo ready; sh -c 'sleep 1000 & wait' & while :; do sleep 1000; done"
        screen = terminal(EXPERIMENTER, "run", "--", "sh", "-c", script)
        screen.expect("ready")
        screen.type("\x03")
        screen.expect("^C")
        children = psutil.Process(screen.pid).children(recursive=True)
        while not screen.has_ended():
            screen.type("\x03")
            select.select([], [], [], 0.05)  # as fast as a finger

        assert os.WTERMSIG(screen.end()) == signal.SIGINT
        until(lambda: not any(child.is_running() for child in children), what="the end of the command's family")
        assert tags() == []

    def test_a_shell_loop_stops_at_ctrl_c(self, repo: Path, terminal: StartTerminal) -> None:
        loop = f"for i in 1 2 3; do {EXPERIMENTER} run -- sh -c 'echo run-'$i'; exec sleep 1000'; done; echo after"
        screen = terminal("bash", "-c", loop)
        screen.expect("run-1")
        screen.type("\x03")
        screen.end()

        assert b"run-2" not in screen.screen
        assert b"after" not in screen.screen


class TestEnding:
    @pytest.mark.parametrize("status", [1, 2, 77, 255])
    def test_a_failure_removes_the_tag_and_keeps_the_log(self, repo: Path, status: int) -> None:
        done = experimenter("run", "--", "sh", "-c", f"echo last words >&2; exit {status}")

        assert done.returncode == status
        assert (tags(), left_behind()) == ([], [])
        assert f"Note: the command failed with status {status}; exp_sh_" in done.stderr
        assert log_of(done.stderr) == b"last words\n"

    def test_a_command_that_a_signal_ends_gives_128_and_its_number(self, repo: Path) -> None:
        assert experimenter("run", "--", "sh", "-c", "kill -SEGV $$").returncode == 128 + signal.SIGSEGV
        assert tags() == []

    def test_keep_keeps_the_record_of_a_failure(self, repo: Path) -> None:
        done = experimenter("run", "--keep", "--", "sh", "-c", "echo 'EXPERIMENTER_RESULTS {\"a\": 1}'; exit 3")

        assert done.returncode == 3
        assert (record()["status"], record()["exit_code"], record()["results"]) == ("failed", 3, {"a": 1})

    @pytest.mark.parametrize("to_group", [True, False])
    def test_sigint_interrupts(self, repo: Path, to_group: bool) -> None:
        process = start("--", "sleep", "1000")
        (os.killpg if to_group else os.kill)(process.pid, signal.SIGINT)
        process.communicate(timeout=20)

        assert process.returncode == -signal.SIGINT
        assert (tags(), left_behind()) == ([], [])

    def test_keep_keeps_an_interrupted_one(self, repo: Path) -> None:
        process = start("--keep", "--", "sleep", "1000")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)

        assert (record()["status"], record()["exit_code"]) == ("interrupted", 130)

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
    def test_signals_are_passed_on_to_the_command(self, repo: Path, signum: signal.Signals) -> None:
        script = (
            f"import signal; signal.signal({signum}, lambda *_: exit(7)); print('ready', flush=True); signal.pause()"
        )
        process = start("--", PYTHON, "-c", script)
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signum)
        process.communicate(timeout=20)

        assert process.returncode == 7
        assert tags() == []

    def test_a_passed_on_signal_that_ends_the_command_ends_us(self, repo: Path) -> None:
        process = start("--keep", "--", "sleep", "1000")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)

        assert process.returncode == -signal.SIGTERM
        assert (record()["status"], record()["exit_code"]) == ("stopped", 143)

    def test_a_signal_that_was_ignored_stays_ignored(self, repo: Path) -> None:
        process = subprocess.Popen(
            ["nohup", EXPERIMENTER, "run", "--", "sh", "-c", "echo ready; read line"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.communicate(b"\n", timeout=20)

        assert process.returncode == 0
        assert record()["status"] == "completed"

    def test_signals_before_the_start_leave_nothing_behind(self, repo: Path) -> None:
        sh(
            "git config filter.slow.clean 'touch started; sleep 20'; echo '*.x filter=slow' > .gitattributes; echo x > a.x"
        )
        for signum in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen([EXPERIMENTER, "run", "--", "true"], stderr=subprocess.PIPE)
            until(Path("started").exists, what="the clean filter")
            Path("started").unlink()
            process.send_signal(signum)
            _, errors = process.communicate(timeout=20)

            assert (process.returncode, errors) == (-signum, b"")
            assert (tags(), left_behind()) == ([], [])

    def test_sigquit_reaches_the_command_in_the_foreground_of_a_terminal(
        self, repo: Path, terminal: StartTerminal
    ) -> None:
        script = "trap 'exit 7' QUIT; echo ready; while :; do sleep 0.1; done"
        screen = terminal(EXPERIMENTER, "run", "--", "sh", "-c", script)
        screen.expect("ready")
        os.kill(screen.pid, signal.SIGQUIT)

        assert os.waitstatus_to_exitcode(screen.end()) == 7

    def test_the_first_process_of_a_container_ends_with_the_status_of_the_signal(self, repo: Path) -> None:
        in_container = ["unshare", "--fork", "--pid", "--mount-proc"]
        if subprocess.run([*in_container, "true"], capture_output=True).returncode != 0:
            pytest.skip("cannot make a namespace of process ids here")
        command = [EXPERIMENTER, "run", "--", "sh", "-c", "kill -INT 1; exec sleep 1000"]
        done = subprocess.run([*in_container, *command], capture_output=True, timeout=30)

        assert (done.returncode, tags()) == (130, [])
        assert b"Traceback" not in done.stderr

    def test_the_folder_that_we_are_in_may_go(self, repo: Path) -> None:
        Path("sub").mkdir()
        done = experimenter("run", "--", "sh", "-c", "rm -r ../sub; exit 3", cwd=repo / "sub")
        Path("sub").mkdir()
        kept = experimenter("run", "--results", "x", "--", "sh", "-c", "rm -r ../sub", cwd=repo / "sub")

        assert (done.returncode, kept.returncode, record()["status"]) == (3, 0, "completed")
        assert str(repo / ".git/experimenter/logs") in done.stderr

    def test_a_child_that_goes_on_writing_beside_the_results_disturbs_nobody(self, repo: Path) -> None:
        script = "cd $(dirname $EXPERIMENTER_RESULTS_FILE); (for i in $(seq 2000); do echo x > $i; done) 2>/dev/null & sleep 0.1"
        done = experimenter("run", "--", "sh", "-c", script)

        assert (done.returncode, record()["status"]) == (0, "completed")
        assert [path for path in left_behind() if "/." not in path] == []

    def test_a_tag_that_somebody_removes_meanwhile_is_not_made_again(self, repo: Path) -> None:
        done = experimenter(
            "run", "--", "sh", "-c", "git tag -d $EXPERIMENTER_TAG; echo 'EXPERIMENTER_RESULTS {\"a\": 1}'"
        )

        assert done.returncode == 125
        assert tags() == []
        assert "was changed or removed meanwhile" in done.stderr
        assert json.loads(Path(done.stderr.split("is kept in ")[1].strip()).read_text())["results"] == {"a": 1}
        assert left_behind() == []

    def test_many_runs_at_once_while_the_user_works_get_a_tag_each(self, repo: Path) -> None:
        runs = [
            subprocess.Popen([EXPERIMENTER, "run", "-n", "x", "--", "true"], stderr=subprocess.DEVNULL)
            for _ in range(10)
        ]
        for number in range(10):
            sh(f"echo {number} > other; git add other; git commit -qm {number}; git checkout -qb b{number}")

        assert [run.wait(timeout=60) for run in runs] == [0] * 10
        assert len(tags()) == 10
        assert left_behind() == []
        assert sh("git fsck --strict 2>&1 | grep -v dangling || true") == ""


def test_the_pid_file_names_us_and_the_command(repo: Path) -> None:
    process = start("-n", "x", "--", "sh", "-c", "echo ready; read line", stdin=subprocess.PIPE)
    (entry,) = pid_files()

    assert entry["wrapper_pid"] == process.pid
    assert Path(f"/proc/{entry['pid']}/stat").read_text().split()[3] == str(process.pid)
    assert entry["tag"] == tags()[0]
    assert {"host", "boot_id", "start_time", "wrapper_start_time"} < entry.keys()
    assert Path(".git/experimenter").stat().st_mode & 0o777 == 0o700
    process.communicate(b"\n", timeout=20)
    assert left_behind() == []


@pytest.mark.parametrize("place", ["", ".git"])
def test_a_results_file_that_is_a_folder_is_refused(repo: Path, place: str) -> None:
    done = experimenter("run", "--results", place, "--", "true")

    assert (done.returncode, tags()) == (125, [])
    assert done.stderr == f"Error: --results: {place or '.'} is a directory; give a file\n"


def test_only_the_newest_logs_are_kept(repo: Path) -> None:
    sh("git config experimenter.keepLogs 2; mkdir -p .git/experimenter/logs; touch .git/experimenter/logs/.nfs01")
    for number in range(4):
        experimenter("run", "-n", f"x{number}", "--", "echo", str(number))

    assert Path(".git/experimenter/logs/.nfs01").exists()
    assert sorted(path.read_text() for path in Path(".git/experimenter/logs").glob("*.log")) == ["2\n", "3\n"]
    assert len(list(Path(".git/experimenter/logs").glob("*.json"))) == 2


def test_logs_of_experiments_that_run_are_kept(repo: Path) -> None:
    sh("git config experimenter.keepLogs 1")
    with start("-n", "quiet", "--", "sh", "-c", "echo first; read line; exit 3", stdin=subprocess.PIPE) as process:
        for number in range(2):
            experimenter("run", "-n", f"x{number}", "--", "true")
        _, errors = process.communicate(b"\n", timeout=20)

    assert log_of(errors.decode()) == b"first\n"


def test_an_existing_state_folder_is_closed_to_others(repo: Path) -> None:
    Path(".git/experimenter").mkdir(mode=0o755)
    experimenter("run", "--", "true")

    assert Path(".git/experimenter").stat().st_mode & 0o777 == 0o700


def test_wait_returns_the_exit_status_when_the_experiment_has_ended(repo: Path) -> None:
    process = start("-n", "x", "--", "sh", "-c", "read line; exit 7", stdin=subprocess.PIPE)
    waiting = subprocess.Popen([EXPERIMENTER, "wait", "x"])
    process.communicate(b"\n", timeout=20)

    assert waiting.wait(timeout=20) == 7
    assert tags() == []
    assert experimenter("wait", "x").returncode == 7


def test_results_of_a_clone_without_an_identity_are_recorded(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        for part in ("NAME", "EMAIL"):
            monkeypatch.delenv(f"GIT_{role}_{part}")
    sh("git config user.useConfigOnly true")

    assert experimenter("run", "--", "true").returncode == 0
    assert len(tags()) == 1


def test_parameters_can_be_words_of_the_command(repo: Path) -> None:
    done = experimenter(
        "run", "-p", "lr=0.1", "-p", "api_key=hush", "--template", "--", "echo", "{lr}", "{{x}}", "{api_key}"
    )

    assert done.stdout == "0.1 {x} hush\n"
    assert record()["command"] == ["echo", "0.1", "{x}", "<redacted>"]
    wrong = experimenter("run", "-p", "lr=0.1", "--template", "--", "echo", "{lrr}")
    assert (wrong.returncode, wrong.stderr) == (
        125,
        "Error: there is no parameter lrr for {lrr} in '{lrr}'; did you mean lr?\n",
    )
    assert len(tags()) == 1
