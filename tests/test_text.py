import json
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import sh
from experimenter.text import encodable, escaped_json, from_bytes, quoted, readable_size, visible

CONTROLS = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))]
REORDERING = ["\u2028", "\u2029", "\u202e", "\u2066"]


def test_bytes_are_quoted_as_git_quotes_a_path(repo: Path) -> None:
    names = [b"\xff" + bytes([byte]) + b"7" for byte in range(1, 256) if byte != ord("/")]
    for name in names:
        Path(os.fsdecode(name)).touch()

    shown = sh("git ls-files --others").splitlines()

    assert sorted(map(quoted, names)) == sorted(shown)


def test_bytes_that_are_text_stay_text() -> None:
    assert from_bytes("größe.py".encode()) == "größe.py"
    assert from_bytes(b"caf\xe9.py") == r'"caf\351.py"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("größe 🎉 \n", "größe 🎉 \n"),
        (os.fsdecode(b"caf\xe9.py"), r'"caf\351.py"'),
        ("\ud800", r'"\355\240\200"'),
        ("\udce9\ud800", r'"\355\263\251\355\240\200"'),
    ],
)
def test_text_that_utf8_cannot_hold_is_quoted(text: str, expected: str) -> None:
    assert encodable(text) == expected


@given(st.text(alphabet=st.characters(codec=None)))
@settings(deadline=None)
def test_any_text_can_be_made_encodable_and_then_stays(text: str) -> None:
    once = encodable(text)

    once.encode()
    assert encodable(once) == once


@given(st.text(alphabet=st.characters(codec=None) | st.sampled_from(CONTROLS + REORDERING)))
@settings(deadline=None)
@example("\x1b[31mred\x1b[0m\r\nError: forged\x9b2J\x7f")
def test_visible_text_is_one_line_without_anything_that_a_terminal_obeys(text: str) -> None:
    shown = visible(text)

    shown.encode()
    assert not any(unicodedata.category(letter) == "Cc" for letter in shown)
    assert not set(REORDERING) & set(shown)
    assert len(shown.splitlines()) <= 1


def test_visible_text_shows_what_was_there() -> None:
    assert visible("a\x1b[0m\n\t\x7f\x9b\u202e") == r"a\x1b[0m\n\t\x7f\x9b\u202e"
    assert visible(r"größe 日本 🎉 \n") == r"größe 日本 🎉 \n"


@given(st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from(CONTROLS + REORDERING)))
@settings(deadline=None)
def test_an_escaped_json_document_means_the_same_and_has_no_control_character(text: str) -> None:
    document = escaped_json(json.dumps({text: [text]}, ensure_ascii=False))

    assert json.loads(document) == {text: [text]}
    assert visible(document) == document


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (3_670_016, "3.5 MiB"),
        (156 * 1024**2, "156 MiB"),
        (1024**4, "1024 GiB"),
    ],
)
def test_sizes_read_as_people_say_them(size_bytes: int, shown: str) -> None:
    assert readable_size(size_bytes) == shown
