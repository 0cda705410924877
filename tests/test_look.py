"""Listing and showing experiments, as users and programs see it."""

import csv
import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from conftest import EXPERIMENTER, Terminal, experimenter, make_repo, sh, tags
from experimenter.cli.main import experimenter as program
from experimenter.names import id_of
from experimenter.text import columns_of

SAMPLE = Path(__file__).with_name("data") / "schema-1.json"


def listed(*words: str) -> list[dict[str, Any]]:
    done = experimenter(*words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def hand_made(tag: str, message: str | bytes, commit: str = "HEAD") -> None:
    """Hang a tag with any message on a commit, as another program or a later version may."""
    target = sh(f"git rev-parse {commit}").strip()
    raw = message if isinstance(message, bytes) else message.encode()
    header = f"object {target}\ntype commit\ntag {tag}\ntagger A <a@b> 1 +0000\n\n".encode()
    Path(".git/message").write_bytes(header + raw)
    sh(f"git update-ref refs/tags/{tag} $(git hash-object -t tag -w --stdin <.git/message)")


@pytest.fixture
def three(repo: Path) -> Path:
    """Two experiments on one code, a third on other code; the second one without results."""
    results = 'EXPERIMENTER_RESULTS {"acc": 0.5, "m": {"f1": 1}}'
    experimenter("run", "-n", "first", "-p", "lr=0.1", "--", "echo", results)
    experimenter("run", "-n", "second", "-p", "lr=0.2", "--", "true")
    sh("echo two > train.py")
    experimenter("run", "-n", "third", "-p", "model.depth=3", "--", "echo", 'EXPERIMENTER_RESULTS {"acc": 0.7}')
    return repo


def names(found: list[dict[str, Any]]) -> list[str]:
    return [entry["name"] for entry in found]


@pytest.mark.parametrize("command", [[], ["list"]])
def test_lists_all_experiments_the_oldest_first(three: Path, command: list[str]) -> None:
    found = listed(*command)

    assert names(found) == ["first", "second", "third"]
    assert list(found[0])[:4] == ["tag", "id", "schema", "name"]
    assert found[0]["tag"] in tags()
    assert found[0]["parameters"] == {"lr": 0.1}


def test_the_newest_and_the_first_in_an_order_are_listed(three: Path) -> None:
    assert names(listed("--limit", "2")) == ["second", "third"]
    assert names(listed("--sort", "lr", "--limit", "1")) == ["first"]
    assert names(listed("--sort", "lr", "--reverse")) == ["second", "first", "third"]


def test_the_table_of_a_code_state_has_the_same_form(three: Path) -> None:
    heading, *rows = experimenter("-c", "HEAD").stdout.splitlines()

    assert heading.split() == ["ID", "NAME", "STARTED", "STATUS", "lr", "acc", "m.f1", "CODE"]
    assert [row.split()[1] for row in rows] == ["first", "second"]


def test_a_caret_stands_below_the_mistake(repo: Path) -> None:
    done = experimenter("list", "--where", "größe >> 1")
    first, text, caret = done.stderr.splitlines()

    assert (done.returncode, first.startswith("Error: ")) == (2, True)
    assert caret.index("^") == text.index(">>") + 1


def test_values_three_deep_are_found_and_shown(repo: Path) -> None:
    experimenter("run", "-n", "a", "-p", "a.b.c=1", "--", "echo", 'EXPERIMENTER_RESULTS {"x": {"y": {"z": 2}}}')
    experimenter("run", "-n", "b", "-p", "a.b.c=2", "--", "true")

    assert names(listed("--where", "a.b.c == 1 and x.y.z == 2")) == ["a"]
    assert {"a.b.c", "x.y.z"} <= set(experimenter().stdout.splitlines()[0].split())
    assert "parameters.a.b.c" in experimenter("--csv").stdout.splitlines()[0].split(",")
    assert re.search(r"^ +x\.y\.z +2$", experimenter("show", "a").stdout, re.MULTILINE)
    assert json.loads(experimenter("diff", "a", "b", "--json").stdout)["parameters"] == {"a.b.c": [1, 2]}


def test_lists_those_on_exactly_the_code_of_a_revision(three: Path) -> None:
    """Equal trees are equal code, whichever commit holds them."""
    first, _, third = listed()
    sh("git commit -qam second; git branch same; git commit -q --allow-empty -m more")

    assert names(listed("-c", first["code"]["commit"][:10])) == ["first", "second"]
    assert names(listed("-c", first["tag"])) == ["first", "second"]
    assert names(listed("list", "-c", "HEAD~2")) == ["first", "second"]
    assert names(listed("-c", "HEAD")) == names(listed("-c", "same")) == ["third"]
    assert names(listed("-c", third["code"]["tree"])) == ["third"]
    assert names(listed("-c", ":/second")) == ["third"]


def test_lists_those_with_results_and_those_of_a_name(three: Path) -> None:
    assert names(listed("-s")) == names(listed("--strict")) == ["first", "third"]
    assert names(listed("-n", "second")) == ["second"]
    assert names(listed("-s", "-n", "second", "-c", "HEAD")) == []


def test_csv_has_dotted_columns(three: Path) -> None:
    rows = list(csv.reader(io.StringIO(experimenter("list", "--csv").stdout)))

    assert rows[0] == [
        "tag", "id", "name", "status", "started", "finished", "code.commit",
        "parameters.lr", "parameters.model.depth", "results.acc", "results.m.f1",
    ]  # fmt: skip
    assert [row[2] for row in rows[1:]] == ["first", "second", "third"]
    assert rows[1][7:] == ["0.1", "", "0.5", "1"]
    assert rows[3][7:] == ["", "3", "0.7", ""]


def test_an_empty_listing_is_valid_in_every_form(repo: Path) -> None:
    assert listed() == []
    assert experimenter("--csv").stdout == "tag,id,name,status,started,finished,code.commit\n"
    plain = experimenter()
    assert (plain.returncode, plain.stdout) == (0, "")
    assert plain.stderr.startswith("Note: ")


def test_the_table_has_a_line_for_each(three: Path) -> None:
    heading, first, second, third = experimenter().stdout.splitlines()

    assert heading.split() == ["ID", "NAME", "STARTED", "STATUS", "lr", "model.depth", "acc", "m.f1", "CODE"]
    cells = [line.split()[1:2] + line.split()[5:-1] for line in (first, second, third)]
    assert cells == [
        ["first", "0.1", "-", "0.5", "1"],
        ["second", "0.2", "-", "-", "-"],
        ["third", "-", "3", "0.7", "-"],
    ]


def test_on_a_terminal_the_table_fits_its_width(three: Path, terminal: Callable[..., Terminal]) -> None:
    words = [word for number in range(20) for word in ("-p", f"parameter{number}={number}")]
    experimenter("run", "-n", "wide", *words, "--", "true")
    screen = terminal(EXPERIMENTER)
    screen.end()

    lines = re.sub(r"\x1b\[\d*m", "", screen.screen.decode()).split("\r\n")
    assert max(map(len, lines)) <= 80
    assert lines[5] == "Note: no place for 20 columns, see --columns: status, parameter2, parameter3, …"
    assert screen.screen.startswith(b"\x1b[1mID ")


def test_on_a_terminal_a_status_has_its_colour(three: Path, terminal: Callable[..., Terminal]) -> None:
    screen = terminal(EXPERIMENTER, "list", "--columns", "status,name")
    screen.end()

    assert screen.screen.count(b"\x1b[32mcompleted\x1b[0m  ") == 3


def test_no_color_is_respected(three: Path, terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = terminal(EXPERIMENTER)
    screen.end()

    assert b"\x1b" not in screen.screen


def test_a_long_table_goes_to_the_users_pager(three: Path, terminal: Callable[..., Terminal]) -> None:
    sample = json.loads(SAMPLE.read_text())
    for number in range(30):
        hand_made(f"exp_many_20260101T000000.{number:06}Z", json.dumps(sample))
    sh("git config core.pager 'sed s/^/paged:/'")
    screen = terminal(EXPERIMENTER)
    screen.end()

    assert screen.screen.count(b"paged:") >= 34


def test_what_is_short_or_goes_elsewhere_needs_no_pager(three: Path, terminal: Callable[..., Terminal]) -> None:
    long = {"schema": 1, "parameters": {f"p{number}": number for number in range(30)}}
    hand_made("exp_long_20260101T000000.000000Z", json.dumps(long))
    sh("git config core.pager 'sed s/^/paged:/'")
    screens = [terminal(EXPERIMENTER, *words) for words in (["list"], ["show", "long"])]
    for screen in screens:
        screen.end()

    assert [screen.screen.count(b"paged:") > 30 for screen in screens] == [False, True]
    assert b"paged:" not in screens[0].screen
    assert "paged:" not in experimenter("show", "long").stdout


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("count", [0, 1, 200])
def test_a_table_fits_the_terminal(
    repo: Path, terminal: Callable[..., Terminal], width: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    sh("git config core.pager cat")
    for number in range(count):
        parameters = {
            "学習率": number / 7,
            "модель": {"слои": {"tiefe": number}},
            "long": "word " * 40,
            "wide": "漢字" * 50,
        }
        body = {"schema": 1, "status": "completed", "started": "2026-01-01T00:00:00Z", "parameters": parameters}
        hand_made(f"exp_many_20260101T000000.{number:06}Z", json.dumps(body))
    screen = terminal(EXPERIMENTER, "list", columns=width)
    screen.end()

    heading, *rows = screen.screen.decode().splitlines()
    if not count:
        assert (heading, rows) == ("Note: no experiments here yet, or none that match", [])
        return
    rows = [row for row in rows if not row.startswith("Note: ")]
    assert [row[:8] for row in rows] == [id_of(tag) for tag in tags()]
    assert width - 20 < max(map(columns_of, [heading, *rows])) <= width
    assert heading.split()[:2] == ["ID", "NAME"]
    assert "学習率" in heading
    assert len({columns_of(row.partition("2026-01-01")[0]) for row in rows}) == 1


def test_control_characters_in_records_are_shown_escaped(repo: Path) -> None:
    evil = "\x1b[2J\x07\x9b31m\x7f\r\nexp_forged  line\u202e"
    sample = json.loads(SAMPLE.read_text())
    forged = {**sample, "name": evil, "description": evil, "parameters": {evil: evil}, "results": {"x": evil}}
    forged |= {"status": evil, "started": evil, "host": evil, "branch": evil, "command": [evil], evil: evil}
    hand_made("exp_evil_20260101T000000.000000Z", json.dumps(forged, ensure_ascii=False))

    for words in ([], ["show", "evil"], ["--csv"]):
        output = experimenter(*words).stdout
        assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", output.replace("\r\n", "\n"))
        assert "\\x1b[2J" in output
    for words in (["--json"], ["show", "--json", "evil"]):
        output = experimenter(*words).stdout
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", output)
        found = json.loads(output)
        assert (found[0] if isinstance(found, list) else found)["description"] == evil
    assert len(experimenter().stdout.splitlines()) == 2


BIG_BESIDE_A_SURROGATE = '{"schema": 1, "parameters": {"p": [' + "9" * 4100 + ', "\\ud800"]}}'
EQUAL_KEYS = r'{"schema": 1, "parameters": {"p": [{"\ud800": 1, "\"\\355\\240\\200\"": 2}]}}'


@pytest.mark.parametrize("message", [BIG_BESIDE_A_SURROGATE, EQUAL_KEYS])
def test_what_cannot_be_shown_costs_no_other_record_its_place(three: Path, message: str) -> None:
    hand_made("exp_evil_20260101T000000.000000Z", message)

    for words in (
        ["list"],
        ["list", "--csv"],
        ["list", "--json"],
        ["list", "--where", "acc > 0", "--sort", "acc"],
        ["list", "--group-by", "name", "--json"],
        ["list", "--columns", "parameters", "--only-changed"],
    ):
        done = experimenter(*words)
        assert (done.returncode, done.stderr.count("passed over the tag exp_evil_20260101T000000.000000Z")) == (0, 1)
        assert "first" in done.stdout or "0.1" in done.stdout
    shown = experimenter("show", "evil")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "exp_evil_20260101T000000.000000Z: its message is no record: parameters.p[0]" in shown.stderr


ODD_VALUES = [
    "{}", "[]", "7", '"x"', "null", "true", "[1, {}]", '{"a": [{}]}', "8e307", "8" + "0" * 307, "9" * 400, "1e999",
    '"NaN"', '"0001-01-01T00:00:00"', '"9999-12-31T23:59:59-14:00"', '["\\ud800"]', '"\\u0000\\n\\u001b[2J"',
]  # fmt: skip
ODD_KEYS = (
    "name", "description", "sweep", "rerun_of", "parent", "status", "submitted", "started", "finished", "command",
    "directory", "exit_code", "drift", "resources", "host", "python", "experimenter", "tag", "id",
)  # fmt: skip


def test_values_of_any_kind_are_read_everywhere_without_a_traceback(repo: Path) -> None:
    body = {**dict.fromkeys(ODD_KEYS, 0), "parameters": {"p": 0}, "results": {"x": 0}}
    body["code"] = dict.fromkeys(("commit", "tree", "base", "branch", "changed"), 0)
    for number, value in enumerate(ODD_VALUES):
        message = json.dumps({"schema": 1, **body}).replace(": 0", f": {value}")
        hand_made(f"exp_odd{number}_20260101T000000.000000Z", message)
    each = ("show odd{}", "diff odd{} odd1 --json", "diff odd1 odd{}")

    for line in (
        "list", "list --csv", "list --json", "list --sort x", "list --sort started --reverse", "list --where x>0",
        "list --where status!='a'", "list --group-by x", "list --group-by status,command --json", "list --only-changed",
        "list --columns code,drift,changed,command,started", "ps", "wait odd7", "prune --older-than 1d --dry-run",
        *(line.format(number) for line in each for number in range(len(ODD_VALUES))),
    ):  # fmt: skip
        done = experimenter(*line.split())
        assert "Traceback" not in done.stderr, line
        assert line.startswith("wait") or done.returncode == 0, (line, done.stderr)
        assert "--json" not in line or json.loads(done.stdout)
    assert len(listed()) == len(ODD_VALUES)


def test_what_git_says_goes_before_what_a_record_says(three: Path) -> None:
    head, tree = sh("git rev-parse HEAD HEAD^{tree}").split()
    code = {"commit": "1" * 40, "tree": "2" * 40, "base": "3" * 40, "branch": "release"}
    hand_made("exp_forged_20260101T000000.000000Z", json.dumps({"schema": 1, "name": "other", "code": code}))
    hand_made("exp_bare_20260101T000000.000001Z", '{"schema": 1}')

    for found in (*listed("list")[:2], json.loads(experimenter("show", "--json", "forged").stdout)):
        assert found["name"] == found["tag"].split("_")[1]
        assert (found["code"]["commit"], found["code"]["tree"]) == (head, tree)
    assert (listed()[0]["code"]["base"], listed()[0]["code"]["branch"]) == ("3" * 40, "release")
    for line in ("show forged", "--csv", "--csv --columns name,commit,tree,code", f"list --where tree=='{tree}'"):
        shown = experimenter(*line.split()).stdout
        assert head[:8] in shown and "1111" not in shown and "2222" not in shown
        assert "other" not in shown
    assert listed("list", "--where", f"code.tree == '{'2' * 40}' or commit == '{'1' * 40}'") == []


def test_one_tag_under_two_names_is_one_experiment(three: Path) -> None:
    first = sh("git tag --list 'exp_first_*'").strip()
    sh(f"git update-ref refs/tags/exp_second_20270101T000000.000001Z $(git rev-parse {first})")

    done = experimenter("list", "--json")
    assert names(json.loads(done.stdout)) == ["first", "second", "third"]
    assert done.stderr == (
        "Warning: passed over the tag exp_second_20270101T000000.000001Z, which is no record of an experiment\n"
    )
    shown = experimenter("show", "exp_second_20270101T000000.000001Z").stderr
    assert f"its object bears another name, {first}" in shown


def test_all_tags_that_are_passed_over_are_told_in_one_line(three: Path) -> None:
    hand_made("exp_text_20260101T000000.000000Z", "hello")
    for number in range(3):
        hand_made(f"exp_later{number}_20260101T000000.000000Z", '{"schema": 2}')

    for words in (["list"], ["list", "--limit", "5"], ["list", "--where", "acc > 0"]):
        done = experimenter(*words)
        assert (done.returncode, done.stderr.count("\n"), done.stderr.count("Warning")) == (0, 1, 1)
        assert all(f"exp_later{number}_" in done.stderr for number in range(3))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('{\n  "schema": 1,\n  "name": "x",,\n}\n', "its message is not JSON: line 3, column 15: "),
        ('{"schema": 1}\nhello', "its message is not JSON: line 2, column 1: Extra data\n  hello\n"),
        (b'{"schema": 1,\n "name": "\xff"}', "its message is not UTF-8: line 2 has the byte 0xff"),
        ('{"schema": 1, "results": [1]}', "its message is no record: 'results' is no object"),
        ('{"schema": "1"}', "its message is no record: it has no 'schema' that is a number"),
        ("[1]", "its message is no record: it is no object of JSON"),
        ('{"schema": 1, "a": ' + "[" * 120 + "]" * 120 + "}", "its message is no record: it is nested more than 110"),
        ('{"schema": 1, "a": ' + "9" * 5000 + "}", "its message cannot be read: "),
        ('{"schema": 2}', "its record has schema 2; this experimenter reads up to 1"),
    ],
)
def test_show_says_what_is_wrong_with_a_record_and_where(repo: Path, message: str | bytes, reason: str) -> None:
    hand_made("exp_edited_20260101T000000.000000Z", message)

    for word in ("edited", "exp_edited_20260101T000000.000000Z", id_of("exp_edited_20260101T000000.000000Z")):
        done = experimenter("show", word)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"Error: exp_edited_20260101T000000.000000Z: {reason}")


