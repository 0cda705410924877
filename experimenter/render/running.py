"""What runs now, as a table for people."""

from collections.abc import Sequence
from datetime import datetime

from experimenter.layout import Column, Paint, laid_out, unpainted
from experimenter.names import name_of
from experimenter.running import Running
from experimenter.text import readable_size, visible
from experimenter.worker import Worker

_HEADINGS = ("ID", "NAME", "STATE", "PID", "STARTED", "ELAPSED", "CPU", "MEMORY", "HOST", "COMMAND")
_SWEEP_HEADINGS = ("SWEEP", "DONE", "FAILED", "CELLS", "PID", "HOST", "COMMAND")
_NUMBERS = ("DONE", "FAILED", "CELLS", "PID", "ELAPSED", "CPU", "MEMORY")
_ELASTIC = ("NAME", "HOST", "COMMAND")


def table_of_running(experiments: Sequence[Running], *, width: int | None, paint: Paint = unpainted) -> list[str]:
    """Return lines, the first a heading, a line for each running experiment; cut to `width` where it is given."""
    rows = [_cells(one) for one in experiments]
    if any(one.job_id for one in experiments):
        rows = [(*row[:3], _job_cell(one), *row[3:]) for row, one in zip(rows, experiments, strict=True)]
        return _table([*_HEADINGS[:3], "JOB", *_HEADINGS[3:]], rows, width, paint)
    return _table(_HEADINGS, rows, width, paint)


def _job_cell(one: Running) -> str:
    why = f" ({one.job_reason})" if one.job_reason else ""
    return visible(f"{one.job_id} {one.job_state}{why}") if one.job_id else "-"


def table_of_sweeps(workers: Sequence[Worker], *, width: int | None, paint: Paint = unpainted) -> list[str]:
    """Return lines, the first a heading, a line for each process that works on a sweep; nothing if there is none."""
    rows = [
        (
            worker.sweep,
            str(worker.done),
            str(worker.failed),
            str(worker.total),
            str(worker.process.pid),
            worker.host,
            " ".join(worker.words),
        )
        for worker in workers
    ]
    return _table(_SWEEP_HEADINGS, [tuple(map(visible, row)) for row in rows], width, paint) if rows else []


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, paint: Paint) -> list[str]:
    columns = [
        Column(
            heading=heading,
            cells=[row[place] for row in rows],
            is_right=heading in _NUMBERS,
            is_rigid=heading not in _ELASTIC,
        )
        for place, heading in enumerate(headings)
    ]
    lines, _ = laid_out(columns, width=width, paint=paint)
    return lines


def _cells(running: Running) -> tuple[str, ...]:
    pid_file = running.entry.pid_file
    cells = (
        running.entry.id,
        name_of(running.entry.tag),
        running.state,
        str(running.pid or "-"),
        _moment(running.entry.started),
        duration(running.elapsed_s),
        "-" if running.cpu_percent is None else f"{running.cpu_percent:.0f}%",
        "-" if running.memory_bytes is None else readable_size(running.memory_bytes),
        pid_file.host,
        " ".join(pid_file.words),
    )
    return tuple(map(visible, cells))


def _moment(started: datetime) -> str:
    """Return a local time as ps(1) does: the hour if it is of today, else the day."""
    local = started.astimezone()
    return local.strftime("%H:%M" if local.date() == datetime.now().astimezone().date() else "%b %d")


def duration(elapsed_s: float) -> str:
    """Return seconds as people say them: `12s`, `3m 20s`, `5h 07m`, `12d 3h`."""
    minutes, seconds = divmod(max(0, int(elapsed_s)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {seconds:02}s" if minutes else f"{seconds}s"
