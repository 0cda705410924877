"""Measures what experimenter costs beside plain git, a plain pipe and a plain sleep; prints a table in Markdown.

A ratio is the median of paired runs, ours and the plain one in turn, so that a busy machine slows down both alike.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, repeat
from pathlib import Path
from statistics import median

import psutil
from bench_sweeps import peak_mb, sweeps

from experimenter import names
from experimenter.record import timestamp

_EXPERIMENTER = str(Path(sys.executable).with_name("experimenter"))
_PAIRS = 7
_MB = 1_000_000
_WATCHED_S = 5
_CODE_STATES = 300
_WHO = "bench <bench@localhost> 1700000000 +0000"
_EDITED = ("package0/module0/file0.py", "package0/module0/file9.py", "package0/module1/file20.py", "new.txt", "new.md")
_TRAIN = ("sh", "-c", """echo '{"accuracy": 0.9345, "loss": 0.1234, "epochs": 20}' > "$EXPERIMENTER_RESULTS_FILE" """)
_FORMAT = "%(refname) %(objectname) %(*objectname) %(*tree) %(contents)"
_NAMES_ALONE = ("git", "for-each-ref", "--format=%(refname)", "refs/tags/exp_*")
_FOR_EACH_REF = ("git", "for-each-ref", f"--format={_FORMAT}", "refs/tags/exp_*")

# What `experimenter run -- true` stores, by plain git commands. $1 is the tag.
_CAPTURE = rf"""
set -e
tag=$1
mkdir .git/aside
git --no-optional-locks status --porcelain=v2 -z --branch --untracked-files=all --no-renames > .git/aside/status
cp -p .git/index .git/aside/index
export GIT_INDEX_FILE=.git/aside/index
printf '%s\0' {" ".join(_EDITED)} | git update-index -z --add --remove --stdin
tree=$(git write-tree)
commit=$(git commit-tree -p HEAD -m 'Code state' "$tree")
tag_message() {{
    printf 'object %s\ntype commit\ntag %s\ntagger {_WHO}\n\n{{"schema": 1, "status": "%s"}}\n' "$commit" "$tag" "$1"
}}
running=$(tag_message running | git mktag)
git update-ref "refs/tags/$tag" "$running" ''
true
git diff-files --quiet || true
completed=$(tag_message completed | git mktag)
git update-ref "refs/tags/$tag" "$completed" "$running"
rm -r .git/aside
"""


def capture(place: Path, *, quick: bool) -> Iterator[str]:
    """Compare a run with the same capture by plain git commands."""
    for files, target in ((30, 10.0), (2_000, None), (60_000, 2.0)):
        if files <= 2_000 or not quick:
            yield _compare_capture(_source_repo(place / f"{files}-files", files), files, target)


def listing(place: Path, *, quick: bool) -> Iterator[str]:
    """Compare lists of experiments with a bare git for-each-ref that prints as much of the tags, or their names."""
    for experiments in (1_000, 10_000, 100_000):
        if experiments <= 10_000 or not quick:
            repo = _tagged_repo(place / f"{experiments}-experiments", experiments)
            for words, target in (("list", 5), ("list --json", 5), ("list -c REV", 2)):
                yield _compare_list(repo, experiments, words, _FOR_EACH_REF, target=target)
            if experiments > 10_000:
                for words in ("list --limit 20", "list -c REV", f"show {names.id_of(_tag(7))}"):
                    yield _compare_list(repo, experiments, words, _NAMES_ALONE, target=3)


def sharing(place: Path, *, quick: bool) -> Iterator[str]:
    """Compare sending and collecting new experiments over a path with plain git push and fetch of the same tags."""
    refspec = "refs/tags/exp_*:refs/tags/exp_*"
    for experiments in (1_000, 10_000):
        if quick and experiments > 1_000:
            continue
        repo = _tagged_repo(place / f"{experiments}-shared", experiments)
        empty = map(str, (place / f"{experiments}-{number}.git" for number in count()))
        fresh = (place / f"{experiments}-{number}" for number in count())

        def push(*words: str, repo: Path = repo, empty: Iterator[str] = empty) -> float:
            bare = next(empty)
            _call(["git", "init", "--quiet", "--bare", bare], repo)
            return _call([bare if word == "BARE" else word for word in words], repo)

        def pull(*words: str, repo: Path = repo, fresh: Iterator[Path] = fresh) -> float:
            clone = next(fresh)
            _call(["git", "init", "--quiet", str(clone)], repo)
            return _call(words, clone)

        yield _compare(
            f"`push` of {experiments:,} new : `git push`",
            lambda push=push: push(_EXPERIMENTER, "push", "--remote", "BARE"),  # type: ignore[misc]
            lambda push=push: push("git", "push", "--quiet", "BARE", refspec),  # type: ignore[misc]
            target=1.5,
        )
        yield _compare(
            f"`pull` of {experiments:,} new : `git fetch`",
            lambda pull=pull, repo=repo: pull(_EXPERIMENTER, "pull", "--remote", str(repo)),  # type: ignore[misc]
            lambda pull=pull, repo=repo: pull("git", "fetch", "--quiet", "--no-tags", str(repo), refspec),  # type: ignore[misc]
            target=1.5,
        )
    bare = next(empty)
    _call(["git", "init", "--quiet", "--bare", bare], repo)
    _call(["git", "push", "--quiet", bare, refspec], repo)
    yield _compare(
        f"`push` of nothing at {experiments:,} : `git ls-remote`",
        lambda: _call([_EXPERIMENTER, "push", "--remote", bare], repo),
        lambda: _call(["git", "ls-remote", "--quiet", bare, "refs/tags/exp_*"], repo),
        target=2,
    )


def sweep(place: Path, *, quick: bool) -> Iterator[str]:
    """Measure sweeps, and on a machine with Slurm submissions."""
    for what, value, unit, target in sweeps(place, _source_repo, quick=quick):
        if target is None or target < 0:
            yield _row(what, value, unit, target=None if target is None else -target)
        else:
            yield f"| {what} | {value:.2f}{unit} | at least {target:g}{unit} | {'yes' if value >= target else 'no'} |"


def relay(place: Path, *, quick: bool) -> Iterator[str]:
    """Compare much output through a run with the same output through a pipe."""
    repo = _source_repo(place / "relay", 30)
    size_bytes = (100 if quick else 1_000) * _MB
    logs = repo / ".git" / "experimenter" / "logs"
    lines = place / "lines.txt"
    line = "step 00000001 loss 0.69314718 ".ljust(79, ".") + "\n"
    with lines.open("w") as file:
        file.writelines(repeat(line * (_MB // len(line)), size_bytes // _MB))

    def piped(*words: str) -> float:
        return _call(["/bin/sh", "-c", '"$@" | cat > /dev/null', "sh", *words], repo)

    def ours() -> float:
        elapsed_s = piped(_EXPERIMENTER, "run", "--", "cat", str(lines))
        assert [log.stat().st_size for log in logs.glob("*.log")] == [size_bytes]
        shutil.rmtree(logs)
        return elapsed_s

    what = f"`run -- cat` of {size_bytes // _MB:,} MB : `cat`"
    target = None if quick else 4  # in so little it is Python's start that counts
    yield _compare(what, ours, lambda: piped("cat", str(lines)), target=target)


def idle(place: Path, *, quick: bool) -> Iterator[str]:
    """Look at the wrapper while its command sleeps."""
    repo = _source_repo(place / "idle", 30)
    _say("wrapper of `sleep`")
    with subprocess.Popen([_EXPERIMENTER, "run", "--", "sleep", "20"], cwd=repo, stderr=subprocess.PIPE) as run:
        try:
            wrapper = _wrapper_of_started(repo, run)
            time.sleep(0.5)  # the start is over
            cpu, switches = wrapper.cpu_times(), wrapper.num_ctx_switches().voluntary
            time.sleep(_WATCHED_S)
            cpu_s = sum(wrapper.cpu_times()[:2]) - sum(cpu[:2])
            wakeups = wrapper.num_ctx_switches().voluntary - switches
            memory, peak = wrapper.memory_info().rss / _MB, peak_mb(wrapper.pid)
        finally:
            run.terminate()
    of_wrapper = "of the wrapper of `sleep`"
    remark = "" if peak is None else f"peak {peak:.2f} MB"
    yield _row(f"memory {of_wrapper}", memory, " MB", remark=remark, target=45)
    yield _row(f"CPU time {of_wrapper}", 1000 * cpu_s / _WATCHED_S, " ms/s")
    yield _row(f"wake-ups {of_wrapper}", wakeups / _WATCHED_S, "/s", target=1)


def _row(what: str, value: float, unit: str, *, remark: str = "", target: float | None = None) -> str:
    """Return a line of the table; `target` is what the value should not exceed."""
    measured = f"{value:.2f}{unit}" + (f" ({remark})" if remark else "")
    if target is None:
        return f"| {what} | {measured} | | |"
    return f"| {what} | {measured} | at most {target:g}{unit} | {'yes' if value <= target else 'no'} |"


def _compare(what: str, ours: Callable[[], float], plain: Callable[[], float], *, target: float | None) -> str:
    """Return a line with the ratio of two functions that return how long they took."""
    _say(what)
    ours()  # fills caches, as the next one does
    plain()
    pairs = [(ours(), plain()) for _ in range(_PAIRS)]
    ratio = median(first / second for first, second in pairs)
    remark = " : ".join(f"{median(side):.3f} s" for side in zip(*pairs, strict=True))
    return _row(what, ratio, " x", remark=remark, target=target)


def _compare_capture(repo: Path, files: int, target: float | None) -> str:
    numbers = count()

    def edit() -> str:
        """Give files a content that no object has yet; return a tag for it."""
        number = next(numbers)
        for path in _EDITED:
            (repo / path).write_text(f"{path} {number}\n")
        return f"plain_{number}"

    def ours() -> float:
        edit()
        return _call([_EXPERIMENTER, "run", "--", "true"], repo)

    def plain() -> float:
        return _call(["/bin/sh", "-c", _CAPTURE, "sh", edit()], repo)

    return _compare(f"`run -- true` in {files:,} files : plain git", ours, plain, target=target)


def _compare_list(repo: Path, experiments: int, words: str, plain: Sequence[str], *, target: float) -> str:
    what = "`git for-each-ref`" + (" of names" if plain == _NAMES_ALONE else "")
    return _compare(
        f"`{words}` of {experiments:,} : {what}",
        lambda: _call([_EXPERIMENTER, *words.replace("REV", _tag(7)).split()], repo),
        lambda: _call(plain, repo),
        target=target if experiments > 1_000 else None,  # with fewer it is Python's start that counts
    )


def _call(words: Sequence[str], repo: Path, *, stdin: bytes = b"") -> float:
    """Run a command, its output dropped; return the seconds that it took."""
    started_s = time.perf_counter()
    done = subprocess.run(words, cwd=repo, input=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    elapsed_s = time.perf_counter() - started_s
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return elapsed_s


def _answer(words: Sequence[str], repo: Path) -> str:
    return subprocess.run(words, cwd=repo, stdout=subprocess.PIPE, text=True, check=True).stdout


def _source_repo(top: Path, files: int) -> Path:
    """Make a repository of small files in nested folders, all committed, with an index that is fresh."""
    _say(f"making {files:,} files")
    top.mkdir()
    _call(["git", "init", "--quiet", "--initial-branch=main"], top)
    _import(top, _source_stream(files))
    _call(["git", "reset", "--quiet", "--hard"], top)
    time.sleep(1.1)  # git trusts an index only for files that are older than it, in whole seconds
    _call(["git", "status"], top)
    return top


def _tagged_repo(top: Path, experiments: int) -> Path:
    """Make a repository with experiments on a few hundred code states, as it looks after a `git gc`."""
    repo = _source_repo(top, 30)
    _say(f"making {experiments:,} experiments")
    _call([_EXPERIMENTER, "run", "-n", "train", "-p", "lr=0.001", "-p", "model={layers: 4}", "--", *_TRAIN], repo)
    record = _answer(["git", "for-each-ref", "--format=%(contents)", "refs/tags"], repo)
    _call(["git", "tag", "-d", *_answer(["git", "tag"], repo).split()], repo)
    _import(repo, _states_stream())
    states = _answer(["git", "log", "--reverse", "--format=%H %T", "states"], repo).splitlines()
    _import(repo, _tags_stream(experiments, record, [line.split() for line in states]))
    _call(["git", "pack-refs", "--all"], repo)
    assert _answer([_EXPERIMENTER, "list"], repo).count("\n") == experiments + 1  # with the heading
    return repo


def _import(repo: Path, stream: Iterator[str]) -> None:
    words = ["git", "-c", "core.fsync=none", "fast-import", "--quiet"]  # else each ref would wait for the disk
    _call(words, repo, stdin="".join(stream).encode())


def _source_stream(files: int) -> Iterator[str]:
    yield f"commit refs/heads/main\ncommitter {_WHO}\n{_data('Begin')}"
    for number in range(files):
        path = f"package{number // 400}/module{number // 20 % 20}/file{number}.py"
        yield f"M 100644 inline {path}\n{_data(f'VALUE = {number}')}"


def _states_stream() -> Iterator[str]:
    for number in range(_CODE_STATES):
        yield f"commit refs/heads/states\ncommitter {_WHO}\n{_data('Code state')}"
        yield f"M 100644 inline train.py\n{_data(f'LAYERS = {number}')}"


def _tags_stream(experiments: int, record: str, states: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield tags on code states, each a commit and its tree, with records of about 1 KB as those of a sweep."""
    body = json.loads(record)
    for number in range(experiments):
        body["parameters"]["seed"] = number
        body["results"]["accuracy"] = 1 - 1 / (number + 2)
        body["started"] = timestamp(_moment(number))
        commit, body["code"]["tree"] = states[number % len(states)]
        body["code"]["commit"] = commit
        message = json.dumps(body, indent=2) + "\n"
        yield f"tag {_tag(number)}\nfrom {commit}\ntagger {_WHO}\n{_data(message)}"


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"


