"""What differs between experiments, for people."""

import itertools
import math
from typing import Any

from experimenter.compare import Comparison, Pairs
from experimenter.layout import Column, Paint, laid_out, rounded, unpainted
from experimenter.query import as_number
from experimenter.render.cells import table_cell
from experimenter.text import visible

_CONTEXT = 12  # characters of what two long texts have in common that are shown


def differences(found: Comparison, *, width: int | None, paint: Paint = unpainted) -> list[str]:
    """Return lines that show what differs between experiments, up to where their code begins."""
    lines = [f"a  {found.a.id}  {found.a.tag}"]
    lines.append(f"b  {found.b.id}  {found.b.tag}" if found.b else "b  the work tree")
    for heading, pairs in (("PARAMETER", found.parameters), ("RESULT", found.results)):
        if pairs:
            lines += ["", *comparison(pairs, (heading, "a", "b"), width=width, paint=paint)]
    return [*lines, ""] if any(found.code.values()) else [*lines, "", "the code is the same"]


def comparison(
    pairs: Pairs, headings: tuple[str, str, str], *, width: int | None, paint: Paint = unpainted
) -> list[str]:
    """Return lines, the first with the `headings`, for keys with two values each, and by how much they differ."""
    columns = [Column(heading=headings[0], cells=list(map(visible, pairs)))]
    cells = [_apart(*pair) for pair in pairs.values()]
    for place, heading in enumerate(headings[1:]):
        columns.append(Column(heading=heading, cells=[both[place] for both in cells]))
    differences = [_difference(*pair) for pair in pairs.values()]
    if any(differences):
        columns.append(Column(heading="b - a", cells=differences, is_rigid=True, rank=(0,)))
    return laid_out(columns, width=width, paint=paint)[0]


def _apart(first: Any, second: Any) -> tuple[str, str]:
    """Return two values as cells in which they differ, if they do, also where these are cut."""
    before, after = as_number(first), as_number(second)
    if before is not None and after is not None:
        one, other = rounded([before, after])
        return one, other
    one, other = table_cell(first), table_cell(second)
    common = sum(1 for _ in itertools.takewhile(lambda both: both[0] == both[1], zip(one, other, strict=False)))
    if one != other and common > 2 * _CONTEXT:
        one, other = ("…" + text[common - _CONTEXT :] for text in (one, other))
    return one, other


def _difference(first: Any, second: Any) -> str:
    """Return by how much two numbers differ, in itself and in per cent of the first."""
    before, after = as_number(first), as_number(second)
    if before == after or before is None or after is None or not (math.isfinite(before) and math.isfinite(after)):
        return ""
    between = _as_float(after - before)  # of integers first: it may be little between large ones
    if not math.isfinite(between):
        return ""
    percent = 100 * (between / abs(_as_float(before))) if before else math.inf
    return f"{between:+.4g}{f' ({percent:+.3g}%)' if math.isfinite(percent) else ''}"


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # of an integer
        return math.inf
