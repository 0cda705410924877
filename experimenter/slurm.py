"""The door to Slurm: hands jobs over by submitit, and asks and cancels by Slurm's own commands."""

import io
import os
import re
import shlex
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

from experimenter.errors import BadOption, ExtraMissing, NoSlurm
from experimenter.process import answer_of
from experimenter.text import visible

_PATIENCE_S = 60.0
_IDS_AT_ONCE = 1000
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT", "CONFIGURING")
_DEAD = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
         "REVOKED", "TIMEOUT")  # fmt: skip
_OURS = ("additional_parameters", "array_parallelism", "job_name", "name", "setup", "srun_args", "stderr_to_stdout",
         "teardown", "use_srun")  # fmt: skip


def check(options: Sequence[str]) -> dict[str, Any]:
    """Return submitit's parameters for `KEY=VALUE` options.

    Raises ExtraMissing without submitit, NoSlurm without Slurm's commands, BadOption for an unknown key, with the
    nearest one.
    """
    if find_spec("submitit") is None:
        raise ExtraMissing("submitit", needed_for="Slurm")
    if which("sbatch") is None or which("srun") is None:
        raise NoSlurm("there is no Slurm here: sbatch is not on the PATH; submit from a login node of the cluster")
    known = _known()
    found: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        name = key.removeprefix("slurm_")
        if not equals or name not in known:
            from difflib import get_close_matches  # which is seldom needed

            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(sorted(known))}"
            what = f"there is no key '{visible(key)}'; {hint}" if equals else f"'{visible(option)}' is not KEY=VALUE"
            raise BadOption(f"--slurm: {what}")
        found[name] = _value(value)
    return found


def submit(
    folder: Path,
    words: Sequence[str],
    *,
    name: str,
    count: int = 1,
    at_a_time: int = 1,
    requeue: bool = False,
    parameters: Mapping[str, Any],
) -> str:
    """Submit a job that runs words on a node, an array of `count` if that is more than 1; return its id.

    What Slurm itself has to say of it goes into `folder`. Raises NoSlurm with what sbatch says.
    """
    if "%" in str(folder):  # "filename pattern" in sbatch(1); submitit does not double it
        raise NoSlurm(f"Slurm would replace the % in {visible(str(folder))}; use a path without one")
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    # At the time limit Slurm sends SIGTERM; the SIGUSR2 of submitit would end the command 90 s before it.
    more: dict[str, Any] = {} if "signal_delay_s" in parameters else {"signal": "CONT@1"}
    more |= {"requeue": True} if requeue else {}
    executor = submitit.SlurmExecutor(folder=folder)
    try:
        wanted = executor._convert_parameters({"name": name, **parameters})
        wanted = {"time": None, **wanted}  # else it is 5 minutes
        executor.update_parameters(
            **wanted, array_parallelism=at_a_time, additional_parameters=more, stderr_to_stdout=True
        )
        if count > 1:
            executor.parameters["map_count"] = count
        # Our words instead of a pickled function: a node may have nothing in common with us but Slurm.
        with _outside_of_jobs(), redirect_stderr(io.StringIO()):  # submitit prints there what it raises, too
            return str(executor._submit_command(shlex.join(words)).job_id)
    except (FailedJobError, FailedSubmissionError, ValueError, AssertionError) as error:
        said = [visible(line.strip()) for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in said if "error:" in line), said[-1] if said else "it said nothing")
        others = [line for line in said if "error:" in line and line != reason]
        raise NoSlurm(f"Slurm did not take the job: {reason}", details=others) from error


def drop_script(folder: Path, words: Sequence[str]) -> None:
    """Remove the script by which `submit` gave words to Slurm, which has a copy, from a folder of everybody's."""
    for script in list(filter(partial(_has_words, words), folder.glob("*submission*.sh"))):  # one is a link to another
        script.unlink(missing_ok=True)


