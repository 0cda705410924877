import csv
import io
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experimenter.compare import differing
from experimenter.groups import groups_of
from experimenter.names import id_of, tag
from experimenter.record import Record
from experimenter.render.comparison import comparison
from experimenter.render.details import details
from experimenter.render.experiments import csv_of, table_of
from experimenter.render.groups import csv_of_groups, table_of_groups
from experimenter.storable import dumps
from experimenter.store import Experiment

AT = datetime(2026, 11, 23, 3, 19, 36, 123456, tzinfo=UTC)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTROLS = "\x1b[2J\x1b]0;title\x07\x9b31m\x7f\r\n\tError: forged\u2028\u202e"


def made(name: str = "baseline", **more: Any) -> Experiment:
    record = Record.begin(name=name, started=AT, command=["python", "train.py"]).with_(**more)
    return Experiment(tag=tag(name, AT), tag_object="", commit=COMMIT, record=record)


def columns(line: str) -> int:
    """Count as a terminal does the few characters that these tests use: 日本 are wide, the accents combine."""
    return sum(2 if letter in "日本🎉" else 0 if letter == "\u0301" else 1 for letter in line)


LONG = made(parameters={"lr": 0.1, "data": "x" * 200}, results={f"metric{number}": number / 7 for number in range(30)})
WIDE = made(parameters={"日本": "日本🎉" * 40, "e\u0301": "e\u0301" * 80}, results={"日" * 60: "本" * 60})
SHORT = made(name="a", parameters={"lr": 0.1}, results={"accuracy": 0.93}, status="completed")


def table(experiments: list[Experiment], *, width: int | None, **options: Any) -> list[str]:
    lines, _ = table_of(experiments, width=width, now=AT, **options)
    return lines


