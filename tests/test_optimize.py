import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from test_sweep import records, sweep, sweep_id

from conftest import EXPERIMENTER, experimenter, tags, until
from experimenter.layout import rounded

SCRIPT = """
import json, os, sys
parameters = json.loads(os.environ["EXPERIMENTER_PARAMS"])
x = parameters["x"]
if os.environ.get("BAD") == "odd" and parameters["n"] % 2:
    sys.exit(1)
print("EXPERIMENTER_RESULTS", json.dumps({"loss": (x - 2) ** 2 + parameters["n"], "text": "none"}))
"""
GRID = (
    "-p",
    "x=interval(0.0,4)",
    "-p",
    "n=interval(0,3)",
    "-p",
    "lr=log(1e-5,1e-1)",
    "-p",
    "kind=a,b",
    "-p",
    "fixed=7",
)
COMMAND = (sys.executable, "train.py")


@pytest.fixture(autouse=True)
def script(repo: Path) -> None:
    Path("train.py").write_text(SCRIPT)


def optimize(*words: str, trials: int, grid: tuple[str, ...] = GRID) -> subprocess.CompletedProcess[str]:
    return sweep("-j", "1", *grid, "--optimize", "loss", "--minimize", "--trials", str(trials), *words, command=COMMAND)


def chosen() -> list[Any]:
    return [one["parameters"] for one in records()]


def trials_of(sweep_: str) -> list[optuna.trial.FrozenTrial]:
    file = JournalFileBackend(str(Path(f".git/experimenter/studies/{sweep_}.journal")))
    return optuna.load_study(storage=JournalStorage(file), study_name=sweep_).get_trials()


def test_optuna_chooses_within_the_bounds_and_the_best_is_shown() -> None:
    done = optimize("--sort", "loss", trials=8)

    assert done.returncode == 0, done.stderr
    for one in chosen():
        assert isinstance(one["x"], float) and 0 <= one["x"] <= 4
        assert isinstance(one["n"], int) and 0 <= one["n"] <= 3
        assert 1e-5 <= one["lr"] <= 1e-1
        assert (one["kind"] in ("a", "b"), one["fixed"]) == (True, 7)
    best = min(records(), key=lambda one: one["results"]["loss"])
    (shown,) = rounded([best["results"]["loss"]])  # as in the table below
    assert f"Note: the best is {best['id']}: loss={shown} with x={best['parameters']['x']!r} " in done.stderr
    assert done.stderr.endswith(f"again: experimenter rerun {best['id']}\n")
    assert done.stdout.splitlines()[1].startswith(best["id"])
    assert experimenter("rerun", best["id"]).returncode == 0


def test_the_same_seed_chooses_the_same_also_in_two_goes(repo: Path) -> None:
    optimize("--seed", "1", trials=14)
    whole = chosen()
    experimenter("rm", *tags(), "--yes")
    for file in Path(".git/experimenter/studies").iterdir():
        file.unlink()
    optimize("--seed", "1", trials=5)
    again = optimize("--seed", "1", trials=14)

    assert again.stderr.startswith(f"Note: sweep {sweep_id(again)}: 14 cells, 5 done already\n")
    assert chosen() == whole
    assert optimize("--seed", "2", trials=2).returncode == 0
    assert chosen()[14:] != whole[:2]


def test_ranges_lists_and_mappings_can_be_chosen_from() -> None:
    grid = ("-p", "x=range(0,1,0.25)", "-p", "n=range(0,9,3)", "-p", "layers=[1,2],[3]", "-p", "opt={a: 1},{a: 2}")
    done = optimize(trials=6, grid=grid)

    assert done.returncode == 0, done.stderr
    for one in chosen():
        assert (one["x"] in (0, 0.25, 0.5, 0.75), one["n"] in (0, 3, 6)) == (True, True)
        assert (one["layers"] in ([1, 2], [3]), one["opt"] in ({"a": 1}, {"a": 2})) == (True, True)


def test_a_failed_trial_is_told_as_failed_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAD", "odd")
    done = optimize("--seed", "3", trials=6)
    states = [trial.state.name for trial in trials_of(sweep_id(done))]

    assert done.returncode == 1
    assert (len(states), set(states)) == (6, {"COMPLETE", "FAIL"})
    assert states.count("COMPLETE") == len(tags())
    again = optimize("--seed", "3", trials=6)
    assert (again.returncode, len(trials_of(sweep_id(again)))) == (1, 6)


def test_a_logarithm_reaches_optuna_and_the_largest_is_the_best() -> None:
    words = (*GRID, "--optimize", "loss", "--maximize", "--trials", "4", "--seed", "1")
    done = sweep("-j", "1", *words, command=COMMAND)
    scales = {key: getattr(kind, "log", None) for key, kind in trials_of(sweep_id(done))[0].distributions.items()}
    best = max(records(), key=lambda one: float(one["results"]["loss"]))

    assert (scales["lr"], scales["x"]) == (True, False)
    assert f"the best is {best['id']}" in done.stderr


