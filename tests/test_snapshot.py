import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import make_repo, sh, until
from experimenter.errors import ExperimenterError, FilesRefused
from experimenter.limits import Limits
from experimenter.plumbing import find_repo
from experimenter.snapshot import CodeState, drift, take

LIMITS = Limits(max_file_size_bytes=50 * 1024**2)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch-index"


@pytest.fixture
def snapshot(scratch: Path) -> Callable[..., CodeState]:
    def snap(directory: Path | None = None, limits: Limits = LIMITS) -> CodeState:
        scratch.unlink(missing_ok=True)
        return take(find_repo(directory or Path()), limits, scratch=scratch)

    return snap


Snapshot = Callable[..., CodeState]


def files(commit: str, cwd: Path | None = None) -> dict[bytes, bytes]:
    """Return what `git checkout` of a commit would give: bytes by path; gitlinks as `gitlink SHA`."""
    listing = subprocess.run(["git", "ls-tree", "-r", "-z", commit], cwd=cwd, capture_output=True, check=True).stdout
    found = {}
    for line in listing.split(b"\0")[:-1]:
        meta, path = line.split(b"\t", 1)
        mode, kind, oid = meta.split()
        if kind == b"commit":
            found[path] = b"gitlink " + oid
        else:
            found[path] = subprocess.run(["git", "cat-file", "blob", oid], cwd=cwd, capture_output=True).stdout
            if mode == b"120000":
                found[path] = b"-> " + found[path]
    return found


def everything(top: Path) -> dict[str, object]:
    """Return all of the user's: HEAD, refs, index bytes, stash, reflogs, config, files with bytes, modes and times."""
    git_dir = top / ".git"
    state: dict[str, object] = {
        "describe": sh("git describe --tags --always", cwd=top),
        "log": sh("git log --decorate --oneline --branches --remotes", cwd=top),
        "status": sh("git --no-optional-locks status --porcelain", cwd=top),
        "stash": sh("git stash list", cwd=top),
    }
    for folder in (top, git_dir):
        for path in sorted(folder.rglob("*")):
            relative = str(path.relative_to(top))
            if relative.startswith((".git/objects", ".git/experimenter")) or (folder is top and ".git/" in relative):
                continue
            found = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(found.st_mode) else b""
            is_gits = folder is git_dir or path == git_dir
            times = 0 if path.is_dir() and is_gits else found.st_mtime_ns
            state[relative] = (found.st_mode, times, content)
    return state


def test_holds_modified_untracked_and_deleted_files(repo: Path, snapshot: Snapshot) -> None:
    sh("echo old > gone.txt; git add .; git commit -qm second; rm gone.txt; echo two > train.py; echo new > notes.txt")

    code = snapshot()

    assert files(code.commit) == {b"train.py": b"two\n", b"notes.txt": b"new\n"}
    assert code.changed == {"added": ["notes.txt"], "modified": ["train.py"], "deleted": ["gone.txt"]}
    assert code.base == sh("git rev-parse HEAD").strip()
    assert code.branch == "main"
    assert sh(f"git rev-parse {code.commit}^").strip() == code.base


def test_takes_the_file_on_disk_where_it_is_staged_in_part(repo: Path, snapshot: Snapshot) -> None:
    sh("echo staged > train.py; git add train.py; echo disk > train.py; echo a > added; git add added; echo b > added")
    sh("echo x > dropped; git add dropped; rm dropped")

    assert files(snapshot().commit) == {b"train.py": b"disk\n", b"added": b"b\n"}


def test_takes_what_is_only_staged(repo: Path, snapshot: Snapshot) -> None:
    sh("echo staged > train.py; git add train.py; git mv train.py renamed.py")

    assert files(snapshot().commit) == {b"renamed.py": b"staged\n"}