def test_names_with_characters_that_only_look_like_line_ends_are_read(three: Path) -> None:
    short = sh(
        "for i in $(seq 700); do echo $i | git hash-object -w --stdin; done | cut -c1-4 | sort | uniq -d"
    ).split()
    for odd in ("\u0085", "\u2028", "\u2029"):
        sh(f"git tag -a -m x 'exp_z{odd}{short[0]}'; git tag 'exp_b{odd}'; git tag 'exp{odd}c'; git branch 'd{odd}'")
    sh("git tag -a -m x \"$(printf 'exp_\\377')\"")

    for words in (["list"], ["-c", "HEAD~0"], ["--json"], ["--limit", "9"], ["show", "first"], ["verify", "third"]):
        done = experimenter(*words)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0, done.stderr
    assert len(json.loads(experimenter("--json").stdout)) == 3


def test_tags_that_hold_no_record_are_passed_over_with_one_warning(three: Path) -> None:
    sh("git tag exp_light_20260101T000000.000000Z; git tag -a -m hello exp_odd_20260101T000000.000000Z")
    sh("git tag -a -m hello exp_no_time; git tag v1; git tag exp_tree_20260101T000000.000000Z HEAD^{tree}")
    hand_made("exp_list_20260101T000000.000000Z", "[1]")
    hand_made("exp_bytes_20260101T000000.000000Z", b"\xff\xfe")
    hand_made("exp_parts_20260101T000000.000000Z", '{"schema": 1, "parameters": [1]}')
    done = experimenter("--json")

    assert names(json.loads(done.stdout)) == ["first", "second", "third"]
    assert done.stderr.startswith("Warning: passed over 7 tags (")
    assert done.stderr.count("\n") == 1