def test_trials_run_at_the_same_time(tmp_path: Path) -> None:
    (met := tmp_path / "met").mkdir()
    both = f"touch {met}/$EXPERIMENTER_ID; until test $(ls {met} | wc -l) = 2; do sleep 0.05; done"
    script = f"""{both}; echo 'EXPERIMENTER_RESULTS {{"loss": 1}}'"""
    words = ("-p", "x=interval(0.0,1.0)", "--optimize", "loss", "--minimize", "--trials", "2")

    assert sweep("-j", "2", *words, command=("sh", "-c", script)).returncode == 0


def test_trials_whose_records_were_removed_are_told() -> None:
    optimize(trials=2)
    experimenter("rm", tags()[0], "--yes")
    again = optimize(trials=2)

    assert "Note: of 1 of the study's trials the record was removed; it counts, and is not run again\n" in again.stderr
    assert (again.returncode, len(tags())) == (0, 1)


@pytest.mark.parametrize(("key", "there"), [("accuracy", "loss, text"), ("text", "text=")])
def test_a_result_that_is_no_number_is_told(key: str, there: str) -> None:
    done = sweep(*GRID, "--optimize", key, "--minimize", "--trials", "1", command=COMMAND)

    assert re.search(rf"has no number under {key} \(there is: {there}.*\); its trial failed", done.stderr)
    assert done.stderr.endswith("0 of 1 cells done, 1 failed; more --trials go on with it\n")
    assert [trial.state.name for trial in trials_of(sweep_id(done))] == ["FAIL"]


def test_many_at_a_time_and_two_sweeps_at_once_run_as_many_as_asked() -> None:
    words = [
        EXPERIMENTER,
        "sweep",
        "-j",
        "2",
        *GRID,
        "--optimize",
        "loss",
        "--maximize",
        "--trials",
        "12",
        "--",
        *COMMAND,
    ]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=120) for one in both]

    assert [one.returncode for one in both] == [0, 0], said
    assert 12 <= len(tags()) <= 14  # each counts what it knows of when it chooses


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_a_trial_that_was_cut_off_is_run_once_more(tmp_path: Path, signum: int) -> None:
    script = f'echo $EXPERIMENTER_PARAM_X >> {tmp_path}/started; test -e {tmp_path}/go || sleep 1000; echo EXPERIMENTER_RESULTS {{\\"loss\\": 1}}'
    words = [
        "sweep",
        "-j",
        "1",
        "-p",
        "x=interval(0,1000)",
        "--optimize",
        "loss",
        "--minimize",
        "--trials",
        "2",
        "--",
        "sh",
        "-c",
        script,
    ]
    started = tmp_path / "started"
    with subprocess.Popen([EXPERIMENTER, *words], stderr=subprocess.DEVNULL) as first:
        until(started.exists, what="a cell")
        pid = json.loads(experimenter("ps", "--json").stdout)[0]["wrapper_pid"]
        first.send_signal(signum)
        first.wait()
    if signum == signal.SIGKILL:
        os.kill(pid, signal.SIGTERM)
    until(lambda: experimenter("ps").stderr == "Note: nothing runs here\n", what="the end of the cell")
    (tmp_path / "go").touch()
    again = experimenter(*words)

    assert again.returncode == 0, again.stderr
    ran = started.read_text().split()
    assert len(ran) == 3 and ran[0] == ran[1]
    assert [one["parameters"]["x"] for one in records()] == [int(value) for value in ran[1:]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--optimize", "loss", "--trials", "1"], "--optimize takes one of --minimize and --maximize"),
        (["--optimize", "loss", "--minimize", "--maximize", "--trials", "1"], "--optimize takes one of"),
        (["--optimize", "loss", "--minimize"], "--optimize takes --trials"),
        (["--trials", "3"], "--minimize, --maximize, --trials and --seed are for --optimize"),
        (["--optimize", "loss", "--minimize", "--trials", "1", "--dry-run", *GRID], "--dry-run knows no cells"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str) -> None:
    done = sweep(*words, command=COMMAND)

    assert (done.returncode, tags()) == (2, [])
    assert message in done.stderr


def test_without_optuna_it_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['optuna'] = None; from experimenter.cli import main; main()"
    words = ["sweep", *GRID, "--optimize", "loss", "--minimize", "--trials", "1", "--", *COMMAND]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)

    assert (done.returncode, tags()) == (1, [])
    assert done.stderr == "Error: --optimize needs optuna: pip install optuna\n"
