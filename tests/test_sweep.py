import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import EXPERIMENTER, Terminal, experimenter, sh, tags, until
from experimenter import sweeps
from experimenter.errors import NotStopped
from experimenter.plumbing import find_repo
from experimenter.process import host
from experimenter.state import StateFolder

# Notes that it ran, and gives a result. Its parameters are `lr` and `seed`.
SCRIPT = """
import json, os, pathlib, sys
seed, lr = os.environ["EXPERIMENTER_PARAM_SEED"], os.environ.get("EXPERIMENTER_PARAM_LR", "")
with open(os.environ["RAN"], "a") as file:
    file.write(f"{lr}/{seed}\\n")
print("seed", seed)
print("EXPERIMENTER_RESULTS", json.dumps({"score": int(seed) * 10}))
sys.exit(3 if seed == os.environ.get("BAD") else 0)
"""
GRID = ("-p", "lr=0.1,0.01", "-p", "seed=range(3)")


@pytest.fixture
def ran(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Put the script into the repository; the value tells which cells have run, in the order of their starts."""
    Path("train.py").write_text(SCRIPT)
    file = tmp_path / "ran"
    monkeypatch.setenv("RAN", str(file))
    return lambda: file.read_text().split() if file.exists() else []


def sweep(*words: str, command: tuple[str, ...] = (sys.executable, "train.py")) -> subprocess.CompletedProcess[str]:
    return experimenter("sweep", *words, "--", *command)


def records() -> list[dict[str, Any]]:
    found = json.loads(experimenter("list", "--json").stdout)
    assert isinstance(found, list)
    return found


def sweep_id(done: subprocess.CompletedProcess[str]) -> str:
    match = re.search(r"^Note: sweep ([0-9a-f]{8}): ", done.stderr, re.MULTILINE)
    assert match, done.stderr
    return match[1]


@contextmanager
def sleepers(tmp_path: Path, *words: str, count: int = 2) -> Iterator[subprocess.Popen[str]]:
    """Start a sweep of six cells that sleep until `release` is there, and wait until `count` of them run."""
    release = tmp_path / "release"
    script = f'echo "$EXPERIMENTER_PARAM_SEED" >> {tmp_path}/started; until test -e {release}; do sleep 0.05; done'
    words = ("sweep", "-j", "2", "-p", "seed=range(6)", *words, "--", "sh", "-c", script)
    with subprocess.Popen([EXPERIMENTER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        try:
            until(lambda: len(cells_started(tmp_path)) >= count, what="the first cells")
            yield started
        finally:
            release.touch()
            started.kill()


def cells_started(tmp_path: Path) -> list[str]:
    file = tmp_path / "started"
    return file.read_text().split() if file.exists() else []


def alive(text: str) -> list[int]:
    """Return the processes whose command line has `text` in it."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if any(text in word for word in words) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


class TestGrid:
    def test_each_cell_is_an_experiment_of_one_code_state(self, ran: Callable[[], list[str]]) -> None:
        done = sweep(*GRID, "-j", "1", "-n", "mine", "--description", "why")

        assert done.returncode == 0, done.stderr
        assert ran() == ["0.1/0", "0.1/1", "0.1/2", "0.01/0", "0.01/1", "0.01/2"]
        found = records()
        assert [one["parameters"] for one in found] == [
            {"lr": lr, "seed": seed} for lr in (0.1, 0.01) for seed in range(3)
        ]
        assert {(one["name"], one["description"], one["sweep"], one["code"]["commit"]) for one in found} == {
            ("mine", "why", sweep_id(done), found[0]["code"]["commit"])
        }
        assert list(found[0])[:6] == ["tag", "id", "schema", "name", "description", "sweep"]
        assert [one["results"] for one in found] == [{"score": score} for score in (0, 10, 20)] * 2

    def test_a_line_tells_of_each_cell_and_a_table_of_all(self, ran: Callable[[], list[str]]) -> None:
        done = sweep(*GRID, "--sort", "score", "--reverse")

        lines = done.stderr.splitlines()
        assert lines[0] == f"Note: sweep {sweep_id(done)}: 6 cells"
        assert {re.sub(r"^\[\d/6\] |\(\w+\)", "", line) for line in lines[1:-1]} == {
            f"lr={lr} seed={seed}: completed : score={seed * 10}" for lr in (0.1, 0.01) for seed in range(3)
        }
        assert lines[-1] == f"Note: sweep {sweep_id(done)}: 6 of 6 cells done"
        table = done.stdout.splitlines()
        assert [line.split()[-1] for line in table] == ["score", "20", "20", "10", "10", "0", "0"]

    def test_a_key_that_could_be_several_costs_the_order_alone(self, repo: Path) -> None:
        script = 'echo "{\\"x\\": 1}" > $EXPERIMENTER_RESULTS_FILE'
        done = sweep("-p", "x=1,2", "--sort", "x", command=("sh", "-c", script))

        assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
        assert "Warning: not sorted: 'x' is ambiguous; write one of\n  parameters.x\n  results.x\n" in done.stderr

    def test_a_cell_that_fails_shows_its_last_lines_and_the_rest_goes_on(
        self, ran: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BAD", "1")
        done = sweep("-p", "seed=range(3)")

        assert done.returncode == 1
        assert re.search(
            r'^\[\d/3\] seed=1: failed with status 3 \(\w{8}\)\n  seed 1\n  EXPERIMENTER_RESULTS \{"score": 10\}$',
            done.stderr,
            re.MULTILINE,
        )
        assert sorted(ran()) == ["/0", "/1", "/2"]
        assert [one["parameters"]["seed"] for one in records()] == [0, 2]

    def test_the_command_finds_the_sweep_in_its_environment(self, repo: Path) -> None:
        done = sweep(
            "-p", "x=1", command=("sh", "-c", 'echo EXPERIMENTER_RESULTS {\\"sweep\\": \\"$EXPERIMENTER_SWEEP\\"}')
        )

        assert [one["results"] for one in records()] == [{"sweep": sweep_id(done)}]

    def test_parameters_can_be_words_of_the_command(self, repo: Path) -> None:
        done = sweep(
            "-j",
            "1",
            "-j",
            "1",
            "-p",
            "lr=0.1,1e-3",
            "-p",
            "api_key=hush",
            "--template",
            command=("echo", "--lr={lr}", "{{x}}", "{api_key}"),
        )

        assert done.returncode == 0, done.stderr
        assert [one["command"] for one in records()] == [
            ["echo", "--lr=0.1", "{x}", "<redacted>"],
            ["echo", "--lr=0.001", "{x}", "<redacted>"],
        ]
        logs = [experimenter("logs", one["id"]).stdout for one in records()]
        assert logs == ["--lr=0.1 {x} hush\n", "--lr=0.001 {x} hush\n"]

    def test_an_element_of_a_list_of_a_file_is_swept_and_resumed(self, repo: Path, tmp_path: Path) -> None:
        base = tmp_path / "base.yaml"
        base.write_text("layers: [64, 32]\nlr: 0.1\n")
        line = ("-j", "1", "--params", str(base), "-p", "layers.0=1,2", "--template")
        command = ("sh", "-c", "echo 'EXPERIMENTER_RESULTS {{\"first\": {layers.0}}}'")
        done, again = sweep(*line, command=command), sweep(*line, command=command)

        assert [(one["parameters"]["layers"], one["results"]) for one in records()] == [
            ([1, 32], {"first": 1}), ([2, 32], {"first": 2}),
        ]  # fmt: skip
        assert "layers.0=2: completed" in done.stderr
        assert (again.returncode, again.stdout.split()[:3]) == (0, ["ID", "layers", "first"])

    @pytest.mark.parametrize("key", ["layers.2", "layers.-1", "lr.decay"])
    def test_a_key_without_a_place_is_refused_before_anything_is_stored(self, repo: Path, key: str) -> None:
        Path("base.yaml").write_text("layers: [64, 32]\nlr: 0.1\n")
        done = sweep("--params", "base.yaml", "-p", f"{key}=1,2", command=("true",))

        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert key.partition(".")[2] in done.stderr
        assert tags() == []

    def test_the_text_of_a_value_reaches_its_cell_and_counts_when_it_resumes(self, repo: Path) -> None:
        line = ("-j", "1", "-p", "rev=695e0514,12e99999", "-p", "py=3.9,3.10", "--template")
        command = ("sh", "-c", "echo {rev} {py} $EXPERIMENTER_PARAM_REV $EXPERIMENTER_PARAM_PY")
        done, again = sweep(*line, command=command), sweep(*line, command=command)

        assert (done.returncode, again.returncode) == (0, 0), done.stderr
        assert [one["parameters"] for one in records()] == [
            {"rev": rev, "py": py} for rev in ("695e0514", "12e99999") for py in (3.9, 3.1)
        ]
        logs = [experimenter("logs", one["id"]).stdout for one in records()]
        assert logs == [f"{rev} {py} {rev} {py}\n" for rev in ("695e0514", "12e99999") for py in ("3.9", "3.10")]

    @pytest.mark.parametrize("grid", ["a=http://u:p@h/x,http://v:q@h/x", "a={password: x},{password: y}"])
    def test_values_that_records_do_not_tell_apart_are_refused(self, repo: Path, grid: str) -> None:
        done = sweep("-p", grid, command=("true",))

        assert (done.returncode, done.stderr.partition(";")[0]) == (
            2,
            "Error: a: what tells its values apart is kept out of records",
        )
        assert tags() == []

    def test_no_secret_is_printed(self, repo: Path) -> None:
        grid = ("-p", "a=http://u:s3cret@h/x", "-p", "api_key=s3cret", "-p", "x=1,2")
        printed = [
            sweep(*grid, *words, command=("true",))
            for words in ([], ["--dry-run"], ["--dry-run", "--json"], ["--json"])
        ]

        assert "s3cret" not in "".join(done.stdout + done.stderr for done in printed)

    def test_a_grid_file_lies_over_files_of_parameters(self, repo: Path) -> None:
        Path("base.yaml").write_text("lr: 1\nmodel: {depth: 1, width: 8}\n")
        Path("grid.yaml").write_text("model:\n  depth: [2, 3]\n")
        sweep("-j", "1", "--params", "base.yaml", "--grid", "grid.yaml", "-p", "seed=0,1", command=("true",))

        assert [one["parameters"] for one in records()] == [
            {"lr": 1, "model": {"depth": depth, "width": 8}, "seed": seed} for depth in (2, 3) for seed in (0, 1)
        ]

    def test_a_dry_run_prints_the_cells_and_stores_nothing(self, repo: Path) -> None:
        before = sh("git count-objects")
        words = ("--dry-run", "-p", "lr=0.1,0.01", "-p", "name='a b',c")

        assert sweep(*words).stdout.splitlines() == [
            "lr=0.1 name=a b", "lr=0.1 name=c", "lr=0.01 name=a b", "lr=0.01 name=c",
        ]  # fmt: skip
        assert json.loads(sweep(*words, "--json").stdout)[0] == {"lr": 0.1, "name": "a b"}
        assert (sh("git count-objects"), tags()) == (before, [])
        assert not Path(".git/experimenter").exists()

    def test_with_yes_a_grid_may_be_as_large_as_it_likes(self, repo: Path) -> None:
        done = sweep("--dry-run", "--yes", "-p", "x=range(100001)", command=("true",))

        assert (done.returncode, done.stdout.count("\n")) == (0, 100_001)

    def test_a_dry_run_shows_what_becomes_of_a_template(self, repo: Path) -> None:
        words = ("--template", "--dry-run", "-p", "lr=0.1,1e-5", "-p", "api_key=s3cret")

        assert sweep(*words, command=("echo", "lr {lr}", "{api_key}")).stdout.splitlines() == [
            "lr=0.1 api_key=<redacted>: echo 'lr 0.1' '<redacted>'",
            "lr=1e-05 api_key=<redacted>: echo 'lr 1e-05' '<redacted>'",
        ]

    def test_json_is_the_records_in_the_order_of_the_cells(self, repo: Path) -> None:
        found = json.loads(sweep("-p", "x=2,1", "--json", command=("true",)).stdout)

        assert [one["parameters"] for one in found] == [{"x": 2}, {"x": 1}]
        assert {one["tag"] for one in found} == set(tags())

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("-p", "x=1,1"), "Error: the grid has the value 1 of x twice"),
            (
                ("-p", "x=range(0)"),
                "Error: cannot read the grid: this range is empty\n  -p x=range(0)\n             ^",
            ),
            (
                ("-p", "x=#f00,1"),
                "Error: cannot read the grid: what # begins would be a comment; as text it stands in quotes",
            ),
            (("-p", "x=interval(0,1)"), "Error: x: interval and log are for --optimize"),
            (("-p", "password=a,b"), "Error: password: what tells its values apart is kept out of records"),
            (("-p", "x=range(100001)"), "Error: the grid has 100,001 cells; --yes runs more than 100,000"),
            (("--template", "-p", "x=1"), "Error: there is no parameter lr for {lr}"),
            (("--results", "out.json", "-j", "2", "-p", "x=1"), "Error: cells that run at a time would all write"),
            (("-j", "0"), "Error: Invalid value for '-j'"),
            (("--grid", "nowhere.yaml"), "Error: cannot read the parameter file nowhere.yaml"),
            (("--link", "x"), "Error: --link is for --isolated"),
        ],
    )
    def test_what_cannot_be_run_is_refused(self, repo: Path, words: tuple[str, ...], message: str) -> None:
        done = sweep(*words, command=("echo", "{lr}"))

        assert (done.returncode, tags()) == (2, [])
        assert done.stderr.startswith(message)

    def test_a_cell_whose_command_is_not_there_says_so(self, repo: Path) -> None:
        done = sweep("-p", "x=1", command=("nowhere",))
        each = sweep("-p", "x=nowhere", "--template", command=("{x}",))

        assert (done.returncode, done.stderr) == (
            1,
            "Error: there is no command 'nowhere'; check the spelling and the PATH\n",
        )
        assert each.returncode == 1
        assert "[1/1] x=nowhere: refused: there is no command 'nowhere'" in each.stderr
        assert each.stderr.endswith("1 cells done, 1 failed; the same line goes on with it\n")
        assert list(Path(".git/experimenter/runs").iterdir()) == []

    def test_the_line_of_a_cell_rounds_its_results_as_a_table_does(self, repo: Path) -> None:
        line = 'EXPERIMENTER_RESULTS {"a": 0.12345678901, "n": 123456, "t": "x", "big": "NaN", "flag": true}'
        done = sweep("-p", "x=0.12345678901", command=("echo", line))

        assert "x=0.12345678901: completed" in done.stderr
        assert "a=0.1235 n=123456 t=x big=NaN flag=true" in done.stderr

    def test_a_warning_of_many_cells_is_given_once(self, repo: Path) -> None:
        done = sweep("-p", "x=range(4)", "-j", "1", command=("sh", "-c", "echo $EXPERIMENTER_TAG > train.py"))

        assert done.stderr.count("Warning: files changed while the experiment ran") == 1
        assert [one["drift"]["modified"] for one in records()] == [["train.py"]] * 4

    def test_finished_cells_are_pushed_together(self, repo: Path, tmp_path: Path) -> None:
        sh(f"git init -q --bare {tmp_path}/team.git; git remote add origin {tmp_path}/team.git")
        done = sweep("-p", "x=1,2", "--push", command=("true",))

        assert sorted(sh(f"git -C {tmp_path}/team.git tag").split()) == sorted(tags())
        assert "Note: pushed 2 experiments to origin" in done.stderr