class TestTable:
    @pytest.mark.parametrize(
        ("elapsed", "shown"),
        [({"seconds": 90}, "1m"), ({"hours": 3}, "3h"), ({"days": 40}, "40d"), ({"days": -1}, "0s")],
    )
    def test_says_on_a_terminal_how_long_ago_it_was(self, elapsed: dict[str, int], shown: str) -> None:
        (heading, line), _ = table_of([SHORT], width=120, now=AT + timedelta(**elapsed))

        assert heading.split()[2:4] == ["STARTED", "AGO"]
        assert line[: heading.index("AGO") + 3].split()[-1] == shown

    def test_has_a_heading_and_a_line_for_each_experiment(self) -> None:
        heading, first, second = table([SHORT, made(name="b")], width=None)

        assert heading.split() == ["ID", "NAME", "STARTED", "STATUS", "lr", "accuracy", "CODE"]
        assert [word for word in first.split() if ":" not in word and "-" not in word] == [
            id_of(SHORT.tag), "a", "completed", "0.1", "0.93", COMMIT[:8],
        ]  # fmt: skip
        assert second.split()[:2] == [id_of(tag("b", AT)), "b"]
        assert heading.index("NAME") == first.index("a ", 9) == second.index("b ", 9)

    def test_shows_when_it_started_in_local_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        try:
            assert "2026-11-23 08:49" in table([SHORT], width=None)[1]
        finally:
            monkeypatch.undo()
            time.tzset()

    @pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
    @pytest.mark.parametrize("name", ["a", "n" * 100], ids=len)
    def test_no_line_is_wider_than_the_terminal(self, width: int, name: str) -> None:
        lines = table([SHORT, LONG, WIDE, made(name=name, status="interrupted")], width=width)

        assert [line for line in lines if columns(line) > width] == []
        assert len(lines) == 5

    @pytest.mark.parametrize("odd", [{"status": "日" * 60}, {"started": "x" * 100}])
    def test_no_record_can_make_a_line_wider(self, odd: dict[str, str]) -> None:
        assert max(map(columns, table([SHORT, made(**odd)], width=80))) <= 80

    def test_columns_stand_below_each_other_whatever_is_cut(self) -> None:
        wide = {"data": "日本🎉" * 40, "e\u0301": "e\u0301" * 80}
        lines = table([SHORT, made(parameters=wide), made(parameters={"data": "x" * 200})], width=140)

        assert {columns(line[: line.index(COMMIT[:8])]) for line in lines[1:]} == {columns(lines[0]) - len("CODE")}
        assert all("…" in line for line in lines[2:])

    def test_elsewhere_nothing_is_cut(self) -> None:
        text = "\n".join(table([LONG, WIDE], width=None))

        assert "x" * 200 in text
        assert "日本🎉" * 40 in text
        assert "…" not in text

    def test_cuts_a_long_cell_in_no_more_time_than_it_takes_to_read_it(self) -> None:
        def seconds(length: int) -> float:
            start = time.process_time()
            table([made(results={"text": "é" * length})], width=100)
            return time.process_time() - start

        assert seconds(3_000) < 50 * max(seconds(30), 0.001)

    @pytest.mark.parametrize(
        "started", ["yesterday", "", 5, None, ["x"], "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    )
    def test_survives_any_time_of_start(self, started: Any) -> None:
        assert len(table([made(started=started)], width=100)) == 2

    def test_survives_a_record_that_says_nothing(self) -> None:
        bare = Experiment(tag=tag("a", AT), tag_object="", commit=COMMIT, record=Record(body={"schema": 1}))

        assert table([bare], width=100)[1].split() == [id_of(bare.tag), "a", "-", "-", "-", COMMIT[:8]]
        shown = [line.split() for line in details(bare)]
        assert shown[:3] == [["tag", bare.tag], ["id", bare.id], ["code.commit", COMMIT]]


HOSTILE = made(
    status=CONTROLS,
    parameters={CONTROLS: CONTROLS, "list": [CONTROLS, {CONTROLS: CONTROLS}], "deep": {CONTROLS: {"x": CONTROLS}}},
    results={CONTROLS: CONTROLS},
    started=CONTROLS,
    command=[CONTROLS],
    code={"branch": CONTROLS, "changed": {"added": [CONTROLS]}},
    later={CONTROLS: [CONTROLS]},
)


class TestControlCharacters:
    def test_are_escaped_in_every_line(self) -> None:
        lines = [*table([HOSTILE], width=None), *details(HOSTILE)]

        assert [line for line in lines if not line.isprintable()] == []
        assert len(table([HOSTILE], width=None)) == 2
        assert any(r"\x1b[2J\x1b]0;title\x07\x9b31m\x7f\r\n\tError: forged\u2028\u202e" in line for line in lines)

    def test_are_escaped_in_csv(self) -> None:
        document = csv_of([HOSTILE])

        assert len(document.splitlines()) == 2
        assert all(line.isprintable() for line in document.splitlines())

    def test_are_escaped_in_comparisons_and_groups(self) -> None:
        other = made(parameters={CONTROLS: "x", "list": []}, results={CONTROLS: 1})
        pairs = {**differing(HOSTILE.parameters, other.parameters), **differing(HOSTILE.results, other.results)}
        keys = [f"parameters.{CONTROLS}", "status"]
        groups = groups_of([HOSTILE, other], keys, is_sorted=False)

        lines = [*comparison(pairs, ("KEY", "a", "b"), width=None), *table_of_groups(groups, width=None)]
        lines += csv_of_groups(groups, keys).splitlines()
        assert len(lines) == 1 + len(pairs) + 1 + 2 + 1 + 2
        assert [line for line in lines if not line.isprintable()] == []

    @given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
    @settings(deadline=None)
    def test_of_any_text_never_reach_the_terminal(self, key: str, value: str) -> None:
        lines = details(made(parameters={key: value}, results={key: [value]}, host=value))

        "\n".join(lines).encode()
        assert all(len(line.splitlines()) == 1 for line in lines if line)
        assert not any(letter < " " or "\x7f" <= letter <= "\x9f" for line in lines for letter in line)


class TestDetails:
    def test_show_everything(self) -> None:
        experiment = made(
            description="first try", parameters={"model": {"depth": 3}, "on": True, "none": None}, results={"a": [1, 2]},
            code={"commit": COMMIT, "changed": {"added": ["new.py"], "deleted": []}}, later={"key": 1e-5},
        )  # fmt: skip

        lines = [" ".join(line.split()) for line in details(experiment)]

        assert {
            f"tag {experiment.tag}", f"id {experiment.id}", "name baseline", "description first try", "status running",
            "command python train.py", f"code.commit {COMMIT}", "added new.py", "later.key 1e-05",
        } <= set(lines)  # fmt: skip
        place = lines.index("parameters:")
        assert lines[place:] == [
            "parameters:", "model.depth 3", "on true", "none null", "", "results:", "a [1, 2]", "",
            "changed since the commit that it is based on:", "added new.py", "",
            "its code:", f"experimenter checkout {experiment.id} DIR",
        ]  # fmt: skip

    def test_values_stand_below_each_other_in_wide_letters_too(self) -> None:
        lines = details(made(parameters={"日本": "X", "abc": "X", "e\u0301": "X"}))[-6:-3]

        assert {columns(line[: line.index("X")]) for line in lines} == {8}

    def test_no_record_can_pretend_to_be_another(self) -> None:
        forged = Record(body={**SHORT.record.body, "tag": "exp_forged", "id": "00000000"})

        lines = details(Experiment(tag=SHORT.tag, tag_object="", commit=COMMIT, record=forged))

        assert [line.split() for line in lines[:2]] == [["tag", SHORT.tag], ["id", SHORT.id]]


class TestCsv:
    def test_has_the_fixed_columns_then_parameters_then_results(self) -> None:
        first = made(
            parameters={"b": {"c": 1}, "a": 2}, code={"commit": "another"}, finished="2026-11-23T03:21:00.000001Z"
        )
        second = made(name="second", parameters={"new": 'x, "y"\n'}, results={"accuracy": 0.93})

        rows = list(csv.reader(io.StringIO(csv_of([first, second]))))

        assert rows == [
            ["tag", "id", "name", "status", "started", "finished", "code.commit",
             "parameters.b.c", "parameters.a", "parameters.new", "results.accuracy"],
            [first.tag, first.id, "baseline", "running", "2026-11-23T03:19:36.123456Z", "2026-11-23T03:21:00.000001Z", COMMIT,
             "1", "2", "", ""],
            [second.tag, second.id, "second", "running", "2026-11-23T03:19:36.123456Z", "", COMMIT,
             "", "", r'x, "y"\n', "0.93"],
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("value", "cell"),
        [
            (0.1, "0.1"), (10**30, str(10**30)), (True, "true"), (None, ""), ("", ""), ("NaN", "NaN"), ("größe", "größe"),
            ([1, "a"], '[1, "a"]'), ({}, "{}"), (" x ", " x "), ("a\\n", "a\\n"),
        ],
    )  # fmt: skip
    def test_cells_are_text_as_it_is_and_json(self, value: Any, cell: str) -> None:
        document = csv_of([made(results={"x": value}), made(results={"y": 1})])

        first, _ = csv.DictReader(io.StringIO(document))
        assert (first["results.x"], first["results.y"]) == (cell, "")

    def test_has_its_columns_also_where_there_is_no_experiment(self) -> None:
        assert csv_of([]).strip() == "tag,id,name,status,started,finished,code.commit"


def test_a_record_as_json_has_its_identity_in_front_and_no_control_character() -> None:
    document = dumps(HOSTILE.to_json())

    assert document.isprintable()
    assert list(json.loads(document))[:3] == ["tag", "id", "schema"]
    assert json.loads(document)["parameters"] == HOSTILE.record.parameters