def test_takes_renames_modes_and_symlinks(repo: Path, snapshot: Snapshot) -> None:
    sh("mv train.py moved.py; chmod +x moved.py; ln -s moved.py link; ln -s nowhere dangling")

    commit = snapshot().commit

    assert files(commit) == {b"moved.py": b"one\n", b"link": b"-> moved.py", b"dangling": b"-> nowhere"}
    assert sh(f"git ls-tree {commit} moved.py").startswith("100755")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("mkdir d; echo 1 > d/f", "rm -r d; echo 2 > d", {b"d": b"2\n"}),
        ("echo 1 > d", "rm d; mkdir d; echo 2 > d/f", {b"d/f": b"2\n"}),
        (
            "mkdir d other; echo 1 > d/f; echo 1 > other/f",
            "rm -r d; ln -s other d",
            {b"d": b"-> other", b"other/f": b"1\n"},
        ),
        ("ln -s train.py d", "rm d; mkdir d; echo 2 > d/f", {b"d/f": b"2\n"}),
        ("echo 1 > d", "rm d; ln -s train.py d", {b"d": b"-> train.py"}),
        ("echo 1 > d", "rm d; mkfifo d", {}),
    ],
)
def test_takes_files_that_became_something_else(
    repo: Path, snapshot: Snapshot, before: str, after: str, expected: dict[bytes, bytes]
) -> None:
    sh(f"{before}; git add .; git commit -qm before; {after}")

    assert files(snapshot().commit) == expected | {b"train.py": b"one\n"}


NAMES = [
    b"a b",
    b"new\nline",
    b"-dash",
    b"--",
    b'"quoted"',
    b"tab\t",
    b"caf\xe9.py",
    "größe".encode(),
    b"*",
    b":(top)x",
    b"\\",
]


@pytest.mark.parametrize("name", NAMES)
def test_takes_names_of_any_bytes(repo: Path, snapshot: Snapshot, name: bytes) -> None:
    Path(os.fsdecode(name)).write_bytes(b"untracked")
    first = files(snapshot().commit)
    sh("git add -A && git commit -qm odd")
    Path(os.fsdecode(name)).write_bytes(b"modified")
    second = files(snapshot().commit)
    Path(os.fsdecode(name)).unlink()
    third = snapshot()

    assert first == {name: b"untracked", b"train.py": b"one\n"}
    assert second == {name: b"modified", b"train.py": b"one\n"}
    assert files(third.commit) == {b"train.py": b"one\n"}
    shown = '"caf\\351.py"' if name == b"caf\xe9.py" else name.decode()
    assert third.changed["deleted"] == [shown]


def test_leaves_out_what_git_ignores(repo: Path, snapshot: Snapshot) -> None:
    sh("echo '*.log' > .gitignore; echo x > a.log; mkdir data; echo data/ >> .git/info/exclude; echo x > data/x")

    assert set(files(snapshot().commit)) == {b".gitignore", b"train.py"}


def test_works_before_the_first_commit(tmp_path: Path, snapshot: Snapshot) -> None:
    top = tmp_path / "fresh"
    sh(f"git init -q {top}; echo x > {top}/x")

    code = snapshot(top)

    assert files(code.commit, top) == {b"x": b"x\n"}
    assert code.base is None
    assert code.branch == "main"
    assert code.changed["added"] == ["x"]
    assert sh(f"git log -1 --format='%P|%ct' {code.commit}", cwd=top) == "|0\n"


def test_works_in_an_empty_repository(tmp_path: Path, snapshot: Snapshot) -> None:
    top = tmp_path / "fresh"
    sh(f"git init -q {top}")

    assert files(snapshot(top).commit, top) == {}


def test_works_on_a_detached_head(repo: Path, snapshot: Snapshot) -> None:
    sh("git checkout -q --detach; echo two > train.py")

    code = snapshot()

    assert code.branch is None
    assert files(code.commit) == {b"train.py": b"two\n"}


def test_takes_conflicted_files_as_they_are_in_a_merge(repo: Path, snapshot: Snapshot) -> None:
    sh("git checkout -qb side; echo side > train.py; echo s > s; git add .; git commit -qm side")
    sh("git checkout -q main; echo main > train.py; git commit -qam main; git merge side || true")

    found = files(snapshot().commit)

    assert found[b"train.py"] == Path("train.py").read_bytes()
    assert b"<<<<<<<" in found[b"train.py"]
    assert found[b"s"] == b"s\n"


def test_takes_conflicted_files_as_they_are_in_a_rebase(repo: Path, snapshot: Snapshot) -> None:
    sh(
        "echo base > both; git add .; git commit -qm base; git checkout -qb side; echo side > both; git commit -qam side"
    )
    sh("git checkout -q main; git rm -q both; git commit -qm gone; git checkout -q side; git rebase main || true")
    sh("test -d .git/rebase-merge; rm -f both")

    code = snapshot()

    assert files(code.commit) == {b"train.py": b"one\n"}
    assert code.branch is None