def test_a_newer_schema_is_refused_by_name_without_failing_the_rest(three: Path) -> None:
    hand_made("exp_future_20270101T000000.000000Z", '{"schema": 2, "name": "future"}')
    done = experimenter("--json")

    assert names(json.loads(done.stdout)) == ["first", "second", "third"]
    assert "Warning: passed over exp_future_20270101T000000.000000Z, which a later version" in done.stderr
    shown = experimenter("show", "future")
    assert shown.returncode == 1
    assert "exp_future_20270101T000000.000000Z: its record has schema 2" in shown.stderr


def test_keys_that_we_do_not_know_are_kept(repo: Path) -> None:
    sample = json.loads(SAMPLE.read_text())
    hand_made("exp_sample_20260101T000000.000000Z", SAMPLE.read_text())

    (found,) = listed()
    git_knows = {"commit": sh("git rev-parse HEAD").strip(), "tree": sh("git rev-parse HEAD^{tree}").strip()}
    expected = {**sample, "name": "sample", "code": {**sample["code"], **git_knows}}
    assert {key: value for key, value in found.items() if key not in ("tag", "id")} == expected


def test_odd_records_from_elsewhere_do_not_break_the_listing(repo: Path) -> None:
    results = '{"x": 1e999, "y": "\\ud800", "z": NaN}'
    odd = f'{{"schema": 1, "name": 5, "status": [], "started": {{}}, "code": {{}}, "results": {results}}}'
    hand_made("exp_odd_20260101T000000.000000Z", odd)

    assert experimenter().returncode == 0
    assert experimenter("--csv").returncode == 0
    assert listed()[0]["results"] == {"x": "1e999", "y": '"\\355\\240\\200"', "z": "NaN"}
    assert experimenter("show", "odd").returncode == 0


