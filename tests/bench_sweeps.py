"""Measures sweeps beside GNU parallel and single runs, and the time from a submission to the start of its command."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

_EXPERIMENTER = str(Path(sys.executable).with_name("experimenter"))
_MB = 1_000_000
_PAIRS = 5
_AT_A_TIME = 2


def sweeps(
    place: Path, source_repo: Callable[[Path, int], Path], *, quick: bool
) -> Iterator[tuple[str, float, str, float | None]]:
    """Yield what was measured, its value and unit, and what the value should reach or not exceed."""
    cells = 100 if quick else 1_000
    repo = source_repo(place / "sweep", 30)
    ours = _rate(repo, cells, [_EXPERIMENTER, "sweep", "-j", str(_AT_A_TIME), "-p", f"x=range({cells})", "--", "true"])
    yield f"`sweep -j 2` of {cells:,} `true`", ours, " cells/s", 40.0
    if shutil.which("parallel"):
        words = ["sh", "-c", f"seq {cells} | parallel -j {_AT_A_TIME} true"]
        yield f"GNU parallel of {cells:,} `true`, for comparison", _rate(repo, cells, words), "/s", None
    one_by_one = f"seq {cells} | xargs -n 1 -P {_AT_A_TIME} sh -c '{_EXPERIMENTER} run -p x=$0 -- true'"
    yield (
        f"{cells:,} single `run -- true`, two at a time",
        _rate(repo, cells, ["sh", "-c", one_by_one]),
        "/s",
        None,
    )
    if not quick:
        words = [_EXPERIMENTER, "sweep", "-j", str(_AT_A_TIME), "-p", "y=range(10000)", "--", "true"]
        yield "memory of a sweep of 10,000 cells", _peak_mb(repo, words), " MB", -80.0
    if shutil.which("sbatch") and "SLURM_CONF" in os.environ:
        yield from _submissions(place, repo)


def _rate(repo: Path, count: int, words: Sequence[str]) -> float:
    started_s = time.perf_counter()
    subprocess.run(words, cwd=repo, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return count / (time.perf_counter() - started_s)


def _peak_mb(repo: Path, words: Sequence[str]) -> float:
    """Return the largest memory that a process has had; getrusage(2) would count ours, too, from before its exec."""
    peak = 0.0
    with subprocess.Popen(words, cwd=repo, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = peak_mb(process.pid) or peak
            time.sleep(0.1)
    assert process.returncode == 0
    return peak


def peak_mb(pid: int) -> float | None:
    """Return the largest memory of a process so far, where the system tells it (proc(5))."""
    status = Path(f"/proc/{pid}/status")
    kilobytes = status.read_text().partition("VmHWM:")[2].split() if status.exists() else []
    return int(kilobytes[0]) * 1024 / _MB if kilobytes else None


def _submissions(place: Path, repo: Path) -> Iterator[tuple[str, float, str, float | None]]:
    """Yield how long it takes on an idle cluster until a command has started, which touches a file."""
    for what, words in (
        ("`submit`", [_EXPERIMENTER, "submit", "--", "touch"]),
        ("`sbatch`", ["sbatch", "--output=/dev/null", "--wrap"]),
    ):
        taken = []
        for number in range(_PAIRS):
            file = place / f"{what.strip('`')}{number}"
            last = [f"touch {file}"] if words[0] == "sbatch" else [str(file)]
            started_s = time.perf_counter()
            subprocess.run([*words, *last], cwd=repo, stdout=subprocess.DEVNULL, check=True)
            while not file.exists():
                time.sleep(0.01)
            taken.append(time.perf_counter() - started_s)
            time.sleep(2)  # the node is idle again
        yield f"from {what} to the start on an idle node", median(taken), " s", None