def _has_words(words: Sequence[str], script: Path) -> bool:
    try:
        found = script.stat()
        is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        return is_ours and os.fsencode(shlex.join(words)) in script.read_bytes()
    except OSError:  # it has just gone
        return False


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide the job that we may be in ourselves, whose place in an array sbatch would pass on."""
    ours = {key: value for key, value in os.environ.items() if key.startswith("SLURM_") and key != "SLURM_CONF"}
    for key in ours:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(ours)


def states() -> dict[str, str] | None:
    """Return the state of each of our jobs as `states_and_reasons` does, alone."""
    known = states_and_reasons()
    return None if known is None else {job_id: state for job_id, (state, _) in known.items()}


def states_and_reasons() -> dict[str, tuple[str, str]] | None:
    """Return the state of each of our jobs that Slurm knows, by its id, `123` or `123_4`; nothing without an answer.

    With it comes why it is in that state, `Resources` or `Priority` if it waits, else perhaps `None`. Asked is
    squeue(1): sacct(1) needs a database that many clusters do not have.
    """
    answer = _ask("squeue", "--all", "--noheader", "--array", "--me", "--states=all", "--format=%i %T %r")
    if answer is None:
        return None
    words = (line.split(" ", 2) for line in answer.split("\n"))
    return {found[0]: (found[1], found[2]) for found in words if len(found) == 3}


def job_named(name: str, *, but: Collection[str]) -> str:
    """Return the id of our newest job of a name, but for some; empty if Slurm knows none."""
    answer = _ask("squeue", "--all", "--noheader", "--me", "--states=all", f"--name={name}", "--format=%F") or ""
    return max(set(answer.split()) - set(but), key=int, default="")


def is_alive(state: str | None) -> bool:
    """Say whether a job in this state may still run; one that Slurm does not know, or knows no more, does not."""
    return state is not None and state not in _DEAD


def is_waiting(state: str | None) -> bool:
    """Say whether a job in this state has not started, or is to start again."""
    return state in _WAITING


def cancel(job_ids: Sequence[str], *, signal_name: str = "") -> None:
    """Cancel jobs, or send their processes a signal."""
    options = ["--signal", signal_name] if signal_name else []
    for place in range(0, len(job_ids), _IDS_AT_ONCE):
        _ask("scancel", *options, *job_ids[place : place + _IDS_AT_ONCE])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a job ended: its exit status as a shell has it, and the file with its output, with the node that has it."""

    exit_code: int
    output: str


def ending_of(job_id: str) -> Ended | None:
    """Return how a job ended; nothing if Slurm has forgotten it."""
    answer = _ask("scontrol", "show", "job", job_id) or ""
    ended = re.search(r"\bExitCode=(\d+):(\d+)", answer)
    node, output = (re.search(rf"\b{key}=(.+)$", answer, re.MULTILINE) for key in ("BatchHost", "StdOut"))
    if not (ended and node and output):
        return None
    status, signum = map(int, ended.groups())
    return Ended(exit_code=128 + signum if signum else status, output=f"{output[1]} on {node[1]}")


def is_requeued(before: Callable[[], None] = lambda: None) -> bool:
    """Say whether the job that we are in is being ended to be run once more; if so, `before` is called.

    If it is preempted, and was given some time to end (GraceTime in slurm.conf(5)), we then requeue it, as one that
    ends by itself in that time would count as complete. That kills us at once.
    """
    job_id = our_job_id()  # SLURM_JOB_ID of one in an array may stand for the whole array
    answer = _ask("scontrol", "show", "job", job_id) or ""
    restarts = re.search(r"\bRestarts=(\d+)", answer)
    is_restarted = restarts is not None and int(restarts[1]) > int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    is_preempted = re.search(r"\bRequeue=1\b", answer) and re.search(r"\bPreemptTime=\d", answer)
    if is_restarted or is_preempted:
        before()
    if is_preempted and not is_restarted:
        _ask("scontrol", "requeue", job_id)
    return bool(is_restarted or is_preempted)


def our_job_id() -> str:
    """Return the id of the job that we are in."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def cluster() -> str:
    """Return the name of the cluster that Slurm's commands speak with; empty without an answer."""
    named = re.search(r"^ClusterName\s*=\s*(\S+)", _ask("scontrol", "show", "config") or "", re.MULTILINE)
    return named[1] if named else ""


def _ask(*words: str) -> str | None:
    # What the user has set for their own lists would hide jobs from us.
    env = {key: value for key, value in os.environ.items() if not key.startswith(("SQUEUE_", "SCANCEL_"))}
    return answer_of(words, env=env, timeout_s=_PATIENCE_S)


def _known() -> set[str]:
    """Return the keys that can be given: submitit's own, and its names for all clusters."""
    from submitit.slurm.slurm import SlurmExecutor

    return {*SlurmExecutor._valid_parameters(), *SlurmExecutor._equivalence_dict()} - set(_OURS)


def _value(text: str) -> Any:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"\d+\.\d+", text):
        return float(text)
    return {"true": True, "false": False}.get(text.lower(), text)
