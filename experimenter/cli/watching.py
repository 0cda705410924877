"""Shows how a sweep goes on: as a bar on a terminal, elsewhere as a line for each cell that has ended."""

import contextlib
import logging
from collections.abc import Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

import click

from experimenter.cli.main import speak
from experimenter.text import counted

if TYPE_CHECKING:
    from experimenter.cells import Ended, Plan, Progress
    from experimenter.detach import Background

_TAIL_LINES = 5  # of the log of a cell that failed


def _print(text: str, *, end: str = "\n") -> None:
    """Print on stderr; that nobody reads it any more does not end a sweep."""
    with contextlib.suppress(OSError):
        click.echo(text + end, nl=False, err=True)


class Lines:
    """Prints a line for each cell that has ended, and the last lines of those that failed."""

    pause_s: float | None = None

    def __init__(self, repo: Any, plan: "Plan") -> None:
        self._repo = repo
        self._plan = plan
        self._is_waiting = False

    def began(self, progress: "Progress") -> None:
        """Say which sweep it is."""
        earlier = f", {progress.earlier} {'ended' if progress.failed else 'done'} already" if progress.earlier else ""
        _print(f"Note: sweep {progress.sweep}: {counted(progress.total, 'cell')}{earlier}")

    def ended(self, ended: "Ended", progress: "Progress") -> None:
        """Print how a cell ended."""
        for line in self.lines(ended, progress):
            _print(line)

    def warned(self, warning: str) -> None:
        """Print a warning of a cell's."""
        logging.getLogger("experimenter").warning("%s", warning)

    def goes_on(self, progress: "Progress") -> None:
        """Say once that only cells are left that others run."""
        if progress.elsewhere and not (progress.running or progress.is_ending or self._is_waiting):
            self._is_waiting = True
            _print(f"Note: waits for {counted(progress.elsewhere, 'cell')} elsewhere; 'experimenter ps' shows where")

    def lines(self, ended: "Ended", progress: "Progress") -> Sequence[str]:
        """Return what there is to say of a cell that has ended."""
        from experimenter.logs import tail
        from experimenter.render.sweep import ended_line

        shown = ended_line(ended, progress, self._plan.axes)
        last = tail(self._repo, ended.tag, _TAIL_LINES) if ended.tag and not ended.is_good else []
        return [shown, *(f"  {line}" for line in last)]


class Bar(Lines):
    """Draws a bar, and below it what ended last; what failed stays above it."""

    pause_s = 1.0

    def __init__(self, repo: Any, plan: "Plan") -> None:
        super().__init__(repo, plan)
        self._last = ""
        self._drawn = 0

    def ended(self, ended: "Ended", progress: "Progress") -> None:
        """Print what failed above the bar, and keep what was good for the line below it."""
        lines = self.lines(ended, progress)
        if ended.is_good:
            self._last = lines[0]
        else:
            self._clear()
            for line in lines:
                _print(line)

    def warned(self, warning: str) -> None:
        """Print a warning above the bar."""
        self._clear()
        super().warned(warning)

    def goes_on(self, progress: "Progress") -> None:
        """Draw the bar, or clear it when all is done."""
        from experimenter.render.sweep import bar, cut

        self._clear()
        if not (progress.running or progress.elsewhere):
            return
        width = get_terminal_size().columns
        lines = [bar(progress, width), *([cut(self._last, width)] if self._last else [])]
        _print("\n".join(lines), end="")
        self._drawn = len(lines)

    def _clear(self) -> None:
        """Take away what was drawn."""
        if self._drawn:
            _print("\r\x1b[K" + "\x1b[A\x1b[K" * (self._drawn - 1), end="")
            self._drawn = 0


class InBackground(Lines):
    """Prints into a log of the sweep's own, as soon as the foreground knows the sweep's id."""

    def __init__(self, repo: Any, plan: "Plan", background: "Background") -> None:
        super().__init__(repo, plan)
        self._background = background

    def began(self, progress: "Progress") -> None:
        """Let the foreground print the id, and end."""
        from experimenter.state import StateFolder

        with StateFolder.of(self._repo).log(progress.sweep).open("ab") as log:
            self._background.started(progress.sweep, log.fileno())
        speak(only_warnings=True)
        super().began(progress)