class TestShow:
    def test_accepts_a_tag_an_id_the_start_of_one_and_a_name(self, three: Path) -> None:
        expected = listed()[1]
        for word in (expected["tag"], expected["id"], expected["id"][:4], expected["id"][:5].upper(), "second"):
            assert json.loads(experimenter("show", word, "--json").stdout) == expected

    def test_three_digits_are_no_id(self, three: Path) -> None:
        assert experimenter("show", listed()[1]["id"][:3]).returncode == 1

    def test_shows_everything(self, three: Path) -> None:
        output = experimenter("show", "first").stdout

        parts = (r"name +first", r"status +completed", r"command +echo 'EXPERIMENTER_RESULTS", r"lr +0\.1", r"m\.f1 +1")
        for part in (*parts, r"code\.tree +\w{40}"):
            assert re.search(part, output), part

    def test_shows_what_was_changed_before_and_while_it_ran(self, repo: Path) -> None:
        changed = {"added": ["new\n"], "modified": [], "deleted": ["old"], "truncated": 12}
        body = {"schema": 1, "code": {"changed": changed}, "drift": {"modified": ["train.py"], "deleted": []}}
        hand_made("exp_a_20260101T000000.000000Z", json.dumps(body))

        lines = experimenter("show", "a").stdout.splitlines()
        start = lines.index("changed since the commit that it is based on:")
        assert lines[start + 1 :] == [
            r"  added     new\n",
            "  deleted   old",
            "  and 12 more",
            "",
            "changed while it ran:",
            "  modified  train.py",
            "",
            "its code:",
            f"  experimenter checkout {id_of(*tags())} DIR",
        ]


