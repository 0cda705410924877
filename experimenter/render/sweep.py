"""A sweep while it goes on, for people: its cells, how they ended, how far it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from experimenter.cells import Ended, Progress
from experimenter.keys import values_of
from experimenter.names import id_of
from experimenter.places import at
from experimenter.render.cells import cell, result_cell
from experimenter.render.running import duration
from experimenter.storable import dotted, public
from experimenter.store import Experiment
from experimenter.text import columns_of, visible

_BAR = 20  # columns


def cell_text(parameters: Mapping[str, Any], axes: Sequence[tuple[str, ...]]) -> str:
    """Return the parameters in which cells differ: `lr=0.1 model.depth=3`."""
    words = []
    for path in axes:
        value = at(public(parameters), path)
        words.append(f"{visible('.'.join(path))}={'null' if value is None else cell(value)}")
    return " ".join(words) or "no parameters"


def ended_line(ended: Ended, progress: Progress, axes: Sequence[tuple[str, ...]]) -> str:
    """Return how a cell ended, with its results."""
    how = "was run elsewhere, or before" if ended.is_good and not ended.tag else ended.fate
    if ended.fate == "failed" and ended.exit_code is not None:
        how = f"failed with status {ended.exit_code}"
    which = f" ({id_of(ended.tag)})" if ended.tag else ""
    results = " ".join(f"{visible(key)}={result_cell(value)}" for key, value in dotted(ended.results).items())
    said = results or visible(ended.message)
    place = f"{progress.done + progress.failed}/{progress.total}"
    return f"[{place}] {cell_text(ended.job.parameters, axes)}: {how}{which}{f': {said}' if said else ''}"


def best_line(best: Experiment, key: str, axes: Sequence[tuple[str, ...]]) -> str:
    """Return the best experiment, and a line that runs it again."""
    value = result_cell(values_of(best).get(f"results.{key.removeprefix('results.')}"))
    which = cell_text(best.parameters, axes)
    return f"the best is {best.id}: {visible(key)}={value} with {which}; again: experimenter rerun {best.id}"


def end_line(progress: Progress, *, is_study: bool = False) -> str:
    """Return how a sweep ended; one that `is_study` does not run again what has failed."""
    left = progress.total - progress.done - progress.failed
    counts = [f"{progress.done:,} of {progress.total:,} cells done"]
    counts += [f"{progress.failed:,} failed"] if progress.failed else []
    counts += [f"{left:,} not run"] if left > 0 else []
    hint = "" if progress.is_good else "; the same line goes on with it"
    if is_study and left <= 0:
        hint = "; more --trials go on with it" if progress.failed else ""
    return f"sweep {progress.sweep}: {', '.join(counts)}{hint}"


def columns_for(found: Sequence[Experiment], axes: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the keys of the table at the end: the parameters of the grid, then all results."""
    rows = [dotted({"results": one.results, "parameters": one.parameters}) for one in found]
    keys = list(dict.fromkeys(key for values in rows for key in values))
    starts = [".".join(("parameters", *path)) for path in axes]
    near = [(f"{start}.", key) for start in starts for key in keys]
    chosen = dict.fromkeys(key for start, key in near if f"{key}.".startswith(start) or start.startswith(f"{key}."))
    return ["id", *chosen, *(key for key in keys if key.startswith("results."))]


def bar(progress: Progress, width: int) -> str:
    """Return how far a sweep is, as a line that fits `width`."""
    ended = progress.done + progress.failed
    filled = _BAR * ended // max(1, progress.total)
    left = f", {duration(progress.left_s)} left" if progress.left_s is not None and ended < progress.total else ""
    left = ", stopping" if progress.is_ending else left
    failed = f", {progress.failed} failed" if progress.failed else ""
    elsewhere = f", {progress.elsewhere} elsewhere" if progress.elsewhere else ""
    counts = f"{progress.done}/{progress.total} done{failed}, {progress.running} running{elsewhere}{left}"
    return cut(f"[{'#' * filled}{'.' * (_BAR - filled)}] {counts}", width)


def cut(line: str, width: int) -> str:
    """Return a line without what does not fit `width`."""
    width -= 3  # for the ^C that a terminal echoes behind it
    if columns_of(line) <= width:
        return line
    kept = line
    while kept and columns_of(kept) >= width:
        kept = kept[:-1]
    return kept + "…"
