"""Selecting experiments: keys and what they mean, filters, order and limit; and what is read for it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conftest import detached, experimenter, make_repo, sh
from experimenter.errors import BadCondition, BadKey
from experimenter.keys import Keys, words_in
from experimenter.names import id_of
from experimenter.plumbing import find_repo
from experimenter.selection import Selection, select
from experimenter.store import tag_names, tag_objects
from experimenter.targets import commits

Records = Sequence[dict[str, Any]]


def add(repo: Path, records: Records) -> list[str]:
    """Hang tags with these records on HEAD, a second apart; return their names."""
    head = sh("git rev-parse HEAD", cwd=repo).strip()
    names = []
    for place, record in enumerate(records):
        body = {"schema": 1, "name": "x", "parameters": {}, "status": "completed", **record}
        tag = f"exp_{body['name']}_20261123T03{place // 60:02}{place % 60:02}.000000Z"
        object_ = f"object {head}\ntype commit\ntag {tag}\ntagger a <a@b> 0 +0000\n\n{json.dumps(body)}\n"
        made = sh(f"git mktag <<'EOF'\n{object_}EOF", cwd=repo).strip()
        sh(f"git update-ref refs/tags/{tag} {made}", cwd=repo)
        names.append(tag)
    return names


def places(repo: Path, tags: Sequence[str], **wanted: Any) -> list[int]:
    return [tags.index(one.tag) for one in select(find_repo(repo), Selection(**wanted))]


@pytest.fixture
def five(repo: Path) -> list[str]:
    return add(
        repo,
        [
            {"parameters": {"lr": 0.1, "opt": "adam"}, "results": {"acc": 0.5, "loss": "NaN"}},
            {"parameters": {"lr": 0.01, "opt": "sgd"}, "results": {"acc": 0.9, "loss": 0.25}},
            {"name": "y", "parameters": {"lr": 1}, "status": "failed"},
            {"parameters": {"lr": 0.1, "opt": "adam"}, "results": {"acc": 0.7, "loss": "Infinity"}},
            {"name": "y", "parameters": {"model": {"depth": 3}}, "results": {"acc": 0.6, "loss": 0.5}},
        ],
    )


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"reverse": True}, [4, 3, 2, 1, 0]),
        ({"limit": 2}, [3, 4]),
        ({"limit": 2, "reverse": True}, [4, 3]),
        ({"limit": 0}, []),
        ({"limit": 9}, [0, 1, 2, 3, 4]),
        ({"limit": 3, "with_results": True}, [1, 3, 4]),
        ({"limit": 9, "with_results": True}, [0, 1, 3, 4]),
        ({"limit": 1, "name": "x"}, [3]),
        ({"name": "y"}, [2, 4]),
        ({"where": "lr == 0.1"}, [0, 3]),
        ({"where": "lr == 0.1", "limit": 1}, [3]),
        ({"where": "parameters.lr == 0.1 or model.depth == 3"}, [0, 3, 4]),
        ({"where": "name == 'y' and status != 'failed'"}, [4]),
        ({"where": "loss > 100"}, [3]),
        ({"where": "not lr > 0"}, [4]),
        ({"sort": "acc"}, [0, 4, 3, 1, 2]),
        ({"sort": "acc", "reverse": True}, [1, 3, 4, 0, 2]),
        ({"sort": "acc", "limit": 2}, [0, 4]),
        ({"sort": "acc", "reverse": True, "limit": 2}, [1, 3]),
        ({"sort": "loss"}, [1, 4, 3, 0, 2]),
        ({"sort": "loss", "reverse": True}, [3, 4, 1, 0, 2]),
        ({"sort": "opt"}, [0, 3, 1, 2, 4]),
        ({"sort": "started"}, [0, 1, 2, 3, 4]),
        ({"sort": "`acc`"}, [0, 4, 3, 1, 2]),
        ({"revision": "HEAD", "limit": 1}, [4]),
        ({"revision": "HEAD", "sort": "lr", "limit": 2}, [1, 0]),
    ],
)
def test_selects(repo: Path, five: list[str], wanted: dict[str, Any], expected: list[int]) -> None:
    assert places(repo, five, **wanted) == expected


def test_the_newest_are_counted_without_tags_that_are_no_records(repo: Path, five: list[str]) -> None:
    sh("git tag -f exp_z_20261124T031936.123456Z -m 'no record'; git tag exp_zz -m x", cwd=repo)

    assert places(repo, five, limit=2) == [3, 4]
    assert places(repo, five, limit=2, with_results=True) == [3, 4]


def test_names_are_those_of_all_tags_that_are_listed(repo: Path, five: list[str]) -> None:
    sh("git tag exp_a/b_20990101T000000.000000Z; git tag other; git tag exp_z -m x", cwd=repo)

    assert sorted(tag_names(find_repo(repo))) == sorted(tag_objects(find_repo(repo))) == sorted([*five, "exp_z"])


def spoil(repo: Path, tag: str) -> None:
    """Let git find no tag in a tag's object, which is there."""
    oid = sh(f"git rev-parse {tag}", cwd=repo).strip()
    place = repo / ".git/objects" / oid[:2] / oid[2:]
    place.unlink()
    place.write_bytes(b"spoilt")


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
def test_a_code_is_looked_for_without_reading_other_tags(tmp_path: Path, kind: str) -> None:
    repo = make_repo(tmp_path / "repo", f"--object-format={kind}")
    tags = add(repo, [{}])
    sh("mkdir folder; echo >folder/other; git add .; git commit -qm more", cwd=repo)
    (other,) = add(repo, [{"name": "y"}])
    sh("git pack-refs --all; git config transfer.hideRefs refs/tags; git worktree add -q ../linked", cwd=repo)
    spoil(repo, other)

    assert commits(find_repo(repo)).keys() == {*tags, other}
    for place in (repo, repo / "folder", repo.parent / "linked"):
        assert places(place, tags, revision="HEAD~1") == [0]
        assert experimenter("-c", "HEAD~1", cwd=place).stderr == ""
        assert "no record" in experimenter("-c", "HEAD", cwd=place).stderr


