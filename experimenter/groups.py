"""Groups of experiments that agree in some keys, with the spread of each numeric result in them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from statistics import stdev
from typing import Any

from experimenter.keys import identity_of, values_of
from experimenter.query import as_number
from experimenter.selection import rank
from experimenter.storable import dotted
from experimenter.store import Experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How the values of one result are spread; `std` is the sample's, and nothing for a single value."""

    mean: float
    std: float | None
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of one or more numbers; what one of them makes undefined is NaN."""
        is_single = len(values) == 1
        if not all(map(isfinite, values)):
            low, high = (nan, nan) if any(value != value for value in values) else (min(values), max(values))
            return cls(mean=sum(map(float, values)) / len(values), std=None if is_single else nan, min=low, max=high)
        mean = math.fsum(value / len(values) for value in values)  # which stays finite
        return cls(mean=mean, std=None if is_single else _deviation(values), min=min(values), max=max(values))

    def to_json(self) -> dict[str, Any]:
        """Return an object with `mean`, `std` if there is one, `min` and `max`."""
        values = {"mean": self.mean, "std": self.std, "min": self.min, "max": self.max}
        return {key: value for key, value in values.items() if value is not None}


def _deviation(values: Sequence[float]) -> float:
    try:
        return stdev(values)
    except OverflowError:  # it is more than a float can be
        return math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Experiments whose records hold the same under some keys: what they hold, how many they are, their results."""

    values: Mapping[str, Any]
    n: int
    results: Mapping[str, Spread]

    def to_json(self) -> dict[str, Any]:
        """Return an element of the array that `list --group-by --json` prints."""
        results = {key: spread.to_json() for key, spread in self.results.items()}
        return {"group": dict(self.values), "n": self.n, "results": results}


def groups_of(experiments: Sequence[Experiment], keys: Sequence[str], *, is_sorted: bool) -> list[Group]:
    """Return the groups of experiments that agree in `keys`; a missing key is None.

    They come in the order of their first experiments if these are sorted, else of their values.
    """
    found: dict[tuple[str, ...], tuple[dict[str, Any], list[Experiment]]] = {}
    for experiment in experiments:
        values = values_of(experiment)
        group = {key: values.get(key) for key in keys}
        found.setdefault(tuple(map(identity_of, group.values())), (group, []))[1].append(experiment)
    groups = [Group(values=group, n=len(members), results=_spreads(members)) for group, members in found.values()]
    if is_sorted:
        return groups
    last = (math.inf, 0)  # behind all ranks
    return sorted(groups, key=lambda group: [rank(value) or last for value in group.values.values()])


def _spreads(experiments: Sequence[Experiment]) -> dict[str, Spread]:
    numbers: dict[str, list[float]] = {}
    for experiment in experiments:
        for key, value in dotted(experiment.record.results).items():
            if (number := as_number(value)) is not None:
                numbers.setdefault(key, []).append(number)
    return {key: Spread.of(values) for key, values in numbers.items()}
