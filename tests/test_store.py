import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import make_repo, sh
from experimenter import names, store
from experimenter.errors import ExperimenterError, NewerRecord, NotARecord, RefExists, RefMoved
from experimenter.plumbing import Repo, find_repo, tree_of
from experimenter.record import Record

AT = datetime(2026, 11, 23, 3, 19, 36, 123456, tzinfo=UTC)
TAG = names.tag("baseline", AT)


@pytest.fixture
def here(repo: Path) -> Repo:
    return find_repo(repo)


def begin(**more: Any) -> Record:
    return Record.begin(name="baseline", started=AT, command=["python", "train.py"], **more)


def create(repo: Repo, tag: str = TAG, *, commit: str = "HEAD", **more: Any) -> store.Experiment:
    return store.create(repo, tag, sh(f"git rev-parse {commit}").strip(), begin(**more))


def refs() -> str:
    return sh("git for-each-ref")


def test_an_experiment_is_an_annotated_tag_with_the_record_as_its_message(here: Repo) -> None:
    made = create(here, parameters={"lr": 0.1})

    assert sh(f"git cat-file tag {TAG}").split("\n\n", 1)[1] == made.record.to_json()
    assert sh("git tag --list") == f"{TAG}\n"
    assert sh(f"git rev-parse {TAG}") == made.tag_object + "\n"
    assert sh(f"git rev-parse {TAG}^{{commit}}") == made.commit + "\n" == sh("git rev-parse HEAD")
    assert store.read(here, TAG) == made
    assert (made.id, made.name) == (names.id_of(TAG), "baseline")


def test_a_tag_that_exists_is_never_replaced(here: Repo) -> None:
    create(here)
    before = refs()

    with pytest.raises(RefExists, match=TAG):
        create(here, description="another")

    assert refs() == before


def test_an_update_replaces_the_record_and_leaves_no_trace(here: Repo) -> None:
    sh("git config core.logAllRefUpdates always")
    made = create(here)

    updated = store.update(here, made, made.record.with_(status="completed", results={"accuracy": 0.9}))

    assert store.read(here, TAG) == updated
    assert updated.record.results == {"accuracy": 0.9}
    assert updated.commit == made.commit
    assert not Path(".git/logs/refs/tags").exists()
    assert sh("git for-each-ref --format='%(refname)' refs/tags") == f"refs/tags/{TAG}\n"


@pytest.mark.parametrize("meanwhile", ["updated", "deleted", "moved by git"])
def test_a_tag_that_somebody_else_changed_is_left_to_them(here: Repo, meanwhile: str) -> None:
    seen = create(here)
    if meanwhile == "updated":
        store.update(here, seen, seen.record.with_(status="completed"))
    elif meanwhile == "deleted":
        store.delete(here, seen)
    else:
        sh(f"git tag -f -m mine {TAG}")
    theirs = refs()

    with pytest.raises(RefMoved, match=TAG):
        store.update(here, seen, seen.record.with_(status="failed"))
    with pytest.raises(RefMoved, match=TAG):
        store.delete(here, seen)

    assert refs() == theirs


@pytest.mark.parametrize("pack", ["true", "git pack-refs --all"])
def test_deleting_removes_the_tag_alone(here: Repo, pack: str) -> None:
    made, other = create(here), create(here, names.tag("other", AT))
    sh(f"git tag v1; {pack}")

    store.delete(here, made)

    assert sh("git tag --list").split() == [other.tag, "v1"]
    with pytest.raises(NotARecord, match=f"{TAG}: it is gone"):
        store.read(here, TAG)