def test_a_limit_reads_no_records_that_it_does_not_show(repo: Path) -> None:
    tags = add(repo, [{"results": {"a": place}} for place in range(30)])
    spoil(repo, tags[0])

    assert places(repo, tags, limit=3) == [27, 28, 29]
    assert places(repo, tags, limit=3, with_results=True) == [27, 28, 29]
    assert "no record" in experimenter("list", cwd=repo).stderr


def test_one_is_shown_compared_and_removed_without_reading_others(repo: Path) -> None:
    tags = add(repo, [{"name": f"n{place}", "results": {"a": place}} for place in range(4)])
    for tag in tags[2:]:
        spoil(repo, tag)

    running = detached("--", "sleep", "1000", cwd=repo)
    for words in (["show", id_of(tags[0])], ["diff", "n1", id_of(tags[0])], ["rm", "--yes", "n0"], ["stop", running]):
        done = experimenter(*words, cwd=repo)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_key_at_the_top_wins_over_a_shortened_one(repo: Path) -> None:
    tags = add(repo, [{"parameters": {"status": "odd"}}, {"parameters": {"status": "completed"}, "status": "failed"}])

    assert places(repo, tags, where="status == 'completed'") == [0]
    assert places(repo, tags, where="parameters.status == 'completed'") == [1]


def test_a_key_that_no_record_has_is_told(repo: Path, five: list[str]) -> None:
    done = experimenter("list", "--json", "--where", "accc > 0.1", "--sort", "lrr", cwd=repo)

    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    assert "Note: none of these experiments has 'accc'; did you mean acc?\n" in done.stderr
    assert "Note: none of these experiments has 'lrr'; did you mean lr?\n" in done.stderr


def test_an_ambiguous_key_is_refused_at_its_place(repo: Path) -> None:
    add(repo, [{"parameters": {"loss": "mse"}}, {"results": {"loss": 1}}])

    with pytest.raises(
        BadCondition, match=r"'loss' is ambiguous; write one of parameters\.loss, results\.loss"
    ) as raised:
        select(find_repo(repo), Selection(where="name == 'x' and loss > 1"))
    assert raised.value.details[1].index("^") == len("name == 'x' and ")
    with pytest.raises(BadKey, match="ambiguous"):
        select(find_repo(repo), Selection(sort="loss"))
    for words in (["--where", "loss > 1"], ["--sort", "loss"], ["--columns", "loss"], ["--group-by", "loss"]):
        done = experimenter("list", *words, cwd=repo)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.match("Error: .*'loss' is ambiguous", done.stderr)


class TestKeys:
    KEYS = Keys(
        [
            {"name": "x", "parameters": {}, "parameters.name": 1, "parameters.lr": 1, "parameters.a.b": 2},
            {"results": {}, "results.acc": 1, "results.description": 3, "code": {}, "code.branch": "main"},
        ]
    )

    @pytest.mark.parametrize(
        ("word", "key"),
        [
            ("lr", "parameters.lr"), ("parameters.lr", "parameters.lr"), ("acc", "results.acc"), ("branch", "code.branch"),
            ("a.b", "parameters.a.b"), ("name", "name"), ("description", "description"), ("b", "b"), ("nothing", "nothing"),
        ],
    )  # fmt: skip
    def test_a_word_means_the_whole_key(self, word: str, key: str) -> None:
        assert self.KEYS.full(word) == key

    def test_the_short_word_for_a_key_means_it(self) -> None:
        keys = ("parameters.lr", "parameters.name", "results.acc", "results.description", "name")
        short = [self.KEYS.short(key) for key in keys]

        assert short == ["lr", "parameters.name", "acc", "results.description", "name"]
        assert [self.KEYS.full(word) for word in short] == list(keys)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", ["a"]),
        ("a, b.c", ["a", "b.c"]),
        ("`a,b`,c", ["a,b", "c"]),
        ("`x``y`", ["x`y"]),
        ("a,", ["a", ""]),
        ("", [""]),
    ],
)
def test_keys_are_listed_with_commas(text: str, words: list[str]) -> None:
    assert words_in(text) == words


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_not_there_comes_last_behind_what_is_no_number(repo: Path, reverse: bool) -> None:
    tags = add(repo, [{}, {"results": {"loss": "NaN"}}, {"results": {"loss": 1}}, {"results": {"acc": 1}}])

    assert places(repo, tags, sort="loss", reverse=reverse) == [2, 1, 0, 3]
