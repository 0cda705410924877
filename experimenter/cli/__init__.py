"""The command line: turns words into calls, and what comes back, errors included, into text and an exit status."""

from experimenter.cli.main import main

__all__ = ["main"]
