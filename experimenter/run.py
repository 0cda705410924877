"""The story of a run: the code state is stored and tagged, the command runs, what came of it goes into the tag."""

import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from experimenter import environment, live, names
from experimenter.plumbing import Repo
from experimenter.process import Ending
from experimenter.relay import Log, Relay
from experimenter.results import MarkerLines, ResultsFile
from experimenter.settings import Settings
from experimenter.signals import Signals
from experimenter.text import visible

_log = logging.getLogger("experimenter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked of a run."""

    name: str | None = None
    description: str | None = None
    parameters: Mapping[str, Any]
    results_file: Path | None = None
    keep: bool = False
    allow_secrets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: the command's exit status, and the signal that was sent to us and ended it, if one was."""

    exit_code: int
    ended_by: int | None


def run(repo: Repo, command: Sequence[str], options: Options, settings: Settings) -> Outcome:
    """Run `command` on the code state of the work tree, and record in its tag what came of it.

    The tag is removed if the command fails or is interrupted, unless `options.keep`. Raises CommandNotFound,
    CommandNotExecutable and every other ExperimenterError from before the command's start, with nothing left behind.
    """
    with Signals() as signals:
        begun = live.begin(
            repo,
            settings,
            name=options.name or names.from_command(command),
            description=options.description,
            command=command,
            parameters=options.parameters,
            allow_secrets=options.allow_secrets,
        )
        try:
            ran = _execute(begun, command, options, signals)
        except BaseException:
            live.cancel(begun)
            raise
        return _settle(begun, ran, signals, options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """How the command ended, how long it took, and what it left as results beside EXPERIMENTER_RESULTS_FILE."""

    ending: Ending
    wall_s: float
    results: Sequence[live.Source]


def _execute(begun: live.Live, command: Sequence[str], options: Options, signals: Signals) -> _Ran:
    """Run the command to its end, its output passed on and logged."""
    variables, warnings = environment.of_parameters(options.parameters)
    for warning in warnings:
        _log.warning("%s", warning)
    begun.entry.save_parameters(options.parameters)
    file = ResultsFile.before(options.results_file) if options.results_file else None
    markers: list[bytes] = []
    lines = MarkerLines(markers.append)
    log = Log(begun.entry.state.log(begun.entry.id))
    started_s = time.monotonic()
    with Relay(log, on_stdout=lines.feed) as relay:
        env = _environment(begun, variables)
        child = signals.start(command, env=env, stdout=relay.stdout, stderr=relay.stderr)
        try:
            begun.entry.save_command(child.identity)
            relay.run(wake_fd=signals.wake_fd, has_ended=child.has_ended)
        except BaseException:
            child.kill_tree()
            raise
        signals.hold()
    lines.finish()
    for error in relay.failures:
        _log.warning("output of the command was lost: %s", error.strerror)
    if log.failure:
        _log.warning("the log %s is cut short: %s", log.path, log.failure.strerror)
    assert child.ending
    wall_s = time.monotonic() - started_s
    found = [live.Source("a result on stdout", partial(bytes, marker)) for marker in markers]
    if file:
        found.insert(0, live.Source(visible(str(file.path)), file.read))
    return _Ran(ending=child.ending, wall_s=wall_s, results=found)


def _settle(begun: live.Live, ran: _Ran, signals: Signals, options: Options) -> Outcome:
    """Store the finished record in the tag, or remove the tag."""
    ending, status = ran.ending, _status(ran.ending, signals)
    results = live.collect_results(begun, *ran.results)
    if options.keep or status == "completed":
        usage = {"cpu_s": round(ending.cpu_s, 3), "max_rss_bytes": ending.max_rss_bytes}
        resources = {"wall_s": round(ran.wall_s, 3), **usage}
        live.complete(
            begun,
            status=status,
            results=results,
            results_file=options.results_file,
            exit_code=ending.exit_code,
            resources=resources,
        )
        _report_kept(begun, status, results)
    else:
        live.remove(begun, status=status, exit_code=ending.exit_code)
        _report_removed(begun, status, ending)
    return Outcome(exit_code=ending.exit_code, ended_by=signals.ended_by(ending))


def _environment(begun: live.Live, parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the command: ours, with what it has to know of its experiment."""
    experiment, entry = begun.experiment, begun.entry
    identity = {
        environment.TAG: experiment.tag,
        environment.ID: experiment.id,
        environment.NAME: experiment.name,
        environment.COMMIT: experiment.commit,
        environment.PARAMS_FILE: str(entry.parameters),
        environment.RESULTS_FILE: str(entry.results),
    }
    return {**environment.without_ours(os.environ), **parameters, **identity}


def _status(ending: Ending, signals: Signals) -> str:
    if signals.interrupted:
        return "interrupted"
    if ending.exit_code == 0:
        return "completed"
    return "stopped" if signals.was_asked_to_end else "failed"


def _report_kept(begun: live.Live, status: str, results: Mapping[str, Any]) -> None:
    how = "" if status == "completed" else f" as {status}"
    what = "" if results else ", without results"
    _log.info("recorded %s (%s)%s%s", begun.experiment.tag, begun.experiment.id, how, what)


def _report_removed(begun: live.Live, status: str, ending: Ending) -> None:
    how = f"failed with status {ending.exit_code}" if status == "failed" else f"was {status}"
    log = begun.entry.state.log(begun.entry.id)
    with contextlib.suppress(FileNotFoundError):  # the folder we are in may be gone
        log = Path(os.path.relpath(log))
    _log.info("the command %s; %s was removed, its log is %s", how, begun.experiment.tag, log)
