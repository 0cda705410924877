"""Where a marker line begins, in output that arrives in pieces and is full of other things."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import EXPERIMENTER, Terminal, detached, experimenter, record, until
from experimenter.markers import MARKER, MarkerLines

MARK = MARKER + b" "


def found_in(pieces: Iterable[bytes]) -> list[bytes]:
    lines = MarkerLines()
    for piece in pieces:
        lines.feed(piece)
    lines.finish()
    return lines.found


class TestMarkerLines:
    @pytest.mark.parametrize(
        ("stream", "expected"),
        [
            (b'EXPERIMENTER_RESULTS {"a": 1}\n', [b'{"a": 1}']),
            (b"before\nEXPERIMENTER_RESULTS {}\r\nafter\n", [b"{}"]),
            (b"EXPERIMENTER_RESULTS {}", [b"{}"]),
            (b"EXPERIMENTER_RESULTS 1\nEXPERIMENTER_RESULTS 2\n\nEXPERIMENTER_RESULTS 3", [b"1", b"2", b"3"]),
            (b"\n\n\nEXPERIMENTER_RESULTS \n", [b""]),
            (b" EXPERIMENTER_RESULTS {}\nxEXPERIMENTER_RESULTS {}\n\x1b[0m-\x1b[1mEXPERIMENTER_RESULTS {}\n", []),
            (b"50%\rEXPERIMENTER_RESULTS 1\n50%\r\rEXPERIMENTER_RESULTS 2\r60%\n", [b"1", b"2"]),
            (b"10%\r50%EXPERIMENTER_RESULTS {}\n", []),
            (b"\x1b[?25hEXPERIMENTER_RESULTS 1\x1b[0m\n\x1b[1;31m\x1b[2KEXPERIMENTER_RESULTS 2\n", [b"1", b"2"]),
            (b"\x1b]0;title\x07EXPERIMENTER_RESULTS 1\n\x1b]8;;http://x\x1b\\EXPERIMENTER_RESULTS 2\n", [b"1", b"2"]),
            (b"\x1b(B\x0f\x07\0EXPERIMENTER_RESULTS {}\n", [b"{}"]),
            (b"EXPERIMENTER_RESULTS\nEXPERIMENTER_RESULTS{}\nexperimenter_results {}\nEXPERIMENTER_RESULT", []),
            (b"EXPERIMENTER_RESULTS EXPERIMENTER_RESULTS \xff\0", [b"EXPERIMENTER_RESULTS \xff\0"]),
            (b"\x1b[1mEXPERIMENTER_RESULTS\x1b[0m {\x1b[32m1\x1b[0m}\n", [b"{1}"]),
            (b"", []),
        ],
    )
    def test_are_those_that_begin_with_the_marker(self, stream: bytes, expected: list[bytes]) -> None:
        assert found_in([stream]) == expected
        assert found_in(bytes([byte]) for byte in stream) == expected

    @given(
        st.lists(
            st.sampled_from(
                [MARK, MARK[:-1], b"EXP", b"\n", b"\r", b"\n\n", b" ", b"{}", b"\x1b[1m", b"\xff", b"x" * 5000]
            )
        ).map(b"".join),
        st.lists(st.integers(0, 200), max_size=12),
    )
    @settings(deadline=None)
    @example(b"x\n" + MARK + b"1\n" + MARK + b"2\n", [2 + len(MARK), 4])
    def test_are_found_wherever_the_stream_is_cut(self, stream: bytes, cuts: list[int]) -> None:
        places = [0, *sorted(cuts), len(stream)]
        pieces = [stream[start:end] for start, end in pairwise(places)]
        pieces.append(stream[sum(map(len, pieces)) :])
        lines = [line.replace(b"\x1b[1m", b"").partition(MARK) for line in re.split(b"[\r\n]", stream)]

        assert found_in(pieces) == [behind for before, marker, behind in lines if marker and not before]

    def test_may_be_of_many_megabytes_in_small_pieces(self) -> None:
        stream = b"noise\n" + MARK + b"x" * 10_000_000 + b"\nnoise"

        (found,) = found_in(stream[place : place + 4096] for place in range(0, len(stream), 4096))

        assert len(found) == 10_000_000

    def test_are_handed_on_as_soon_as_they_are_whole(self) -> None:
        lines = MarkerLines()

        lines.feed(MARK + b"1\n" + MARK + b"2")

        assert lines.found == [b"1"]

    def test_are_found_in_much_other_output(self) -> None:
        noise = [random.Random(seed).randbytes(1_000_000) for seed in range(3)]

        assert found_in([*noise, b"\n" + MARK, b"1\n", *noise, b"x\n" * 500_000, b"\n" * 50_000, MARK]) == [
            b"1",
            b"",
        ]

    @pytest.mark.parametrize("line", [b"\n", b"E\n", b"EXPERIMENTER\n"])
    def test_short_lines_are_passed_over_as_fast_as_others(self, line: bytes) -> None:
        def seconds(line: bytes) -> float:
            stream = line * (1_000_000 // len(line))
            start = time.process_time()
            found_in([stream, stream])
            return time.process_time() - start

        assert seconds(line) < 50 * max(seconds(b"x" * len(line) + b"\n"), 0.001)


class TestMissed:
    def look(self, stream: bytes, size: int) -> MarkerLines:
        lines = MarkerLines()
        for place in range(0, len(stream), size):
            lines.feed(stream[place : place + size])
        lines.finish()
        return lines

    @pytest.mark.parametrize("size", [1, 7, 1_000_000])
    def test_are_markers_behind_something_that_can_be_seen(self, size: int) -> None:
        stream = b'noise\n\x1b[1m[default0]:EXPERIMENTER_RESULTS {"loss": 1}\nx EXPERIMENTER_RESULTS \x1b[1m{}\n'
        lines = self.look(stream + b"print('EXPERIMENTER_RESULTS', x)\nEXPERIMENTER_RESULTS_FILE={}\n", size)

        assert (lines.found, lines.missed) == ([], 2)
        assert lines.first_missed == b'[default0]:EXPERIMENTER_RESULTS {"loss": 1}'

    @pytest.mark.parametrize("between", [b"", b":", b"=", b"\t", b": "])
    def test_are_markers_without_a_space_behind(self, between: bytes) -> None:
        lines = self.look(b"EXPERIMENTER_RESULTS" + between + b"{}\n", 1_000)

        assert (lines.found, lines.missed) == ([], 1)

    @pytest.mark.parametrize("size", [100, 5000, 1_000_000])
    def test_are_quoted_by_the_start_of_their_line_however_long_it_is(self, size: int) -> None:
        lines = self.look(b"start " + b"x" * 50_000 + b"EXPERIMENTER_RESULTS {}\n", size)

        assert (lines.missed, lines.first_missed) == (1, b"start " + b"x" * 54)

    def test_are_not_what_stands_inside_of_results(self) -> None:
        assert self.look(b'EXPERIMENTER_RESULTS {"a": "EXPERIMENTER_RESULTS {}"}\n', 5).missed == 0


LOGS = Path(".git/experimenter/logs")
SPEAKS = r"""
import sys
for step in range(3): print("step", step, end="\r")
print('EXPERIMENTER_RESULTS {"a": 1}')
sys.stdout.write("\x1b[?25l\r 100%\n\x1b[?25h")
print('EXPERIMENTER_RESULTS {"b": 2}')
print('[default0]:EXPERIMENTER_RESULTS {"c": 3}')
"""


@pytest.mark.parametrize("way", ["pipe", "terminal", "background", "sweep", "rescue"])
def test_are_read_by_one_rule_wherever_the_output_goes(way: str, repo: Path, terminal: Callable[..., Terminal]) -> None:
    Path("speaks.py").write_text(SPEAKS)
    command = ["--name", "x", "--", sys.executable, "speaks.py"]
    if way == "terminal":
        screen = terminal(EXPERIMENTER, "run", *command)
        screen.end()
        said = screen.screen.decode()
    elif way == "background":
        id_ = detached(*command)
        experimenter("wait", id_)
        said = experimenter("logs", id_).stdout
    elif way == "rescue":
        said = rescued([*command[:-1], "-c", SPEAKS + "sys.stdout.flush(); sys.stdin.read()"])
    else:
        said = experimenter(*{"pipe": ["run"], "sweep": ["sweep", "-p", "x=1"]}[way], *command).stderr

    assert record()["results"] == {"a": 1, "b": 2}
    assert "Warning: no results are taken from a line with EXPERIMENTER_RESULTS behind something else" in said
    assert '([default0]:EXPERIMENTER_RESULTS {"c": 3}…)' in said


def rescued(command: list[str]) -> str:
    """Run a command until its output is logged, kill it and its wrapper, and return what settling that says."""
    with subprocess.Popen([EXPERIMENTER, "run", *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as run:
        until(lambda: any(b"default0" in log.read_bytes() for log in LOGS.glob("*.log")), what="the output")
        run.kill()
        (shown,) = json.loads(experimenter("ps", "--json").stdout)
        os.kill(shown["pid"], signal.SIGKILL)
    until(lambda: not psutil.pid_exists(shown["pid"]), what="the end of the command")
    return experimenter("ps").stderr