def _moment(number: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=10.25 * number)


def _tag(number: int) -> str:
    return names.tag("train", _moment(number))


def _wrapper_of_started(repo: Path, run: "subprocess.Popen[bytes]") -> psutil.Process:
    """Wait until the command runs; return the process of experimenter."""
    while run.poll() is None:
        for path in (repo / ".git" / "experimenter" / "runs").glob("[!.]*/pid.json"):
            if "pid" in (pid_file := json.loads(path.read_bytes())):
                return psutil.Process(pid_file["wrapper_pid"])
        time.sleep(0.05)
    raise RuntimeError("the run ended before its command was seen")


def _isolate(home: str) -> None:
    """Hide the user's settings from git, and an experiment that we may be in from experimenter."""
    for variable in [name for name in os.environ if name.startswith(("GIT_", "EXPERIMENTER_"))]:
        del os.environ[variable]
    for role in ("AUTHOR", "COMMITTER"):
        os.environ |= {f"GIT_{role}_NAME": "bench", f"GIT_{role}_EMAIL": "bench@localhost"}
    os.environ |= {"HOME": home, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}


def _say(what: str) -> None:
    sys.stderr.write(f"{datetime.now():%H:%M:%S} {what}\n")


def main() -> None:
    """Measure what is asked for and print the table."""
    kinds = {"capture": capture, "list": listing, "share": sharing, "sweep": sweep, "relay": relay, "idle": idle}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out what is large")
    parser.add_argument("--only", choices=kinds, help="one kind of measurement instead of all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="experimenter-bench-") as place:
        _isolate(place)
        chosen = [options.only] if options.only else list(kinds)
        rows = [row for kind in chosen for row in kinds[kind](Path(place), quick=options.quick)]
        git = _answer(["git", "--version"], Path(place)).strip()
    lines = ["| what | measured | target | met |", "| --- | --- | --- | --- |", *map(str, rows)]
    system = f"{git}, Python {platform.python_version()}, {os.cpu_count()} cores; medians of {_PAIRS} pairs"
    sys.stdout.write("\n".join([*lines, "", system, ""]))


if __name__ == "__main__":
    main()
