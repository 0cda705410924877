"""The one door to processes: starts the command, says how it ended, and tells processes apart."""

from experimenter.process.looking import (
    Identity,
    Sighting,
    Usage,
    all_processes,
    any_has_variable,
    any_works_in,
    boot_id,
    cores,
    has_variable,
    host,
    look_at,
    pid_namespace,
    pids,
    sees_all_processes,
    usage_of,
)
from experimenter.process.starting import Child, Ending, adopt_orphans, answer_of, page, usage_of_ourselves

__all__ = [
    "Child",
    "Ending",
    "Identity",
    "Sighting",
    "Usage",
    "adopt_orphans",
    "all_processes",
    "answer_of",
    "any_has_variable",
    "any_works_in",
    "boot_id",
    "cores",
    "has_variable",
    "host",
    "look_at",
    "page",
    "pid_namespace",
    "pids",
    "sees_all_processes",
    "usage_of",
    "usage_of_ourselves",
]
