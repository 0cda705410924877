"""The story of a run: the code state is stored and tagged, the command runs, what came of it goes into the tag."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from experimenter import live, names, programs, store
from experimenter.entry import Phase
from experimenter.markers import MarkerLines
from experimenter.plumbing import Repo
from experimenter.process import Ending
from experimenter.relay import Log, Relay, Straight
from experimenter.results import ResultsFile
from experimenter.settings import Settings
from experimenter.signals import AnyChild, Signals
from experimenter.sweeps import Cell
from experimenter.terminal import OwnTerminal
from experimenter.text import visible
from experimenter.workplace import Workplace

_log = logging.getLogger("experimenter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked of a run. An isolated one has `links`, if only an empty list of them.

    They are paths relative to the top of the work tree. `code` is that of a record, for an isolated run on its code
    state, and `rerun_of` the tag that has the record. Afterwards it is pushed to the remote `push_to`, an empty name
    standing for the default one. `shown` is the command without secrets, if these are not known by options. A `cell` of
    a sweep runs on the sweep's `code`. One that was `queued` is run by a `job` on a cluster, of which this is what the
    PID file says.
    """

    name: str | None = None
    description: str | None = None
    parameters: Mapping[str, Any]
    results_file: Path | None = None
    keep: bool = False
    allow_secrets: bool = False
    links: Sequence[str] | None = None
    push_to: str | None = None
    code: Mapping[str, Any] | None = None
    rerun_of: str | None = None
    shown: Sequence[str] | None = None
    cell: Cell | None = None
    queued: store.Experiment | None = None
    job: Mapping[str, str | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: the command's exit status, and the signal that was sent to us and ended it, if one was.

    `experiment` is what was recorded of it, if its tag was kept.
    """

    exit_code: int
    tag: str
    status: str
    ended_by: int | None
    experiment: store.Experiment | None


# Is told, with the experiment's id and the log's descriptor, that a command in the background has started.
OnStart = Callable[[str, int], None]


def run(
    repo: Repo, command: Sequence[str], options: Options, settings: Settings, *, on_start: OnStart | None = None
) -> Outcome:
    """Run `command` on the code state of the work tree, and record in its tag what came of it.

    With `on_start` it runs in the background: its output goes to the log alone. The tag is removed if the command fails
    or is interrupted, unless `options.keep`. Raises CommandNotFound, CommandNotExecutable and every other
    ExperimenterError from before the command's start, with nothing left behind.
    """
    with Signals() as signals:
        begun = _begin(repo, command, options, settings)
        try:
            workplace = Workplace.prepare(
                begun,
                command,
                parameters=options.parameters,
                results_file=options.results_file,
                links=options.links,
                cell=options.cell,
            )
            ran = _execute(begun, command, workplace, signals, on_start)
        except BaseException:
            if signals.has_started:  # what its command has written is not lost: the next of us settles it
                signals.kill_tree()
            elif not _is_requeued(begun, options):
                live.cancel(repo, begun.entry)
            raise
        was_asked, was_pushed = begun.entry.share.is_asked, begun.entry.share.is_pushed
        outcome = _settle(begun, ran, workplace, signals, options)
    if options.push_to is not None or was_asked:
        from experimenter import share  # which most runs can do without

        if outcome.experiment:
            for to in dict.fromkeys([options.push_to or "", *([""] if was_asked else [])]):
                share.push_unasked(repo, outcome.experiment.tag, settings, to=to)
        elif was_pushed:
            share.withdraw(repo, begun.experiment.tag, settings)
    return outcome


def _begin(repo: Repo, command: Sequence[str], options: Options, settings: Settings) -> live.Live:
    promised = {"keep": options.keep, "grace_s": settings.grace_s}
    if options.queued:
        from experimenter import queued

        return queued.take_up(repo, settings, options.queued, **(options.job or {}), **promised)
    if not options.cell:
        programs.warn_of_foreign(repo, command)
    return live.begin(
        repo,
        settings,
        name=options.name or names.from_command(command),
        description=options.description,
        command=options.shown or command,
        parameters=options.parameters,
        allow_secrets=options.allow_secrets,
        rerun_of=options.rerun_of,
        code=options.code,
        cell=options.cell,
        **promised,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """How the command ended, how long it took, and what it left as results beside EXPERIMENTER_RESULTS_FILE."""

    ending: Ending
    wall_s: float
    results: Sequence[live.Source]


def _execute(
    begun: live.Live, command: Sequence[str], workplace: Workplace, signals: Signals, on_start: OnStart | None
) -> _Ran:
    """Run the command to its end, its output passed on and logged."""
    entry = begun.entry
    file = ResultsFile.before(workplace.results_file) if workplace.results_file else None
    lines = MarkerLines()
    log = Log(entry.state.log(entry.id))
    started_s = time.monotonic()
    with _output(log, lines, signals, is_in_background=on_start is not None) as output:
        child = signals.start(
            output.start,
            command,
            tag=entry.tag,
            on_fork=partial(entry.save_command, results_file=file),
            env=workplace.env,
            cwd=workplace.directory,
        )
        if on_start:
            on_start(entry.id, log.descriptor)
        output.run(is_over=partial(_is_over, begun, child, signals), wake_fd=signals.wake_fd, pause_s=signals.pause_s)
        signals.hold()
    for error in output.failures:
        _log.warning("output of the command was lost: %s", error.strerror)
    if log.failure:
        _log.warning("the log %s is cut short: %s", log.path, log.failure.strerror)
    assert child.ending
    wall_s = time.monotonic() - started_s
    lines.finish()
    found = [live.Source(visible(str(file.path)), file.read)] if file else []
    found += live.marker_sources(MarkerLines.in_log(log.path) if on_start else lines)
    return _Ran(ending=child.ending, wall_s=wall_s, results=found)


def _output(
    log: Log, lines: MarkerLines, signals: Signals, *, is_in_background: bool
) -> Straight | OwnTerminal | Relay:
    """Return what carries the command's output: into the log, and to our stdout and stderr."""
    if is_in_background:
        return Straight(log)
    if OwnTerminal.is_possible():
        return OwnTerminal(log, on_output=lines.feed, on_key=signals.typed, on_going_on=signals.forget_typed)
    return Relay(log, on_stdout=lines.feed)


def _settle(begun: live.Live, ran: _Ran, workplace: Workplace, signals: Signals, options: Options) -> Outcome:
    """Store the finished record in the tag, or remove the tag."""
    phase = begun.entry.phase
    begun.entry.mark_settling()
    was_ended = ran.ending.exit_code or signals.was_asked_to_end  # one that saves its state may then exit 0
    if was_ended and phase == Phase.ENDING and _is_requeued(begun, options):
        code, tag = ran.ending.exit_code, begun.entry.tag
        return Outcome(exit_code=code, tag=tag, status="queued", ended_by=None, experiment=None)
    ending, status = ran.ending, _status(ran.ending, signals) if phase == Phase.ENDING else "stopped"
    results = live.collect_results(begun.entry, *ran.results)
    if options.keep or status == "completed" or phase == Phase.STOPPING_KEPT:
        usage = {"cpu_s": round(ending.cpu_s, 3), "max_rss_bytes": ending.max_rss_bytes}
        kept = live.complete(
            begun,
            status=status,
            results=results,
            drift=workplace.drift(begun),
            exit_code=ending.exit_code,
            resources={"wall_s": round(ran.wall_s, 3), **usage},
        )
        _report_kept(begun, status, results)
    else:
        kept = None
        live.remove(begun, status=status, exit_code=ending.exit_code)
        _report_removed(begun, status, ending)
    ended_by = signals.ended_by(ending)
    return Outcome(exit_code=ending.exit_code, tag=begun.entry.tag, status=status, ended_by=ended_by, experiment=kept)


def _is_requeued(begun: live.Live, options: Options) -> bool:
    """Say whether our job is being ended to be run once more, and if so let the experiment wait for that."""
    if not options.job:
        return False
    from experimenter import queued, slurm

    return slurm.is_requeued(partial(queued.put_back, begun))


def _is_over(begun: live.Live, child: AnyChild, signals: Signals) -> bool:
    """Say whether the command has ended, and with it the run.

    While somebody stops it, the run is over only when the whole tree has gone: no git of ours should meet the killing.
    """
    if not child.has_ended():
        return False
    entry = begun.entry
    is_ours = entry.claim(Phase.ENDING) or entry.phase == Phase.ENDING
    return is_ours or signals.tree_is_gone() or not entry.is_attended


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