def test_a_listing_from_a_subdirectory_and_with_big_c_is_the_same(three: Path) -> None:
    (three / "sub").mkdir()

    expected = experimenter("--json").stdout

    assert experimenter("list", "--json", cwd=three / "sub").stdout == expected
    assert experimenter("-C", str(three), "--json", cwd=three.parent).stdout == expected
    assert experimenter("-C", str(three.parent), "-C", "repo", "--json", cwd=Path("/")).stdout == expected


def test_looking_changes_nothing(three: Path) -> None:
    before = {path: path.read_bytes() for path in Path(".git").rglob("*") if path.is_file()}
    for words in (["list"], ["show", "first"], ["-c", "HEAD"], ["--csv"]):
        experimenter(*words)

    assert {path: path.read_bytes() for path in Path(".git").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("words", "looks"), [(["list"], 1), (["list", "--csv"], 1), (["list", "--json"], 2)])
def test_two_git_commands_read_all_and_a_third_knows_all_trees(
    three: Path, tmp_path: Path, words: list[str], looks: int
) -> None:
    trace = tmp_path / "trace"
    experimenter(*words, env={"GIT_TRACE": str(trace)})

    verbs = re.findall(r"built-in: git ([\w-]+)", trace.read_text())
    assert verbs.count("for-each-ref") == 1
    assert verbs.count("cat-file") == looks
    assert set(verbs) == {"version", "rev-parse", "for-each-ref", "cat-file"}