def test_works_in_a_linked_worktree(repo: Path, snapshot: Snapshot) -> None:
    sh("git worktree add -q ../linked -b other; echo linked > ../linked/train.py; echo main > train.py")

    code = snapshot(Path("../linked"))

    assert files(code.commit) == {b"train.py": b"linked\n"}
    assert code.branch == "other"


def test_leaves_out_linked_worktrees_of_the_same_repository(repo: Path, snapshot: Snapshot) -> None:
    sh("git worktree add -q inside -b other; echo x > inside/x; echo new > notes.txt")

    assert set(files(snapshot().commit)) == {b"train.py", b"notes.txt"}


@pytest.mark.parametrize("cone", ["--cone", "--cone --sparse-index", "--no-cone"])
def test_works_in_a_sparse_checkout(repo: Path, snapshot: Snapshot, cone: str) -> None:
    sh("mkdir in out; echo 1 > in/f; echo 1 > out/f; git add .; git commit -qm folders")
    sh(f"git sparse-checkout set {cone} in; test ! -e out; echo 2 > in/f; echo new > in/new")

    assert files(snapshot().commit) == {b"in/f": b"2\n", b"in/new": b"new\n", b"out/f": b"1\n", b"train.py": b"one\n"}


def test_takes_files_that_lie_outside_a_sparse_checkout_all_the_same(repo: Path, snapshot: Snapshot) -> None:
    sh(
        "mkdir in out; echo 1 > in/f; echo 1 > out/f; git add .; git commit -qm folders; git sparse-checkout set --cone in"
    )
    sh("mkdir out; echo 2 > out/f; echo new > out/new")

    found = files(snapshot().commit)

    assert (found[b"out/f"], found[b"out/new"]) == (b"2\n", b"new\n")


def test_works_with_a_split_index_and_leaves_no_shared_one(repo: Path, snapshot: Snapshot) -> None:
    sh("git config core.splitIndex true; git update-index --split-index; echo 2 > two; git add two; echo 3 > train.py")
    for number in range(50):  # so many changes that git would start another shared index
        Path(f"new-{number}").write_text("")
    shared = sorted(Path(".git").glob("sharedindex.*"))

    found = files(snapshot().commit)

    assert (found[b"two"], found[b"train.py"], len(found)) == (b"2\n", b"3\n", 52)
    assert sorted(Path(".git").glob("sharedindex.*")) == shared != []


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_takes_files_that_git_was_told_not_to_look_at(repo: Path, snapshot: Snapshot, flag: str) -> None:
    sh(f"git update-index {flag} train.py; echo two > train.py")
    before = sh("git ls-files -v")

    assert files(snapshot().commit) == {b"train.py": b"two\n"}
    assert sh("git ls-files -v") == before


def test_a_deleted_assume_unchanged_file_is_gone_and_an_absent_skip_worktree_file_stays(
    repo: Path, snapshot: Snapshot
) -> None:
    sh("echo 1 > a; echo 1 > s; git add .; git commit -qm two; git update-index --assume-unchanged a")
    sh("git update-index --skip-worktree s; rm a s")

    assert files(snapshot().commit) == {b"s": b"1\n", b"train.py": b"one\n"}


def test_takes_intent_to_add_files(repo: Path, snapshot: Snapshot) -> None:
    sh("echo planned > plan; git add -N plan; echo other > gone; git add -N gone; rm gone")

    assert files(snapshot().commit) == {b"plan": b"planned\n", b"train.py": b"one\n"}


def test_works_in_a_sha256_repository(tmp_path: Path, snapshot: Snapshot) -> None:
    top = make_repo(tmp_path / "sha256", "--object-format=sha256")
    (top / "train.py").write_text("two\n")
    clean = make_repo(tmp_path / "clean", "--object-format=sha256")

    code = snapshot(top)

    assert len(code.commit) == 64
    assert files(code.commit, top) == {b"train.py": b"two\n"}
    assert files(snapshot(clean).commit, clean) == {b"train.py": b"one\n"}


