"""Records every run of a program with the exact code that ran, as an annotated git tag."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Experiment", "ExperimentData", "ExperimentLogger", "ExperimenterError", "parameters"]

if TYPE_CHECKING:
    from experimenter.errors import ExperimenterError
    from experimenter.explore import ExperimentData
    from experimenter.logger import ExperimentLogger, parameters
    from experimenter.store import Experiment

_HOMES = {
    "ExperimenterError": "experimenter.errors",
    "Experiment": "experimenter.store",
    "ExperimentData": "experimenter.explore",
    "ExperimentLogger": "experimenter.logger",
    "parameters": "experimenter.logger",
}


def __getattr__(name: str) -> Any:
    """Load the public names on first use: the command line pays only for what a command needs (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
