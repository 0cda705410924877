import hashlib
import string
import subprocess
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experimenter import names
from experimenter.errors import BadName

AT = datetime(2026, 11, 23, 3, 19, 36, 123456, tzinfo=UTC)
LETTERS_AND_DIGITS = string.ascii_letters + string.digits
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True).filter(lambda name: ".." not in name)


def is_accepted(name: str) -> bool:
    try:
        return names.checked(name) == name
    except BadName:
        return False


def git_accepts(tag: str) -> bool:
    return subprocess.run(["git", "check-ref-format", f"refs/tags/{tag}"]).returncode == 0


@given(st.text(alphabet="aZ09._-/@{ ~^:?*[\\\n\x7fé", max_size=8))
@settings(deadline=None, max_examples=60)
@example("a.lock")
@example("a@{b")
@example("a..b")
@example("a.")
@example("a\n")
@example("٣")
@example("x" * 100)
@example("x" * 101)
def test_accepts_exactly_the_names_of_the_rule_whose_tags_git_accepts(name: str) -> None:
    by_rule = (
        1 <= len(name) <= 100
        and name[0] in LETTERS_AND_DIGITS
        and all(letter in LETTERS_AND_DIGITS + "._-" for letter in name)
    )

    assert is_accepted(name) == (by_rule and git_accepts(names.tag(name, AT)))


@given(NAMES)
@settings(deadline=None, max_examples=30)
def test_a_tag_is_one_for_git_and_gives_its_name_back(name: str) -> None:
    tag = names.tag(name, AT)

    assert git_accepts(tag)
    assert names.is_tag(tag)
    assert names.name_of(tag) == name


@pytest.mark.parametrize("name", ["", "-dash", ".hidden", "a b", "a/b", "a..b", "größe", "x" * 101, "line\nbreak"])
def test_a_refused_name_is_told_the_rule(name: str) -> None:
    with pytest.raises(BadName, match=r"1 to 100 characters of A-Z a-z 0-9 \. _ -, begins with a letter or digit"):
        names.checked(name)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))])
def test_a_tag_holds_the_time_in_utc_to_the_microsecond(zone: timezone) -> None:
    assert names.tag("base_line", AT.astimezone(zone)) == "exp_base_line_20261123T031936.123456Z"
    assert names.tag("a", AT.replace(microsecond=0)) == "exp_a_20261123T031936.000000Z"


@pytest.mark.parametrize(
    "tag", ["exp_a", "exp_a_20261123T031936Z", "exp__20261123T031936.123456Z", "xexp_a_20261123T031936.123456Z", "v1.0"]
)
def test_other_tags_are_none_of_ours(tag: str) -> None:
    assert not names.is_tag(tag)


def test_the_id_is_the_start_of_the_sha1_of_the_tags_name() -> None:
    tag = "exp_baseline_20261123T031936.123456Z"

    assert names.id_of(tag) == hashlib.sha1(tag.encode()).hexdigest()[:8] == "d00d31f9"


def test_tags_sort_by_time_and_only_then_by_name() -> None:
    tags = [
        names.tag("z", AT),
        names.tag("b", AT + timedelta(microseconds=1)),
        names.tag("a_b", AT + timedelta(days=9)),
    ]

    assert sorted([tags[2], tags[0], tags[1]], key=names.age_key) == tags


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python -u train.py", "train"),
        ("./sim.sh --fast", "sim"),
        ("python -m pkg.train", "pkg.train"),
        ("sh -c exit", "sh"),
        ("/usr/bin/python3.11 -W ignore -X dev src/train.py --lr 1", "train"),
        ("python -um pkg.train", "pkg.train"),
        ("python -mpkg.train -m other", "pkg.train"),
        ("python -c print() train.py", "python"),
        ("python -uc print()", "python"),
        ("python -Wignore -- train.py", "train"),
        ("python3.11", "python3.11"),
        ("bash -o pipefail run.sh", "run"),
        ("bash -ec true", "bash"),
        ("perl -I lib sim.pl", "sim"),
        ("Rscript fit.R", "fit"),
        ("make all", "make"),
        ("gcc-12.1 x.c", "gcc-12.1"),
        ("/opt/größe.sh", "gr--e"),
        ("./-_sim.sh", "sim"),
        ("./a..b.sh", "a--b"),
        ("./" + "x" * 300, "x" * 100),
        ("///", "experiment"),
        ("...", "experiment"),
    ],
)
def test_the_name_comes_from_the_command(command: str, name: str) -> None:
    assert names.from_command(command.split()) == name


@given(
    st.lists(
        st.sampled_from(["python", "sh", "perl", "-m", "-c", "-u", "--", "-", "", "-W", "a.py"])
        | st.text(alphabet=st.characters(codec=None), max_size=120),
        min_size=1,
    )
)
@settings(deadline=None)
@example(["python", "\udce9.py"])
@example(["python", "-m", ""])
@example(["\0"])
def test_any_command_gives_a_name_that_is_accepted(command: list[str]) -> None:
    assert is_accepted(names.from_command(command))
