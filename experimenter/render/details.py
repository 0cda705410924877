"""Everything of one experiment, for people."""

from collections.abc import Mapping
from typing import Any

from experimenter.layout import GAP
from experimenter.render.cells import lines_of
from experimenter.storable import dotted
from experimenter.store import Experiment
from experimenter.text import visible

_CHANGES = ("added", "modified", "deleted")


def details(experiment: Experiment) -> list[str]:
    """Return lines that show everything of one experiment, and how to get its code back."""
    body = dict(experiment.record.body)
    parts = {name: body.pop(name, {}) for name in ("parameters", "results", "code", "drift")}
    changed = parts["code"].get("changed")
    code = {key: value for key, value in parts["code"].items() if key != "changed"} | {"commit": experiment.commit}
    first = {"tag": experiment.tag, "id": experiment.id}
    rest = {key: value for key, value in dotted(body).items() if key not in ("schema", *first)}
    lines = lines_of(first | rest | dotted(code, prefix="code."))
    for name in ("parameters", "results"):
        if parts[name]:
            lines += ["", f"{name}:", *(f"{GAP}{line}" for line in lines_of(dotted(parts[name])))]
    for what, lists in (
        ("changed since the commit that it is based on:", changed),
        ("changed while it ran:", parts["drift"]),
    ):
        if below := changes(what, lists):
            lines += ["", *below]
    return [*lines, "", "its code:", f"{GAP}experimenter checkout {experiment.id} DIR"]


def changes(heading: str, lists: Any) -> list[str]:
    """Return lines with the paths of a record's lists `added`, `modified` and `deleted`; none where all are empty."""
    if not isinstance(lists, Mapping):
        return []
    paths = [(kind, path) for kind in _CHANGES if isinstance(lists.get(kind), list) for path in lists[kind]]
    shown = [f"{GAP}{kind:<8}{GAP}{visible(str(path))}" for kind, path in paths]
    if lists.get("truncated"):
        shown.append(f"{GAP}and {visible(str(lists['truncated']))} more")
    return [heading, *shown] if shown else []