def test_help_and_version_load_nothing_they_do_not_need(repo: Path) -> None:
    code = (
        "import sys; sys.argv = ['experimenter', {!r}]\n"
        "from experimenter.cli import main\n"
        "try: main()\n"
        "except SystemExit: print([m for m in ('git', 'yaml', 'psutil') if m in sys.modules])"
    )
    for option in ("--help", "--version"):
        program = code.format(option)
        assert sh(f'python -c "{program}"').splitlines()[-1] == "[]"


HELP = ["--help", *(f"{name} -h" for name in program.list_commands(click.Context(program)))]


@pytest.mark.parametrize("words", HELP)
def test_help_fits_80_columns_and_has_an_example(words: str) -> None:
    done = experimenter(*words.split(), env={"COLUMNS": "80"})

    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert re.search(r"^ +experimenter \S", done.stdout, re.MULTILINE)


def test_help_groups_the_commands_and_cuts_no_summary() -> None:
    text = experimenter("--help", env={"COLUMNS": "80"}).stdout
    groups = re.findall(r"^(\w[^\n]*):\n((?:  [a-z]+ {2,}\S.*\n)+)", text, re.MULTILINE)
    commands = [re.findall(r"^  ([a-z]+) {2,}(\S.*)$", rows, re.MULTILINE) for _, rows in groups]

    assert [group for group, _ in groups][::2] == ["Start experiments", "Look at experiments", "Share experiments"]
    assert [name for name, _ in commands[0]] == ["run", "sweep", "submit"]
    assert sorted(name for rows in commands for name, _ in rows) == program.list_commands(click.Context(program))
    assert [summary for rows in commands for _, summary in rows if summary.endswith("...")] == []


@pytest.mark.parametrize(
    ("word", "nearest"),
    [("lst", "did you mean list?"), ("--verison", "'--version'"), ("--hlep", "'--help'"), ("--jsn", "'--json'")],
)
def test_an_unknown_word_is_told_with_the_nearest(repo: Path, word: str, nearest: str) -> None:
    done = experimenter(word)

    assert (done.returncode, nearest in done.stderr) == (2, True), done.stderr


def test_version(repo: Path) -> None:
    from experimenter import __version__

    assert experimenter("--version").stdout == f"experimenter {__version__}\n"