def test_applies_autocrlf_and_filters_as_git_add_does(repo: Path, snapshot: Snapshot) -> None:
    sh("git config core.autocrlf true; git config core.safecrlf true; printf 'a\\r\\nb\\r\\n' > dos.txt")
    sh("git config filter.shout.clean 'tr a-z A-Z'; echo '*.low filter=shout' > .gitattributes; echo quiet > x.low")
    commit = snapshot().commit
    sh("git -c core.safecrlf=false add -A")

    assert files(commit)[b"dos.txt"] == b"a\nb\n"
    assert files(commit)[b"x.low"] == b"QUIET\n"
    assert sh("git write-tree") == sh(f"git rev-parse {commit}^{{tree}}")


def test_a_failing_required_filter_is_an_error(repo: Path, snapshot: Snapshot) -> None:
    sh("git config filter.broken.clean false; git config filter.broken.required true")
    sh("echo '*.x filter=broken' > .gitattributes; echo x > a.x")

    with pytest.raises(ExperimenterError, match=r"clean filter 'broken' failed|a\.x"):
        snapshot()


def test_takes_the_whole_tree_from_a_subdirectory(repo: Path, snapshot: Snapshot) -> None:
    sh("mkdir -p sub/dir; echo two > train.py; echo new > sub/dir/x")

    code = snapshot(Path("sub/dir"))

    assert files(code.commit) == {b"train.py": b"two\n", b"sub/dir/x": b"new\n"}


def test_sees_a_change_of_the_same_size_in_the_same_tick_as_the_index(repo: Path, snapshot: Snapshot) -> None:
    """A copy of the index with a newer time would hide it: git trusts the cached stat data then."""
    path = Path("train.py")
    moment = 1_600_000_000 * 10**9
    for number in range(5):
        path.write_text(f"{number}xx\n")
        os.utime(path, ns=(moment, moment))
        sh("git add train.py")
        os.utime(".git/index", ns=(moment, moment))  # as if all this happened in one tick of the clock
        path.write_text(f"{number}yy\n")
        os.utime(path, ns=(moment, moment))

        assert files(snapshot().commit) == {b"train.py": f"{number}yy\n".encode()}


def test_is_a_commit_of_its_own_where_nothing_changed(repo: Path, snapshot: Snapshot) -> None:
    code = snapshot()

    assert code.commit != code.base
    assert code.tree == sh("git rev-parse HEAD^{tree}").strip()
    assert code.changed == {"added": [], "modified": [], "deleted": []}
    assert sh(f"git rev-parse {code.commit}^").strip() == code.base