class TestListing:
    def test_goes_from_the_oldest_to_the_newest_whatever_the_names(self, here: Repo) -> None:
        moments = [("z_z", 0), ("a", 1), ("m", 1), ("b", 86400), ("Z", 86400 * 400)]
        expected = [names.tag(name, AT + timedelta(seconds=seconds)) for name, seconds in moments]
        for tag in reversed(expected):
            create(here, tag)

        assert [experiment.tag for experiment in store.listing(here, store.tag_objects(here)).experiments] == expected
        assert store.tags(here) == expected

    def test_of_no_experiments_is_empty(self, here: Repo) -> None:
        assert store.listing(here, store.tag_objects(here)) == store.Listing(experiments=[], no_records=[], newer=[])
        assert store.tags(here) == []

    def test_holds_what_read_gives_for_each(self, here: Repo) -> None:
        create(here, parameters={"a\n#b\0": "größe\r\n\n#\n", "": "-----BEGIN PGP SIGNATURE-----"})
        create(here, names.tag("other", AT), results={"x": [1]})

        listing = store.listing(here, store.tag_objects(here))

        assert listing.experiments == [store.read(here, experiment.tag) for experiment in listing.experiments]
        assert len(listing.experiments) == 2

    def test_with_a_tree_holds_only_experiments_on_exactly_that_code(self, here: Repo) -> None:
        create(here)
        sh("git commit -q --allow-empty -m same; echo two > train.py; git commit -qam two")
        same = create(here, names.tag("same", AT + timedelta(1)), commit="HEAD^")
        other = create(here, names.tag("other", AT + timedelta(2)))

        def found(revision: str) -> list[str]:
            return [
                experiment.tag
                for experiment in store.listing(here, store.tag_objects(here, tree=tree_of(here, revision))).experiments
            ]

        assert found("HEAD") == found("main") == found(other.tag) == [other.tag]
        assert found("HEAD~2") == found(sh("git rev-parse --short HEAD^").strip()) == [TAG, same.tag]

    def test_passes_over_tags_that_are_no_records(self, here: Repo) -> None:
        good = create(here)
        late = {
            key: names.tag(key, AT + timedelta(1))
            for key in ("plain", "light", "blob", "list", "tree", "signed", "commit")
        }
        sh(f"git tag -m 'release of the experiment' {late['plain']}; git tag {late['light']}")
        sh(f"git tag -m '{{}}' {late['blob']} HEAD:train.py; git tag {late['tree']} HEAD^{{tree}}")
        sh(f"git tag -m '[{{\"schema\": 1}}]' {late['list']}")
        sh(f"printf '{{\"schema\": 1}}\\n-----BEGIN PGP SIGNATURE-----\\n' | git tag -F - {late['signed']}")
        sh(f"git commit -q --allow-empty -m '{{\"schema\": 1}}'; git tag {late['commit']}")
        sh("git tag -m '{\"schema\": 1}' exp_no_time; git tag exp_; git tag -m '{\"schema\": 1}' v1; git tag other")

        listing = store.listing(here, store.tag_objects(here))

        assert [experiment.tag for experiment in listing.experiments] == [good.tag]
        assert sorted(listing.no_records) == sorted([*late.values(), "exp_no_time", "exp_"])
        assert listing.newer == []

    def test_passes_over_messages_of_odd_bytes(self, here: Repo) -> None:
        good = create(here)
        tags = [names.tag("odd", AT + timedelta(days)) for days in range(1, 4)]
        messages = [b'\xff{"schema": 1}', b'{"schema":\0 1}\n\0\0\0\0\0', b""]
        for tag, message in zip(tags, messages, strict=True):
            head = sh("git rev-parse HEAD").strip().encode()
            raw = b"object " + head + b"\ntype commit\ntag x\ntagger A <a@b> 1 +0000\n\n" + message
            words = ["git", "hash-object", "-t", "tag", "-w", "--stdin", "--literally"]
            oid = subprocess.run(words, input=raw, capture_output=True, check=True).stdout.decode().strip()
            sh(f"git update-ref refs/tags/{tag} {oid}")

        listing = store.listing(here, store.tag_objects(here))

        assert [experiment.tag for experiment in listing.experiments] == [good.tag]
        assert listing.no_records == tags

    def test_names_records_of_a_newer_schema_without_failing_the_rest(self, here: Repo) -> None:
        good = create(here)
        newer = names.tag("newer", AT - timedelta(1))
        sh(f'git tag -m \'{{"schema": 2, "parameters": 5}}\' {newer}')

        listing = store.listing(here, store.tag_objects(here))

        assert ([experiment.tag for experiment in listing.experiments], listing.newer) == ([good.tag], [newer])
        assert listing.no_records == []
        with pytest.raises(NewerRecord, match=f"{newer}: .*schema 2"):
            store.read(here, newer)

    @pytest.mark.parametrize("message", ["release", '{"schema": 0}'])
    def test_reading_what_is_no_record_names_the_tag(self, here: Repo, message: str) -> None:
        sh(f"git tag -m '{message}' {TAG}")

        with pytest.raises(NotARecord, match=TAG):
            store.read(here, TAG)


