import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experimenter.errors import BadResults, NotStorable, StateUnwritable
from experimenter.results import ResultsFile, merge_into, parse
from experimenter.storable import storable


class TestResultsFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "metrics.json"

    def left_from_earlier(self, path: Path) -> None:
        path.write_text("{}")
        os.utime(path, (1e9, 1e9))

    def test_left_from_earlier_is_not_taken(self, path: Path) -> None:
        self.left_from_earlier(path)
        file = ResultsFile.before(path)

        path.read_bytes()

        assert file.read() is None

    @pytest.mark.parametrize("text", ["{}", "", '{"a": 1}'])
    def test_written_again_is_taken_even_with_the_same_text(self, path: Path, text: str) -> None:
        self.left_from_earlier(path)
        file = ResultsFile.before(path)

        path.write_text(text)

        assert file.read() == text.encode()

    def test_put_in_place_of_the_old_one_is_taken(self, path: Path) -> None:
        self.left_from_earlier(path)
        file = ResultsFile.before(path)
        self.left_from_earlier(path.with_name("other"))

        path.with_name("other").replace(path)

        assert file.read() == b"{}"

    def test_new_is_taken(self, path: Path) -> None:
        file = ResultsFile.before(path)

        path.write_text("{}")

        assert file.read() == b"{}"

    @pytest.mark.parametrize("existed", [True, False])
    def test_deleted_or_never_there_is_nothing(self, path: Path, existed: bool) -> None:
        if existed:
            self.left_from_earlier(path)
        file = ResultsFile.before(path)

        path.unlink(missing_ok=True)

        assert file.read() is None

    def test_unreadable_is_named(self, path: Path) -> None:
        file = ResultsFile.before(path)
        path.mkdir()

        with pytest.raises(BadResults, match=r"cannot read .*metrics\.json: it is no file"):
            file.read()


class TestParse:
    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            (b'{"a": {"b": [1, null]}}', {"a": {"b": [1, None]}}),
            (b' {"a": NaN, "b": [-Infinity]}\r\n', {"a": "NaN", "b": ["-Infinity"]}),
            ('{"größe": "🎉"}'.encode(), {"größe": "🎉"}),
            (b"{}", {}),
        ],
    )
    def test_gives_the_object(self, raw: bytes, expected: dict[str, Any]) -> None:
        assert parse(raw, source="x") == expected

    @pytest.mark.parametrize(
        ("raw", "said"),
        [
            (b"[1]", "the file is not a JSON object"),
            (b"null", "the file is not a JSON object"),
            (b"1", "the file is not a JSON object"),
            (b"", "the file is not JSON: "),
            (b'{"a": 1', "the file is not JSON: "),
            (b"{} {}", "the file is not JSON: "),
            (b"{'a': 1}", "the file is not JSON: "),
            (b'{"a": ' + b"9" * 5000 + b"}", "the file is not JSON: "),
            (b'{"a": ' + b"[" * 99999, "the file is not JSON: "),
            (b'{"a": "\xe9"}', "the file is not UTF-8, at byte 7"),
        ],
    )
    def test_refuses_the_rest_and_keeps_its_text(self, raw: bytes, said: str) -> None:
        with pytest.raises(BadResults) as refused:
            parse(raw, source="the file")

        assert refused.value.message.startswith(said)
        assert refused.value.message.isprintable()
        assert refused.value.raw == raw

    @pytest.mark.parametrize("depth", [150, 250, 900])
    def test_gives_only_what_a_record_can_hold(self, depth: int) -> None:
        """Or a run would lose its experiment over results that it read and cannot store."""
        raw = b'{"a": ' + b"[" * depth + b"]" * depth + b"}"

        try:
            found = parse(raw, source="the file")
        except BadResults as refused:
            assert refused.raw == raw
        else:
            assert storable(found) == found


class TestMergeInto:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "results.json"

    def test_later_keys_win_at_the_top_level(self, path: Path) -> None:
        merge_into(path, above={"a": {"b": 1}, "c": 1})
        merge_into(path, above={"a": {"d": 2}, "größe": "\x9b\udce9"})

        assert json.loads(path.read_bytes()) == {"a": {"d": 2}, "c": 1, "größe": r'"\302\233\351"'}

    def test_what_is_there_wins_deeply_over_what_comes_below(self, path: Path) -> None:
        merge_into(path, above={"a": {"b": 1}, "c": 1})
        merge_into(path, below={"a": {"b": 2, "d": 2}, "e": 3})

        assert json.loads(path.read_bytes()) == {"a": {"b": 1, "d": 2}, "c": 1, "e": 3}

    def test_an_empty_file_holds_nothing(self, path: Path) -> None:
        path.write_text("\n")

        merge_into(path, above={"a": 1})

        assert json.loads(path.read_bytes()) == {"a": 1}

    def test_nothing_of_a_text_that_is_no_object_is_lost(self, path: Path) -> None:
        path.write_text("half a li")

        with pytest.raises(BadResults) as refused:
            merge_into(path, above={"a": 1})

        assert refused.value.raw == b"half a li" == path.read_bytes()

    @pytest.mark.parametrize("bad", [object(), 10**5000, b"x"], ids=["object", "huge", "bytes"])
    def test_a_value_that_cannot_be_stored_loses_no_earlier_result(self, path: Path, bad: object) -> None:
        merge_into(path, above={"a": 1})

        with pytest.raises(NotStorable, match=r"^b"):
            merge_into(path, above={"a": 2, "b": bad})

        assert json.loads(path.read_bytes()) == {"a": 1}

    def test_a_file_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StateUnwritable, match=r"cannot write .*/no/results\.json: No such file or directory"):
            merge_into(tmp_path / "no/results.json", above={})

    def test_many_processes_at_once_lose_nothing(self, path: Path) -> None:
        script = """
            import sys, pathlib, experimenter.results as results
            for number in range(20):
                results.merge_into(pathlib.Path(sys.argv[1]), above={f"{sys.argv[2]}-{number}": [number] * 50})
        """
        words = [sys.executable, "-c", f"if True:{script}", str(path)]

        workers = [subprocess.Popen([*words, f"{worker}"]) for worker in range(8)]
        statuses = [worker.wait() for worker in workers]

        assert statuses == [0] * 8
        assert set(json.loads(path.read_bytes())) == {
            f"{worker}-{number}" for worker in range(8) for number in range(20)
        }

    def test_writes_utf8_whatever_the_locale(self, path: Path) -> None:
        script = "import sys, pathlib, experimenter.results as r; r.merge_into(pathlib.Path(sys.argv[1]), above={'a': '\\xfc'})"
        latin = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

        done = subprocess.run([sys.executable, "-c", script, str(path)], env=latin, capture_output=True, text=True)

        assert done.returncode == 0, done.stderr
        assert json.loads(path.read_bytes()) == {"a": "ü"}
