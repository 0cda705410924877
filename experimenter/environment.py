"""What a command finds in its environment: who it is, its parameters, and where its results go."""

import os
import re
import threading
from collections.abc import Mapping
from typing import Any

from experimenter.storable import dumps, flattened
from experimenter.text import visible

TAG = "EXPERIMENTER_TAG"
ID = "EXPERIMENTER_ID"
NAME = "EXPERIMENTER_NAME"
COMMIT = "EXPERIMENTER_COMMIT"
PARAMS = "EXPERIMENTER_PARAMS"
PARAMS_FILE = "EXPERIMENTER_PARAMS_FILE"
RESULTS_FILE = "EXPERIMENTER_RESULTS_FILE"
SWEEP = "EXPERIMENTER_SWEEP"
_ALL = {TAG, ID, NAME, COMMIT, PARAMS, PARAMS_FILE, RESULTS_FILE, SWEEP}
_PARAM = "EXPERIMENTER_PARAM_"
# What TAG held at first, then what `enter` put there in its place, with the thread that is in it.
_named: list[tuple[int, str]] = []

_LARGEST_VARIABLE_BYTES = 100 * 1024  # Linux allows 128 KiB for one (MAX_ARG_STRLEN, execve(2))
_LARGEST_VARIABLES_BYTES = 512 * 1024  # of all together; the limit is a quarter of the stack's, 2 MiB as a rule


def without_ours(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what an outer run put there for the command that we are."""
    return {key: value for key, value in environ.items() if key not in _ALL and not key.startswith(_PARAM)}


def enter(tag: str) -> None:
    """Name an experiment that this thread is, to what it starts from now on: that is part of it."""
    if not _named:
        _named.append((0, os.environ.get(TAG, "")))
    _named.append((threading.get_ident(), tag))
    os.environ[TAG] = tag


def leave(tag: str) -> None:
    """Take that back: one that is still open, or the run that we are in ourselves, has its place again."""
    _named[:] = [one for one in _named if one[1] != tag]
    os.environ[TAG] = _named[-1][1]
    if not _named[-1][1]:
        del os.environ[TAG]
    if len(_named) == 1:
        _named.clear()


def outer_tag() -> str:
    """Return the tag of what we are in: the block that this thread is in, else the run; empty outside of both."""
    ours = (0, threading.get_ident())
    return next((tag for thread, tag in reversed(_named) if thread in ours), os.environ.get(TAG, ""))


def of_parameters(parameters: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return the variables `EXPERIMENTER_PARAM_<KEY>`, and `EXPERIMENTER_PARAMS`, that hold storable `parameters`.

    Beside them comes a sentence for each parameter that gets no variable of its own, and why.
    """
    keys_by_variable: dict[str, list[str]] = {}
    values: dict[str, str] = {}
    warnings = []
    for path, value in flattened(parameters):
        if isinstance(value, dict | list):
            continue
        variable = _PARAM + "__".join(map(_variable_part, path))
        keys_by_variable.setdefault(variable, []).append(visible(".".join(path)))
        values[variable] = _variable_value(value)
    for variable, keys in keys_by_variable.items():
        if len(keys) > 1:
            del values[variable]
            warnings.append(f"the parameters {' and '.join(keys)} would share {variable}; neither gets a variable")
        elif "\0" in values[variable] or len(os.fsencode(values[variable])) > _LARGEST_VARIABLE_BYTES:
            del values[variable]
            warnings.append(f"the parameter {keys[0]} does not fit into a variable; the command finds it in the file")
    if sum(len(name) + len(os.fsencode(value)) for name, value in values.items()) > _LARGEST_VARIABLES_BYTES:
        values = {}
        warnings.append("the parameters do not fit into the environment; the command finds them in the file")
    document = dumps(parameters)
    if len(document.encode()) <= _LARGEST_VARIABLE_BYTES:
        values[PARAMS] = document
    return values, warnings


def _variable_part(key: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", key.upper())


def _variable_value(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