def test_equal_code_has_an_equal_sha_whoever_takes_it(
    repo: Path, snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sh("echo 'grüße' > train.py; echo new > 'a b'")
    first = snapshot()
    other = tmp_path / "clone"
    sh(f"git clone -q . {other}; cp train.py 'a b' {other}")
    sh("git config user.name Bob; git config commit.gpgsign true; git config i18n.commitEncoding latin1", cwd=other)
    sh("git config gpg.program false; git config core.logAllRefUpdates always; git config tag.gpgSign true", cwd=other)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Bob")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "bob@example.com")
        monkeypatch.setenv(f"GIT_{role}_DATE", "1800000000 -0500")

    second = snapshot(other)

    assert second.commit == first.commit
    assert sh(f"git log -1 --format=%ct {first.commit}") == "1700000000\n"


def test_a_replaced_parent_changes_nothing(repo: Path, snapshot: Snapshot) -> None:
    sh("echo two > train.py")
    first = snapshot()
    sh("git replace HEAD $(GIT_COMMITTER_DATE=1600000000 git commit-tree -m other $(git mktree </dev/null))")

    assert snapshot().commit == first.commit


@pytest.mark.parametrize("state", ["dirty", "clean", "merge"])
def test_nothing_of_the_user_changes(repo: Path, snapshot: Snapshot, state: str) -> None:
    sh("echo s > train.py; git stash -q; git tag -a -m one v1; git config core.logAllRefUpdates always")
    sh("git config core.fsmonitor '.git/hooks/any'; git config core.untrackedCache true")
    for hook in ("post-index-change", "pre-commit", "reference-transaction", "post-commit", "any"):
        path = Path(".git/hooks") / hook
        path.write_text(f"#!/bin/sh\ntouch '{repo.parent}/hook-{hook}-ran'\n")
        path.chmod(0o755)
    if state == "merge":
        sh("git checkout -qb side; echo side > train.py; git commit -qam side; git checkout -q main")
        sh("echo main > train.py; git commit -qam main; git merge side || true")
    if state != "clean":
        sh("echo two >> train.py; echo new > new; echo st > st; git add st; echo more >> st")
    for marker in repo.parent.glob("hook-*-ran"):
        marker.unlink()
    before = everything(repo)
    for marker in repo.parent.glob("hook-*-ran"):
        marker.unlink()  # asking git about it ran the file system monitor's hook

    snapshot()

    assert list(repo.parent.glob("hook-*-ran")) == []
    assert everything(repo) == before


def test_works_while_the_index_is_locked(repo: Path, snapshot: Snapshot) -> None:
    sh("touch .git/index.lock; echo two > train.py")

    assert files(snapshot().commit) == {b"train.py": b"two\n"}


@pytest.mark.parametrize(
    "variable", ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"]
)
def test_ignores_what_git_hooks_leave_in_the_environment(
    repo: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    elsewhere = make_repo(tmp_path / "elsewhere")
    sh("echo two > train.py")
    values = {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index", "GIT_WORK_TREE": "", "GIT_COMMON_DIR": ".git"}
    monkeypatch.setenv(variable, str(elsewhere / values.get(variable, ".git/objects")))

    code = snapshot()
    monkeypatch.delenv(variable)

    assert files(code.commit) == {b"train.py": b"two\n"}


def test_ignores_settings_that_hide_files_from_status(repo: Path, snapshot: Snapshot) -> None:
    sh("git config status.showUntrackedFiles no; git config status.relativePaths true; git config status.branch false")
    sh("git config diff.ignoreSubmodules all; mkdir sub; echo new > sub/new")

    assert files(snapshot(Path("sub")).commit) == {b"sub/new": b"new\n", b"train.py": b"one\n"}


@pytest.mark.parametrize("rename", ["mv train.py Train.py", "mv pkg PKG", "git mv train.py x; git mv x TRAIN.py"])
def test_tells_cases_apart_where_the_disk_does(repo: Path, snapshot: Snapshot, rename: str) -> None:
    sh("mkdir pkg; echo 1 > pkg/a; git add .; git commit -qm pkg; git config core.ignoreCase true")
    sh(f"{rename}; echo '*.LOG' > .gitignore; echo x > x.log")

    found = files(snapshot().commit)

    on_disk = [path for path in repo.rglob("*") if path.is_file() and ".git" not in path.relative_to(repo).parts]
    assert set(found) == {os.fsencode(path.relative_to(repo)) for path in on_disk}
    assert b"x.log" in found


def test_tells_cases_apart_in_a_nested_repository_and_a_linked_work_tree(repo: Path, snapshot: Snapshot) -> None:
    sh("git config core.ignoreCase true; git worktree add -q ../linked -b other; mv ../linked/train.py ../linked/T.py")
    make_repo(repo / "nested")
    sh("git -C nested config core.ignoreCase true; mv nested/train.py nested/Train.py")

    assert set(files(snapshot().commit)) == {b"train.py", b"nested/Train.py"}
    assert set(files(snapshot(Path("../linked")).commit)) == {b"T.py"}


@pytest.mark.parametrize("setting", ["core.trustctime false", "core.checkStat minimal"])
def test_sees_an_edit_of_equal_size_and_time_whatever_the_settings_trust(
    repo: Path, snapshot: Snapshot, scratch: Path, setting: str
) -> None:
    def edit(content: str) -> None:
        begun_s = int(time.time())
        until(lambda: int(time.time()) > begun_s, what="the next second, which is all that git looks at")
        Path("train.py").write_text(content)
        os.utime("train.py", ns=(10**18, 10**18))

    edit("one\n")
    sh(f"git config {setting}; git update-index --refresh")
    edit("two\n")
    assert files(snapshot().commit) == {b"train.py": b"two\n"}
    edit("six\n")

    assert drift(find_repo(repo), scratch=scratch) == {"modified": ["train.py"], "deleted": []}


def test_does_not_believe_the_untracked_cache(repo: Path, snapshot: Snapshot) -> None:
    sh("mkdir sub; git config core.untrackedCache true; git config status.showUntrackedFiles all")
    old = 1_600_000_000 * 10**9
    os.utime("sub", ns=(old, old))
    sh("git config core.trustctime false; git update-index --force-untracked-cache; git status; git status")
    Path("sub/new").write_text("new\n")
    os.utime("sub", ns=(old, old))

    assert set(files(snapshot().commit)) == {b"train.py", b"sub/new"}


class TestNestedRepositories:
    @pytest.fixture
    def library(self, tmp_path: Path) -> Path:
        return make_repo(tmp_path / "library")

    def test_a_clean_submodule_stays_a_gitlink(self, repo: Path, library: Path, snapshot: Snapshot) -> None:
        sh(f"git submodule --quiet add {library} lib; git commit -qm lib")
        sha = sh("git -C lib rev-parse HEAD").strip().encode()

        assert files(snapshot().commit)[b"lib"] == b"gitlink " + sha

    def test_a_clean_submodule_on_another_commit_is_a_gitlink_to_it(
        self, repo: Path, library: Path, snapshot: Snapshot
    ) -> None:
        sh(f"git submodule --quiet add {library} lib; git commit -qm lib; git -C lib commit -q --allow-empty -m more")
        sha = sh("git -C lib rev-parse HEAD").strip().encode()

        assert files(snapshot().commit)[b"lib"] == b"gitlink " + sha

    @pytest.mark.parametrize(
        ("edit", "expected"),
        [
            ("echo two > lib/train.py", {b"lib/train.py": b"two\n"}),
            ("echo new > lib/new", {b"lib/train.py": b"one\n", b"lib/new": b"new\n"}),
            ("echo st > lib/st; git -C lib add st", {b"lib/train.py": b"one\n", b"lib/st": b"st\n"}),
            ("rm lib/train.py", {}),
            ("git -C lib commit -q --allow-empty -m more; echo two > lib/train.py", {b"lib/train.py": b"two\n"}),
            ("git -C lib commit -q --allow-empty -m more; rm lib/train.py", {}),
            ("git -C lib update-index --assume-unchanged train.py; echo 2 > lib/train.py", {b"lib/train.py": b"2\n"}),
        ],
    )
    @pytest.mark.parametrize("ignore", ["none", "all"])
    def test_a_dirty_submodule_goes_in_as_plain_files(
        self, repo: Path, library: Path, snapshot: Snapshot, edit: str, expected: dict[bytes, bytes], ignore: str
    ) -> None:
        sh(
            f"git submodule --quiet add {library} lib; git commit -qm lib; git config submodule.lib.ignore {ignore}; {edit}"
        )

        found = files(snapshot().commit)

        assert {path: content for path, content in found.items() if path.startswith(b"lib")} == expected

    def test_submodules_in_a_dirty_submodule_go_in_as_plain_files_too(
        self, repo: Path, library: Path, tmp_path: Path, snapshot: Snapshot
    ) -> None:
        middle = make_repo(tmp_path / "middle")
        sh(f"git submodule --quiet add {library} inner; git commit -qm inner", cwd=middle)
        sh(
            f"git submodule --quiet add {middle} lib; git submodule --quiet update --init --recursive; git commit -qm lib"
        )
        clean = files(snapshot().commit)
        sh("echo deep > lib/inner/train.py")

        found = files(snapshot().commit)

        assert clean[b"lib"].startswith(b"gitlink ")
        assert found[b"lib/inner/train.py"] == b"deep\n"
        assert found[b"lib/train.py"] == b"one\n"
        assert b"lib" not in found

    def test_an_unpopulated_submodule_stays_a_gitlink(
        self, repo: Path, library: Path, tmp_path: Path, snapshot: Snapshot
    ) -> None:
        sh(f"git submodule --quiet add {library} lib; git commit -qm lib; git clone -q . {tmp_path}/clone")
        (tmp_path / "clone/train.py").write_text("two\n")

        found = files(snapshot(tmp_path / "clone").commit, tmp_path / "clone")

        assert found[b"lib"].startswith(b"gitlink ")
        assert found[b"train.py"] == b"two\n"

    def test_a_deleted_submodule_is_gone(self, repo: Path, library: Path, snapshot: Snapshot) -> None:
        sh(f"git submodule --quiet add {library} lib; git commit -qm lib; rm -rf lib")

        assert set(files(snapshot().commit)) == {b".gitmodules", b"train.py"}

    @pytest.mark.parametrize(
        ("instead", "expected"), [("ln -s elsewhere lib", b"-> elsewhere"), ("echo file > lib", b"file\n")]
    )
    def test_a_submodule_that_became_something_else_is_that(
        self, repo: Path, library: Path, snapshot: Snapshot, instead: str, expected: bytes
    ) -> None:
        sh(f"git submodule --quiet add {library} lib; git commit -qm lib; git clone -q {library} elsewhere")
        sh(f"echo two > elsewhere/train.py; rm -rf lib; {instead}")

        found = files(snapshot().commit)

        assert {path: content for path, content in found.items() if path.startswith(b"lib")} == {b"lib": expected}

    def test_nested_repositories_go_in_as_plain_files(self, repo: Path, library: Path, snapshot: Snapshot) -> None:
        sh(f"git init -q empty; echo e > empty/e; git clone -q {library} full; echo '*.log' > full/.gitignore")
        sh("echo x > full/x.log; echo two > full/train.py; git init -q full/deep; echo d > full/deep/d")

        assert files(snapshot().commit) == {
            b"train.py": b"one\n",
            b"empty/e": b"e\n",
            b"full/.gitignore": b"*.log\n",
            b"full/train.py": b"two\n",
            b"full/deep/d": b"d\n",
        }

    def test_the_index_of_a_submodule_is_left_alone(self, repo: Path, library: Path, snapshot: Snapshot) -> None:
        sh(f"git submodule --quiet add {library} lib; git commit -qm lib; touch -d 2001-01-01 lib/train.py")
        index = repo / ".git/modules/lib/index"
        before = index.read_bytes()

        snapshot()

        assert index.read_bytes() == before

    def test_a_tracked_file_that_became_a_repository_goes_in_as_plain_files(
        self, repo: Path, snapshot: Snapshot
    ) -> None:
        sh(
            "rm train.py; git init -q train.py; echo c > train.py/c; git -C train.py add c; git -C train.py commit -qm c"
        )
        sh("echo u > train.py/u")

        assert files(snapshot().commit) == {b"train.py/c": b"c\n", b"train.py/u": b"u\n"}

    def test_what_the_code_state_changes_in_an_ignored_submodule_is_listed(
        self, repo: Path, library: Path, snapshot: Snapshot
    ) -> None:
        sh(f"git submodule --quiet add {library} lib; git config -f .gitmodules submodule.lib.ignore all")
        sh(
            "git add .; git commit -qm lib; git -C lib commit -q --allow-empty -m more; git config diff.ignoreSubmodules all"
        )

        assert snapshot().changed["modified"] == ["lib"]

    def test_a_nested_repository_without_any_file_adds_nothing(self, repo: Path, snapshot: Snapshot) -> None:
        sh("git init -q empty")

        assert files(snapshot().commit) == {b"train.py": b"one\n"}

    def test_a_nested_repository_that_git_cannot_read_goes_in_as_for_git_add(
        self, repo: Path, snapshot: Snapshot
    ) -> None:
        sh("mkdir broken; echo 'gitdir: /nowhere' > broken/.git; echo x > broken/x")

        assert files(snapshot().commit)[b"broken/x"] == b"x\n"

    @pytest.mark.parametrize(
        "break_it", ["echo 'gitdir: /nowhere' > lib/.git", "rm lib/.git; mkdir lib/.git", "rm lib/.git"]
    )
    def test_a_broken_submodule_is_named(self, repo: Path, library: Path, snapshot: Snapshot, break_it: str) -> None:
        sh(f"git submodule --quiet add {library} lib; git commit -qm lib; {break_it}")

        with pytest.raises(ExperimenterError, match=r"the (repository in|submodule) lib"):
            snapshot()

    def test_untracked_files_of_nested_repositories_are_checked(
        self, repo: Path, library: Path, snapshot: Snapshot
    ) -> None:
        sh(f"git submodule --quiet add {library} lib; git commit -qm lib; echo k > lib/.env")
        sh("git init -q nested; echo k > nested/id_rsa; git -C nested add .; git -C nested commit -qm key")

        with pytest.raises(FilesRefused) as refused:
            snapshot()

        assert [line.split()[0] for line in refused.value.details] == ["nested/id_rsa", "lib/.env"]

    def test_an_edit_in_a_submodule_that_went_in_as_files_is_drift(
        self, repo: Path, library: Path, snapshot: Snapshot, scratch: Path
    ) -> None:
        sh(f"git submodule --quiet add {library} lib; git commit -qm lib; echo two > lib/train.py")
        snapshot()
        assert drift(find_repo(repo), scratch=scratch) is None
        sh("echo three > lib/train.py")

        assert drift(find_repo(repo), scratch=scratch) == {"modified": ["lib/train.py"], "deleted": []}


class TestRefusals:
    def test_a_large_untracked_file_is_refused_before_anything_is_stored(self, repo: Path, snapshot: Snapshot) -> None:
        sh("head -c 2049 /dev/zero > big; head -c 2048 /dev/zero > fits")
        objects = sorted(Path(".git/objects").rglob("*"))

        with pytest.raises(FilesRefused) as refused:
            snapshot(limits=Limits(max_file_size_bytes=2048))

        assert [line.split()[0] for line in refused.value.details] == ["big"]
        assert "--max-file-size" in refused.value.message
        assert ".gitignore" in refused.value.message
        assert sorted(Path(".git/objects").rglob("*")) == objects

    @pytest.mark.parametrize(
        "name",
        [
            ".env",
            ".env.local",
            "key.pem",
            "server.KEY",
            "id_rsa",
            "id_ed25519",
            ".netrc",
            ".pypirc",
            "credentials.json",
        ],
    )
    def test_an_untracked_file_that_looks_secret_is_refused(self, repo: Path, snapshot: Snapshot, name: str) -> None:
        sh(f"mkdir sub; echo s > sub/{name}")

        with pytest.raises(FilesRefused) as refused:
            snapshot()
        code = snapshot(limits=Limits(max_file_size_bytes=1000, allow_secrets=True))

        assert "--allow-secrets" in refused.value.message
        assert f"sub/{name}".encode() in files(code.commit)

    @pytest.mark.parametrize("name", [".env.example", "id_rsa.pub", "environment", "keys.py", "monkey"])
    def test_a_file_that_only_sounds_similar_is_stored(self, repo: Path, snapshot: Snapshot, name: str) -> None:
        sh(f"echo s > {name}")

        assert name.encode() in files(snapshot().commit)

    def test_tracked_files_are_never_refused(self, repo: Path, snapshot: Snapshot) -> None:
        sh(
            "echo s > .env; head -c 2049 /dev/zero > big; git add -f .; git commit -qm all; echo more >> .env; echo >> big"
        )

        assert b".env" in files(snapshot(limits=Limits(max_file_size_bytes=2048)).commit)


class TestDrift:
    def test_is_nothing_where_nothing_changed(self, repo: Path, snapshot: Snapshot, scratch: Path) -> None:
        sh("echo two > train.py; echo new > new")
        snapshot()
        sh("touch train.py; echo later > later")

        assert drift(find_repo(repo), scratch=scratch) is None

    @pytest.mark.parametrize("prepare", ["true", "echo two > train.py; echo new > new; git add new"])
    def test_names_files_that_were_modified_or_deleted(
        self, repo: Path, snapshot: Snapshot, scratch: Path, prepare: str
    ) -> None:
        sh(f"echo g > gone; git add gone; git commit -qm gone; {prepare}")
        snapshot()
        sh("echo newer > train.py; rm gone; echo later > later; git commit -qam meanwhile")

        assert drift(find_repo(repo), scratch=scratch) == {"modified": ["train.py"], "deleted": ["gone"]}

    def test_is_seen_where_git_is_told_to_trust_the_index(self, repo: Path, snapshot: Snapshot, scratch: Path) -> None:
        sh("git config core.ignoreStat true; echo two > train.py; echo new > new")
        snapshot()
        sh("echo three > train.py; echo newer > new")

        assert drift(find_repo(repo), scratch=scratch) == {"modified": ["new", "train.py"], "deleted": []}

    def test_sees_a_change_of_the_same_size_right_after(self, repo: Path, snapshot: Snapshot, scratch: Path) -> None:
        for number in range(5):
            Path("train.py").write_text(f"{number}xx\n")
            snapshot()
            Path("train.py").write_text(f"{number}yy\n")

            assert drift(find_repo(repo), scratch=scratch) == {"modified": ["train.py"], "deleted": []}


def test_lists_longer_than_a_thousand_are_cut(repo: Path, snapshot: Snapshot) -> None:
    for number in range(1003):
        Path(f"new-{number:04}").write_text("")
    sh("echo two > train.py")

    changed = snapshot().changed

    assert (len(changed["added"]), changed["modified"], changed["truncated"]) == (1000, ["train.py"], 3)