def test_a_list_without_a_match_says_so_and_no_more(three: Path) -> None:
    for words in (["--columns", "id,lr"], ["--group-by", "lr"], []):
        done = experimenter("list", "--where", "lr > 9", *words)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == "Note: no experiments here yet, or none that match\n"


@pytest.mark.parametrize(
    ("words", "heading"),
    [
        (["--columns", "id,lr,code.branch,name"], ["ID", "lr", "branch", "NAME"]),
        (["--columns", "lr,parameters.lr"], ["lr"]),
        (["--only-changed"], ["ID", "NAME", "STARTED", "lr", "model.depth", "acc", "m.f1", "CODE"]),
        (["--only-changed", "--where", "name == 'first'"], ["ID"]),
        (["--only-changed", "--columns", "status,acc"], ["acc"]),
    ],
)
def test_columns_are_chosen(three: Path, words: list[str], heading: list[str]) -> None:
    assert experimenter("list", *words).stdout.splitlines()[0].split() == heading


def test_csv_has_the_chosen_columns_under_their_whole_keys(three: Path) -> None:
    chosen = experimenter("list", "--csv", "--columns", "name,lr,code.commit").stdout
    changed = experimenter("list", "--csv", "--only-changed").stdout

    commits = [one["code"]["commit"] for one in listed()]
    assert chosen.splitlines() == [
        "name,parameters.lr,code.commit", f"first,0.1,{commits[0]}", f"second,0.2,{commits[1]}", f"third,,{commits[2]}",
    ]  # fmt: skip
    assert "status" not in changed and changed.startswith("tag,id,name,started,finished,code.commit,parameters.lr,")