class TestResuming:
    def test_the_same_line_again_runs_only_what_has_no_good_record(
        self, ran: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BAD", "1")
        first = sweep(*GRID, "--keep")
        monkeypatch.delenv("BAD")
        before = ran()
        again = sweep(*GRID, "--keep", "-j", "3")

        assert sweep_id(first) == sweep_id(again)
        assert again.stderr.startswith(f"Note: sweep {sweep_id(again)}: 6 cells, 4 done already\n")
        assert (again.returncode, sorted(ran()[len(before) :])) == (0, ["0.01/1", "0.1/1"])
        assert len(again.stdout.splitlines()) == 7

    def test_other_code_is_another_sweep(self, ran: Callable[[], list[str]]) -> None:
        first = sweep("-p", "seed=1")
        Path("train.py").write_text(SCRIPT + "# edited\n")
        second = sweep("-p", "seed=1")

        assert sweep_id(first) != sweep_id(second)
        assert ran() == ["/1", "/1"]

    def test_a_single_run_counts_and_another_grid_shares_its_cells(self, ran: Callable[[], list[str]]) -> None:
        experimenter("run", "-p", "seed=1", "--", sys.executable, "train.py")
        sweep("-p", "seed=1,2")
        sweep("-p", "seed=2,3")

        assert sorted(ran()) == ["/1", "/2", "/3"]

    @pytest.mark.parametrize("option", [("--again",), ()], ids=["again", "another command"])
    def test_all_run_with_again_or_another_command(self, ran: Callable[[], list[str]], option: tuple[str, ...]) -> None:
        sweep("-p", "seed=1")
        command = (sys.executable, "train.py", *([] if option else ["word"]))
        done = sweep("-p", "seed=1", *option, command=command)

        assert (done.returncode, ran()) == (0, ["/1", "/1"])

    def test_parameters_that_a_script_adds_do_not_matter(self, repo: Path) -> None:
        Path("script.py").write_text(
            "from experimenter import ExperimentLogger\n"
            "with ExperimentLogger('x', {'epochs': 3}) as experiment:\n"
            "    experiment.record_results({'a': 1})\n"
        )
        command = (sys.executable, "script.py")
        first = sweep("-j", "1", "-p", "seed=1,2", command=command)
        again = sweep("-p", "seed=1,2", command=command)

        assert [one["parameters"] for one in records()] == [{"epochs": 3, "seed": 1}, {"epochs": 3, "seed": 2}], (
            first.stderr
        )
        assert "2 cells, 2 done already" in again.stderr

    def test_edits_made_meanwhile_change_no_code_state(self, repo: Path) -> None:
        sweep("-j", "1", "-p", "x=range(3)", command=("sh", "-c", "echo $EXPERIMENTER_PARAM_X >> train.py"))

        assert len({one["code"]["commit"] for one in records()}) == 1

    def test_the_same_files_are_the_same_code_but_another_folder_is_not(self, repo: Path, tmp_path: Path) -> None:
        Path("sub").mkdir()
        command = ("sh", "-c", f"pwd >> {tmp_path}/ran")
        first = sweep("-p", "x=1,2", command=command)
        sh("git commit -q --allow-empty -m same")
        again = sweep("-p", "x=1,2", command=command)
        os.chdir("sub")
        below = sweep("-p", "x=1,2", command=command)

        assert sweep_id(first) == sweep_id(again) != sweep_id(below)
        assert "2 cells, 2 done already" in again.stderr
        assert (tmp_path / "ran").read_text().split() == [str(repo)] * 2 + [str(repo / "sub")] * 2

    def test_as_many_run_at_a_time_as_there_are_cores(self, repo: Path, tmp_path: Path) -> None:
        core = str(min(os.sched_getaffinity(0)))
        script = f"mkdir {tmp_path}/one || touch {tmp_path}/both; sleep 0.2; rmdir {tmp_path}/one"
        words = ("taskset", "-c", core, EXPERIMENTER, "sweep", "-p", "x=range(3)", "--", "sh", "-c", script)

        assert subprocess.run(words, capture_output=True).returncode == 0
        assert not (tmp_path / "both").exists()

    def test_fail_fast_lets_what_runs_end(self, repo: Path, tmp_path: Path) -> None:
        wait = f"touch {tmp_path}/on; until test -e {tmp_path}/go; do sleep 0.05; done"
        script = f"test $EXPERIMENTER_PARAM_X = 1 && {{ {wait}; exit; }}; until test -e {tmp_path}/on; do sleep 0.05; done; exit 3"
        words = [EXPERIMENTER, "sweep", "--fail-fast", "-j", "2", "-p", "x=range(4)", "--", "sh", "-c", script]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr
            until(lambda: "x=0: failed" in running.stderr.readline(), what="the failure")  # type: ignore[union-attr]
            (tmp_path / "go").touch()
            said = running.stderr.read()

        assert (running.returncode, [one["parameters"]["x"] for one in records()]) == (1, [1])
        assert "1 of 4 cells done, 1 failed, 2 not run" in said

    def test_fail_fast_starts_no_more(self, ran: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BAD", "1")
        done = sweep("-p", "seed=range(5)", "-j", "1", "--fail-fast")

        assert (done.returncode, ran()) == (1, ["/0", "/1"])


class TestEnding:
    def test_ctrl_c_stops_every_cell_and_leaves_nothing_running(
        self, repo: Path, tmp_path: Path, terminal: Callable[..., Terminal]
    ) -> None:
        script = f'echo x >> {tmp_path}/started; sleep 1000; echo "after {tmp_path}"'
        screen = terminal(EXPERIMENTER, "sweep", "-j", "2", "-p", "x=range(6)", "--", "sh", "-c", script)
        until(lambda: len(cells_started(tmp_path)) == 2, what="two cells")
        screen.type("\x03")

        assert os.WTERMSIG(screen.end()) == signal.SIGINT
        assert (alive(str(tmp_path)), tags()) == ([], [])
        assert list(Path(".git/experimenter/runs").iterdir()) == []
        assert [path.name for path in Path(".git/experimenter/sweeps").iterdir()] == ["lock"]

    @pytest.mark.parametrize("how", ["interrupt", "stop", "kill", "power"])
    def test_the_same_line_goes_on_where_it_ended(self, repo: Path, tmp_path: Path, how: str) -> None:
        run = "echo $EXPERIMENTER_PARAM_X >> {0}/ran; test $EXPERIMENTER_PARAM_X = 0 -o -e {0}/go || exec sleep 1000"
        words = ("-j", "1", "-p", "x=range(3)", "--", "sh", "-c", run.format(tmp_path))
        ran = tmp_path / "ran"
        with subprocess.Popen([EXPERIMENTER, "sweep", *words], stderr=subprocess.DEVNULL) as first:
            until(lambda: ran.exists() and ran.read_text().split() == ["0", "1"], what="the second cell")
            if how == "interrupt":
                first.send_signal(signal.SIGINT)
            elif how == "stop":
                (file,) = Path(".git/experimenter/sweeps").glob("[!.]*/*/pid.json")
                assert experimenter("stop", file.parent.parent.name).returncode == 0
            else:
                until(lambda: json.loads(experimenter("ps", "--json").stdout)[0]["pid"], what="the record of it")
                first.kill()
                (cell,) = json.loads(experimenter("ps", "--json").stdout)
                for pid in (cell["wrapper_pid"], cell["pid"]):
                    os.kill(pid, signal.SIGKILL)
        if how == "power":
            for file in Path(".git/experimenter").glob("*/**/pid.json"):
                file.write_text(re.sub(r'"boot_id": "[^"]*"', '"boot_id": "before"', file.read_text()))
        assert [one["parameters"] for one in records() if one["status"] == "completed"] == [{"x": 0}]
        (tmp_path / "go").touch()
        again = experimenter("sweep", *words)

        assert (again.returncode, "3 cells, 1 done already" in again.stderr) == (0, True), again.stderr
        assert ran.read_text().split() == ["0", "1", "1", "2"]

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    def test_a_signal_to_the_sweep_alone_ends_all(self, repo: Path, tmp_path: Path, signum: int) -> None:
        with sleepers(tmp_path) as started:
            started.send_signal(signum)
            assert started.wait(60) == -signum
            assert (alive(str(tmp_path)), tags(), len(cells_started(tmp_path))) == ([], [], 2)

    def test_what_ignores_a_first_ctrl_c_is_killed_by_a_second(
        self, repo: Path, tmp_path: Path, terminal: Callable[..., Terminal]
    ) -> None:
        script = f"trap '' INT; echo x >> {tmp_path}/started; while true; do sleep 0.1; done"
        screen = terminal(EXPERIMENTER, "sweep", "-j", "1", "-p", "x=1,2", "--", "sh", "-c", script)
        until(lambda: cells_started(tmp_path), what="a cell")
        screen.type("\x03")
        screen.expect("1 running, stopping")
        screen.type("\x03")

        assert os.WTERMSIG(screen.end()) == signal.SIGINT
        assert (alive(str(tmp_path)), tags()) == ([], [])

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    def test_what_ignores_a_signal_is_killed_after_the_grace(self, repo: Path, tmp_path: Path, signum: int) -> None:
        script = f"trap '' TERM INT; echo x >> {tmp_path}/started; while true; do sleep 0.1; done"
        words = ["sweep", "-j", "2", "--grace", "1", "-p", "x=range(4)", "--", "sh", "-c", script]
        with subprocess.Popen([EXPERIMENTER, *words], stderr=subprocess.DEVNULL) as started:
            until(lambda: len(cells_started(tmp_path)) == 2, what="two cells")
            started.send_signal(signum)
            assert started.wait(60) == -signum
        assert (alive(str(tmp_path)), tags(), len(cells_started(tmp_path))) == ([], [], 2)

    def test_a_cell_that_asks_on_the_terminal_fails(self, repo: Path, terminal: Callable[..., Terminal]) -> None:
        screen = terminal(EXPERIMENTER, "sweep", "-p", "x=1", "--", "sh", "-c", "read answer < /dev/tty")
        screen.expect("x=1: failed with status")

        assert os.WEXITSTATUS(screen.end()) == 1

    def test_a_wait_knows_nothing_of_an_earlier_end(self, repo: Path, tmp_path: Path) -> None:
        script = f"echo x >> {tmp_path}/started; while test -e {tmp_path}/block; do sleep 0.1; done"
        first = sweep("-d", "-j", "1", "-p", "x=1", command=("sh", "-c", script)).stdout.strip()
        assert experimenter("wait", first).returncode == 0
        (tmp_path / "block").touch()
        again = sweep("-d", "--again", "-j", "1", "-p", "x=1", command=("sh", "-c", script)).stdout.strip()
        until(lambda: len(cells_started(tmp_path)) == 2, what="the cell")
        for pid in alive(script):
            os.kill(pid, signal.SIGKILL)

        assert (first, experimenter("wait", again).returncode) == (again, 1)

    def test_cells_that_survive_a_kill_are_not_run_again(self, repo: Path, tmp_path: Path) -> None:
        with sleepers(tmp_path) as started:
            assert isinstance(started.args, list)
            command = started.args[started.args.index("--") + 1 :]
            started.kill()
            started.wait()
            words = [EXPERIMENTER, "sweep", "-j", "3", "-p", "seed=range(6)", "--", *command]
            with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as again:
                until(lambda: len(cells_started(tmp_path)) == 3, what="one more cell")
                assert again.stderr
                assert again.stderr.readline().endswith(": 6 cells\n")
                (tmp_path / "release").touch()
                _, said = again.communicate(timeout=60)

        assert again.returncode == 0, said
        assert sorted(cells_started(tmp_path)) == [str(seed) for seed in range(6)]
        assert len(tags()) == 6
        assert said.count("was run elsewhere, or before") == 2

    def test_what_does_not_wait_does_not_say_that_it_waits(self, repo: Path, tmp_path: Path) -> None:
        command = ("sh", "-c", f"test $EXPERIMENTER_PARAM_X = 1 || exit 3; touch {tmp_path}/on; exec sleep 1000")
        words = [EXPERIMENTER, "sweep", "-j", "1", "-p", "x=1,2", "--", *command]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as first:
            until((tmp_path / "on").exists, what="the first cell")
            done = sweep("--fail-fast", "-j", "2", "-p", "x=1,2", command=command)
            first.terminate()

        assert done.returncode == 1
        assert ("waits" in done.stderr, "x=2: failed" in done.stderr) == (False, True)

    def test_what_goes_on_elsewhere_is_left_alone_and_named(self, repo: Path, tmp_path: Path) -> None:
        with sleepers(tmp_path):
            (file,) = Path(".git/experimenter/sweeps").glob("*/*/pid.json")
            own = file.read_text()
            file.write_text(own.replace(f'"{os.uname().nodename}"', '"another"'))
            id_ = file.parent.parent.name
            shown = experimenter("ps").stdout
            with pytest.raises(NotStopped, match=f"{id_} does not end on another; 'experimenter ps' there shows"):
                sweeps.wait_for_end(find_repo(repo), id_, timeout_s=0)
            (tmp_path / "release").touch()

        assert re.search(rf"^{id_} .* another ", shown, re.MULTILINE)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_what_another_user_left_is_left_alone(self, repo: Path) -> None:
        here, (worker, unborn) = find_repo(repo), ("0123abcd/gone", f".new-{host()}-1-1-0123abcd")
        for folder in (worker, unborn):
            Path(".git/experimenter/sweeps", folder).mkdir(parents=True)
        ours = sweeps.left_behind(here)
        for path in ours:
            os.chown(path, 65534, 65534)

        assert {str(path).partition("sweeps/")[2] for path in ours} == {worker, unborn}
        assert sweeps.left_behind(here) == []

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
    def test_a_state_folder_that_cannot_be_read_breaks_nothing(self, repo: Path) -> None:
        here = find_repo(repo)
        state = StateFolder.of(here)
        state.make()
        os.seteuid(65534)
        try:
            found = sweeps.left_behind(here), state.is_idle, state.has_jobs
        finally:
            os.seteuid(0)

        assert found == ([], False, False)

    def test_one_that_has_ended_does_not_run(self, repo: Path) -> None:
        id_ = sweep("-d", "-p", "x=1", command=("true",)).stdout.strip()
        experimenter("wait", id_)
        done = experimenter("stop", id_)

        assert (done.returncode, done.stderr) == (
            1,
            f"Error: the sweep {id_} does not run; 'experimenter ps' shows what does\n",
        )

    def test_two_sweeps_at_once_do_not_meet(self, repo: Path, tmp_path: Path) -> None:
        with sleepers(tmp_path) as one:
            command = ("sh", "-c", f"touch {tmp_path}/other; exec sleep 1000")
            words = [EXPERIMENTER, "sweep", "-p", "y=1", "--", *command]
            with subprocess.Popen(words, stderr=subprocess.PIPE) as other:
                until((tmp_path / "other").exists, what="the other sweep")
                shown = experimenter("ps").stdout.partition("\nSWEEP")[2].splitlines()[1:]
                (id_,) = (line.split()[0] for line in shown if "other" in line)
                assert (len(shown), experimenter("stop", id_).returncode) == (2, 0)
            (tmp_path / "release").touch()
            one.communicate(timeout=60)

        assert (one.returncode, other.returncode) == (0, 1)
        assert sorted(found["parameters"]["seed"] for found in records()) == list(range(6))

    def test_two_equal_sweeps_at_once_share_the_cells(self, ran: Callable[[], list[str]]) -> None:
        words = [EXPERIMENTER, "sweep", "-j", "2", "-p", "seed=range(20)", "--", sys.executable, "train.py"]
        both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        said = [one.communicate(timeout=120) for one in both]

        assert [one.returncode for one in both] == [0, 0], said
        assert sorted(ran()) == sorted(f"/{seed}" for seed in range(20))
        assert [len(stdout.splitlines()) for stdout, _ in said] == [21, 21]

    def test_a_sweep_is_stopped_as_one_thing(self, repo: Path, tmp_path: Path) -> None:
        with sleepers(tmp_path) as started:
            (sweep, *others) = {one["sweep"] for one in json.loads(experimenter("ps", "--json").stdout)}
            assert not others
            shown = experimenter("ps").stdout
            assert re.search(rf"^SWEEP .*\n{sweep} +0 +0 +6 +{started.pid} ", shown, re.MULTILINE), shown
            done = experimenter("stop", sweep[:5])
            assert started.wait(60) == 1

        assert (done.returncode, tags(), alive(str(tmp_path))) == (0, [], [])
        assert done.stdout.splitlines()[-1] == f"stopped the sweep {sweep}; the same line again goes on with it"
        assert len(cells_started(tmp_path)) == 2
        assert experimenter("ps").stderr == "Note: nothing runs here\n"

    def test_stop_all_stops_sweeps_too(self, repo: Path, tmp_path: Path) -> None:
        with sleepers(tmp_path) as started:
            running = json.loads(experimenter("ps", "--json").stdout)
            done = experimenter("stop", "--all", "--json")
            assert started.wait(60) == 1
        assert (done.returncode, tags(), len(cells_started(tmp_path))) == (0, [], 2)
        *cells, sweep = json.loads(done.stdout)
        assert sweep == {"sweep": running[0]["sweep"]}
        assert sorted(one["id"] for one in cells) == sorted(one["id"] for one in running)

    def test_a_cell_that_is_stopped_alone_counts_as_failed_and_the_rest_goes_on(
        self, repo: Path, tmp_path: Path
    ) -> None:
        with sleepers(tmp_path) as started:
            first = json.loads(experimenter("ps", "--json").stdout)[0]
            assert experimenter("stop", first["id"]).returncode == 0
            until(lambda: len(cells_started(tmp_path)) == 3, what="another cell")
            (tmp_path / "release").touch()
            _, said = started.communicate(timeout=60)

        assert (started.returncode, len(tags())) == (1, 5)
        assert f"stopped ({first['id']})" in said

    def test_a_cell_whose_wrapper_is_killed_counts_as_failed(self, repo: Path, tmp_path: Path) -> None:
        with sleepers(tmp_path) as started:
            first = json.loads(experimenter("ps", "--json").stdout)[0]
            os.kill(first["wrapper_pid"], signal.SIGKILL)
            (tmp_path / "release").touch()
            _, said = started.communicate(timeout=60)

        assert started.returncode == 1
        assert "killed: its process was killed" in said

    def test_in_the_background_it_has_a_log_and_can_be_waited_for(self, repo: Path) -> None:
        done = sweep("-d", "-p", "x=1,2", command=("sh", "-c", "test $EXPERIMENTER_PARAM_X = 1"))
        sweep_ = done.stdout.strip()

        assert re.fullmatch(r"[0-9a-f]{8}", sweep_), done
        assert experimenter("wait", sweep_).returncode == 1
        log = experimenter("logs", sweep_[:6]).stdout
        assert f"Note: sweep {sweep_}: 2 cells\n" in log
        assert "x=2: failed with status 1" in log

    def test_a_terminal_shows_how_far_it_is(
        self, repo: Path, tmp_path: Path, terminal: Callable[..., Terminal]
    ) -> None:
        script = f'echo EXPERIMENTER_RESULTS {{\\"a\\": $EXPERIMENTER_PARAM_X}}; echo x >> {tmp_path}/started; until test -e {tmp_path}/go$EXPERIMENTER_PARAM_X; do sleep 0.05; done; test $EXPERIMENTER_PARAM_X != 2'
        screen = terminal(EXPERIMENTER, "sweep", "-j", "1", "-p", "x=1,2,3", "--", "sh", "-c", script)
        screen.expect("0/3 done, 1 running")
        (tmp_path / "go1").touch()
        screen.expect("x=1: completed")
        screen.expect("): a=1")
        screen.expect("1/3 done, 1 running, ")
        (tmp_path / "go2").touch()
        screen.expect("x=2: failed with status 1")
        screen.expect("1/3 done, 1 failed, 1 running, ")
        (tmp_path / "go3").touch()

        assert os.WEXITSTATUS(screen.end()) == 1
        assert re.search(r"1/3 done, 1 running, \d+s left", screen.screen.decode())
        last = screen.screen.decode().rpartition("\x1b[K")[2]
        assert [line.split()[-1] for line in last.split("\r\n") if line] == ["a\x1b[0m", "1", "3", "it"]

    def test_ctrl_z_suspends_the_cells_too(self, repo: Path, tmp_path: Path) -> None:
        with sleepers(tmp_path) as started:
            pids = [one["pid"] for one in json.loads(experimenter("ps", "--json").stdout)]
            started.send_signal(signal.SIGTSTP)
            stopped = [*pids, started.pid]
            until(
                lambda: all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in stopped), what="the stop"
            )
            started.send_signal(signal.SIGCONT)
            until(
                lambda: all(psutil.Process(pid).status() != psutil.STATUS_STOPPED for pid in pids), what="the end of it"
            )


class TestIsolated:
    def test_cells_in_a_slot_share_a_work_tree_that_is_brought_back(self, repo: Path, tmp_path: Path) -> None:
        Path("data").write_text("ignored")
        Path(".gitignore").write_text("data\nout\n")
        script = (
            f"pwd >> {tmp_path}/places; ls -A | tr '\\n' ' ' >> {tmp_path}/seen; cat train.py >> {tmp_path}/seen;"
            "echo dirty > train.py; echo x > new.txt; echo x > out; git checkout -q -b b$EXPERIMENTER_PARAM_X;"
            "git update-index --assume-unchanged train.py; git commit -q --allow-empty -m x"
        )
        done = sweep("--isolated", "--link", "data", "-j", "1", "-p", "x=range(3)", command=("sh", "-c", script))

        assert done.returncode == 0, done.stderr
        assert len(set((tmp_path / "places").read_text().split())) == 1
        assert len(set((tmp_path / "seen").read_text().splitlines())) == 1
        assert Path("train.py").read_text() != "dirty\n"
        assert sh("git worktree list").count("\n") == 1
        assert Path("data").read_text() == "ignored"

    @pytest.mark.parametrize("edit", ["true", "echo two > train.py; echo new > new.py"])
    def test_git_describes_the_work_tree_of_each_cell_as_the_users(self, repo: Path, tmp_path: Path, edit: str) -> None:
        sh(
            f"git tag -a v1 -m v1; git checkout -qb side; echo x > train.py; git commit -qam x; git checkout -q main; {edit}"
        )
        look = "git describe --tags --dirty; git status --porcelain; git log --format=%H; git rev-parse --verify -q MERGE_HEAD"
        conflict = "git checkout -q --force HEAD; echo y > train.py; git commit -qam y; git merge side"
        here = sh(f"{look} || true")
        command = ("sh", "-c", f"({look}) >> {tmp_path}/seen; {conflict} || true")
        done = sweep("--isolated", "-j", "1", "-p", "x=range(3)", command=command)

        assert done.returncode == 0, done.stderr
        assert (tmp_path / "seen").read_text() == 3 * here

    def test_what_a_cell_leaves_behind_does_not_reach_the_next(self, repo: Path, tmp_path: Path) -> None:
        script = f"ls >> {tmp_path}/seen; (while true; do echo x > leaked; sleep 0.02; done) > /dev/null 2>&1 &"
        done = sweep("--isolated", "-j", "1", "-p", "x=range(4)", command=("sh", "-c", script))

        assert done.returncode == 0, done.stderr
        assert set((tmp_path / "seen").read_text().split()) == {"train.py"}

    def test_a_cell_may_remove_its_work_tree(self, repo: Path) -> None:
        done = sweep("--isolated", "-j", "1", "-p", "x=range(3)", command=("sh", "-c", 'rm -rf "$PWD"'))

        assert done.returncode == 0, done.stderr

    def test_each_slot_has_its_own(self, repo: Path, tmp_path: Path) -> None:
        with sleepers(tmp_path, "--isolated") as started:
            places = {psutil.Process(one["pid"]).cwd() for one in json.loads(experimenter("ps", "--json").stdout)}
            assert len(places) == 2
            assert all(str(repo / ".git/experimenter/sweeps/") in place for place in places)
            (tmp_path / "release").touch()
            assert started.wait(60) == 0
        assert sh("git worktree list").count("\n") == 1

    def test_a_submodule_is_brought_back_too(self, repo: Path, tmp_path: Path) -> None:
        sh(f"git init -q {tmp_path}/sub; cd {tmp_path}/sub; echo 1 > f; git add f; git commit -q -m s")
        sh(f"git submodule --quiet add {tmp_path}/sub sub; git commit -q -m sub")
        script = f"cat sub/f >> {tmp_path}/seen; echo 2 > sub/f; echo 3 > sub/g; ls sub >> {tmp_path}/seen"
        done = sweep("--isolated", "-j", "1", "-p", "x=range(2)", command=("sh", "-c", script))

        assert done.returncode == 0, done.stderr
        assert (tmp_path / "seen").read_text().split() == ["1", "f", "g"] * 2

    @pytest.mark.parametrize("words", [[], ["--isolated"]])
    def test_what_a_killed_sweep_leaves_is_removed(self, repo: Path, tmp_path: Path, words: list[str]) -> None:
        with sleepers(tmp_path, *words) as started:
            started.kill()
            (tmp_path / "release").touch()
        until(lambda: not any(Path(".git/experimenter/runs").iterdir()), what="the end of the cells")
        experimenter("list")

        assert sh("git worktree list").count("\n") == 1
        assert [path.name for path in Path(".git/experimenter/sweeps").iterdir()] == ["lock"]


class TestOtherCode:
    """Where cells were done on other code, the start and --dry-run say which files differ."""

    LINE = ("-j1", "-p", "a=1,2", "--", "true")

    def test_the_same_line_on_other_code_says_which_files_differ(self, repo: Path) -> None:
        first = experimenter("sweep", *self.LINE).stderr
        sh("echo two > train.py; echo 1 > new.py")
        dry = experimenter("sweep", "--dry-run", *self.LINE)
        again = experimenter("sweep", *self.LINE).stderr
        resumed = experimenter("sweep", *self.LINE).stderr

        newest = sorted(tags())[1]
        for told in (dry.stderr, again):
            assert told.count("on other code") == 1
            assert f"Note: 2 of 2 cells are done on other code, last by {newest}" in told
            assert "  modified  train.py\n  added     new.py\n" in told
        assert "other code" not in first + resumed
        assert dry.stdout == "a=1\na=2\n"

    def test_says_nothing_of_other_lines_nor_where_a_cell_is_done_or_all_are_run(self, repo: Path) -> None:
        experimenter("sweep", *self.LINE)
        sh("echo two > train.py")

        assert "other code" not in experimenter("sweep", "-p", "a=3,4", "--", "true").stderr
        assert "other code" not in experimenter("sweep", "-p", "a=1,2", "--", "echo").stderr
        assert "other code" not in experimenter("sweep", "--again", *self.LINE).stderr
        assert "other code" not in experimenter("sweep", "--dry-run", *self.LINE).stderr

    def test_a_dry_run_stores_nothing_and_needs_no_repository(self, repo: Path, tmp_path: Path) -> None:
        experimenter("sweep", *self.LINE)
        sh("echo two > train.py")
        before = sorted(Path(".git/objects").rglob("*"))

        experimenter("sweep", "--dry-run", *self.LINE)
        outside = experimenter("sweep", "--dry-run", *self.LINE, cwd=tmp_path)

        assert sorted(Path(".git/objects").rglob("*")) == before
        assert (outside.returncode, outside.stdout, outside.stderr) == (0, "a=1\na=2\n", "")

    def test_resumes_where_only_caches_and_declared_outputs_came(self, repo: Path) -> None:
        script = "mkdir -p __pycache__; echo 1 > __pycache__/x; echo 1 > model_$EXPERIMENTER_PARAM_A"
        line = ("sweep", "-j1", "-p", "a=1,2", "--", "sh", "-c", script)
        sh("git config experimenter.output 'model_*'")
        experimenter(*line)

        assert "2 done already" in experimenter(*line).stderr