@pytest.mark.parametrize("revision", ["nowhere", "", "--all", "HEAD:train.py", "HEAD..HEAD", "-h", "a b\x1b"])
def test_what_is_no_revision_is_named(here: Repo, revision: str) -> None:
    with pytest.raises(ExperimenterError) as refused:
        tree_of(here, revision)

    assert refused.value.message.startswith(f"'{revision}' is no revision")


class TestTagObject:
    def test_passes_gits_strictest_check(self, here: Repo) -> None:
        created = create(here, parameters={"a\n#b": "größe\n\n\0 \x7f", "long": "x" * 200_000})
        store.update(here, created, created.record.with_(status="completed"))

        checked = subprocess.run(["git", "fsck", "--strict"], capture_output=True, text=True)

        assert (checked.returncode, "error" in checked.stderr, "warning" in checked.stderr) == (0, False, False)
        sh(f"git cat-file tag {TAG} | git mktag")  # which is strict unless it is told otherwise

    def test_lines_that_look_like_comments_or_signatures_stay(self, here: Repo) -> None:
        made = create(here, description="# one\n#two\n-----BEGIN PGP SIGNATURE-----\n", parameters={"#": ["#", "\n#"]})

        assert store.read(here, TAG).record.body == made.record.body

    def test_is_not_touched_by_settings_for_tags(self, here: Repo) -> None:
        sh("git config tag.gpgSign true; git config tag.forceSignAnnotated true; git config user.signingKey nobody")
        sh(
            "git config gpg.program false; git config i18n.commitEncoding latin1; git config i18n.logOutputEncoding latin1"
        )
        sh("git config core.commentChar '{'; git config core.editor false")

        create(here, description="größe")

        message = sh(f"git cat-file tag {TAG}")
        assert "größe" in message
        assert "SIGNATURE" not in message
        assert store.read(here, TAG).record.body["description"] == "größe"

    def test_is_by_the_user_and_from_now(self, here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
        for key in (
            "GIT_COMMITTER_NAME",
            "GIT_COMMITTER_EMAIL",
            "GIT_AUTHOR_NAME",
            "GIT_AUTHOR_EMAIL",
            "GIT_COMMITTER_DATE",
        ):
            monkeypatch.delenv(key)
        sh("git config user.name 'Gräce Hopper'; git config user.email grace@example.com")

        create(here)

        name, at = sh(
            f"git for-each-ref --format='%(taggername) %(taggeremail)|%(taggerdate:unix)' refs/tags/{TAG}"
        ).split("|")
        assert name == "Gräce Hopper <grace@example.com>"
        assert abs(int(at) - datetime.now(UTC).timestamp()) < 600

    @pytest.mark.parametrize("setting", ["user.useConfigOnly=true", "user.useConfigOnly=false"])
    def test_needs_no_identity(self, here: Repo, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
        for key in (
            "GIT_COMMITTER_NAME",
            "GIT_COMMITTER_EMAIL",
            "GIT_AUTHOR_NAME",
            "GIT_AUTHOR_EMAIL",
            "GIT_COMMITTER_DATE",
        ):
            monkeypatch.delenv(key)
        monkeypatch.delenv("EMAIL", raising=False)
        sh(f"git config {setting.replace('=', ' ')}")

        create(here)

        assert store.read(here, TAG).name == "baseline"
        sh("git fsck --strict")

    def test_runs_no_hook(self, here: Repo, tmp_path: Path) -> None:
        hook = Path(".git/hooks/reference-transaction")
        hook.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\nexit 1\n")
        hook.chmod(0o755)

        store.delete(here, store.update(here, create(here), begin(description="new")))

        assert not (tmp_path / "ran").exists()

    def test_can_be_made_in_a_sha256_repository(self, tmp_path: Path) -> None:
        top = make_repo(tmp_path / "sha256", "--object-format=sha256")
        commit = sh("git rev-parse HEAD", cwd=top).strip()

        made = store.create(find_repo(top), TAG, commit, begin())

        assert len(made.tag_object) == 64
        with pytest.raises(RefExists):
            store.create(find_repo(top), TAG, commit, begin())
        store.delete(find_repo(top), store.update(find_repo(top), made, begin(description="new")))
        assert store.tags(find_repo(top)) == []