@pytest.mark.parametrize(
    "words",
    [
        ["--columns", "lr", "--json"], ["--only-changed", "--group-by", "lr"], ["--columns", "lr,"], ["--group-by", ""],
        ["--limit", "-1"], ["--limit", "x"], ["--where", "lr >"], ["--json", "--csv"],
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_wrong_usage(three: Path, words: list[str]) -> None:
    done = experimenter("list", *words)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")


class TestGroups:
    @pytest.fixture(autouse=True)
    def runs(self, repo: Path) -> None:
        for lr, acc in ((0.1, "0.5"), (0.01, "0.25"), (0.1, "0.75"), (0.1, '"NaN"')):
            results = f'EXPERIMENTER_RESULTS {{"acc": {acc}, "text": "x", "flag": true, "m": {{"f1": 1}}}}'
            experimenter("run", "-n", "x", "-p", f"lr={lr}", "--", "echo", results)
        experimenter("run", "-n", "y", "--", "true")

    def test_have_the_spread_of_each_numeric_result(self) -> None:
        found = json.loads(experimenter("list", "--group-by", "lr,name", "--json", "--where", "acc < 1").stdout)

        ones = {"mean": 1.0, "min": 1, "max": 1}
        assert found == [
            {
                "group": {"parameters.lr": 0.01, "name": "x"}, "n": 1,
                "results": {"acc": {"mean": 0.25, "min": 0.25, "max": 0.25}, "m.f1": ones},
            },
            {
                "group": {"parameters.lr": 0.1, "name": "x"}, "n": 2,
                "results": {"acc": {"mean": 0.625, "std": 0.125 * 2**0.5, "min": 0.5, "max": 0.75}, "m.f1": {**ones, "std": 0.0}},
            },
        ]  # fmt: skip

    def test_come_by_their_values_or_as_the_experiments_are_sorted(self) -> None:
        def order(*words: str) -> list[object]:
            found = json.loads(experimenter("list", "--group-by", "lr", "--json", *words).stdout)
            return [group["group"]["parameters.lr"] for group in found]

        assert order() == [0.01, 0.1, None]
        assert order("--sort", "lr", "--reverse") == [0.1, 0.01, None]

    def test_are_a_table_for_people(self) -> None:
        lines = [line.split() for line in experimenter("list", "--group-by", "lr").stdout.splitlines()]

        assert lines == [
            ["lr", "N", "RESULT", "MEAN", "STD", "MIN", "MAX"],
            ["0.01", "1", "acc", "0.25", "-", "0.25", "0.25"],
            ["m.f1", "1.0", "-", "1", "1"],
            ["0.1", "3", "acc", "NaN", "NaN", "NaN", "NaN"],
            ["m.f1", "1.0", "0.0", "1", "1"],
            ["-", "1", "-", "-", "-", "-", "-"],
        ]

    def test_are_rounded_where_only_digits_that_come_of_rounding_differ(self) -> None:
        for group in (0.1, 0.2, 0.3):
            for value in (0.8, 0.9):
                line = f'EXPERIMENTER_RESULTS {{"acc": {value + group!r}}}'
                experimenter("run", "-n", "z", "-p", f"lr={group}", "--", "echo", line)
        lines = experimenter("list", "--group-by", "lr", "-n", "z").stdout.splitlines()

        assert [line.split()[3:5] for line in lines[1:]] == [
            ["0.95", "0.07071"],
            ["1.05", "0.07071"],
            ["1.15", "0.07071"],
        ]

    def test_are_csv_for_spreadsheets(self) -> None:
        done = experimenter("list", "--group-by", "lr", "--csv", "--where", "acc == 0.25 or acc == 'NaN'")

        assert done.stdout.splitlines() == [
            "parameters.lr,n,"
            + ",".join(f"results.{key}.{name}" for key in ("acc", "m.f1") for name in ("mean", "std", "min", "max")),
            "0.01,1,0.25,,0.25,0.25,1.0,,1,1",
            "0.1,1,NaN,,NaN,NaN,1.0,,1,1",
        ]


def test_a_pager_that_is_not_there_loses_nothing(three: Path, terminal: Callable[..., Terminal]) -> None:
    for number in range(25):
        hand_made(f"exp_n{number}_20261123T031936.123456Z", '{"schema": 1}')
    screen = terminal("env", "GIT_PAGER=no-such-pager", EXPERIMENTER, "list")
    screen.end()

    assert screen.screen.count(b"first") + screen.screen.count(b" n24 ") >= 2


def test_odd_records_of_others_spoil_nothing(three: Path) -> None:
    head = sh("git rev-parse HEAD").strip()
    bodies = [
        '{"schema": 1, "results": {"a": 1e200}}', '{"schema": 1, "results": {"a": 3e200}}',
        '{"schema": 1, "results": {"a": ' + "9" * 400 + "}}",
        '{"schema": 1, "parameters": ' + '{"x": ' * 600 + "1" + "}" * 601,
        '{"schema": 1, "drift": {"modified": 5}, "code": {"changed": 7}, "command": "python x"}',
    ]  # fmt: skip
    for number, body in enumerate(bodies):
        tag = f"exp_odd{number}_20261123T031936.123456Z"
        text = f"object {head}\ntype commit\ntag {tag}\ntagger a <a@b> 0 +0000\n\n{body}\n"
        subprocess.run(f"git update-ref refs/tags/{tag} $(git mktag)", shell=True, input=text, text=True, check=True)

    for words in (
        ["list"],
        ["list", "--csv"],
        ["list", "--sort", "a"],
        ["list", "--group-by", "name"],
        ["list", "--json"],
    ):
        done = experimenter(*words)
        assert (done.returncode, done.stderr) == (
            0,
            "Warning: passed over the tag exp_odd3_20261123T031936.123456Z, which is no record of an experiment\n",
        )
    assert experimenter("show", "odd2").returncode == experimenter("show", "odd4").returncode == 0
    assert "no command in its record" in experimenter("rerun", "odd4").stderr
    assert (
        json.loads(experimenter("list", "--group-by", "schema", "--where", "a > 1e100 and a < 1e300", "--json").stdout)[
            0
        ]["results"]["a"]["mean"]
        == 2e200
    )


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
def test_a_broken_tag_of_others_does_not_hide_who_is_on_a_code(tmp_path: Path, kind: str) -> None:
    repo = make_repo(tmp_path / kind, f"--object-format={kind}")
    experimenter("run", "-n", "first", "--", "true", cwd=repo)
    oid = sh("git rev-parse HEAD", cwd=repo).strip()
    (repo / ".git/refs/tags/v1").write_text("1" * len(oid) + "\n")

    done = experimenter("-c", "HEAD", "--json", cwd=repo)
    assert (names(json.loads(done.stdout)), done.stderr) == (["first"], "")


def test_every_command_that_answers_has_json() -> None:
    context = click.Context(program)
    commands = {name: program.get_command(context, name) for name in program.list_commands(context)}
    without = [name for name, found in commands.items() if "as_json" not in [one.name for one in found.params]]  # type: ignore[union-attr]

    assert without == ["checkout", "completion", "logs", "rerun", "run", "submit", "wait"]


def test_no_key_can_forge_a_line_of_ours(three: Path) -> None:
    done = experimenter("list", "--json", "--sort", "learnin\n  removed all")

    assert done.stderr == "Note: none of these experiments has 'learnin\\n  removed all'\n"
