import os
import sys
from pathlib import Path

import pytest

from conftest import experimenter, sh
from experimenter import ahead
from experimenter.errors import GitFailed, RefExists, RefMoved
from experimenter.plumbing import config, delete_ref, find_repo, update_ref

with_memory_files = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no files in memory")


@pytest.mark.parametrize("name", ["plain", "a b", "new\nline", "--=layout=", "größe", "quo'te\""])
def test_finds_a_repository_whatever_its_folder_is_called(tmp_path: Path, name: str) -> None:
    top = tmp_path / name
    (top / "sub" / "dir").mkdir(parents=True)
    sh("git init -q .", cwd=top)
    repo = find_repo(top / "sub" / "dir")

    assert (repo.top, repo.git_dir, repo.common_dir) == (top, top / ".git", top / ".git")
    assert repo.prefix == b"sub/dir/"
    assert find_repo(top).prefix == b""


def test_a_linked_worktree_shares_the_common_directory(repo: Path) -> None:
    sh("git worktree add -q ../linked -b other")
    linked = find_repo(repo.parent / "linked")

    assert linked.common_dir == repo / ".git"
    assert linked.git_dir == repo / ".git/worktrees/linked"


def test_reads_the_configuration_by_option(repo: Path) -> None:
    sh("git config experimenter.maxFileSize 1k; git config --add experimenter.maxFileSize 2k; git config other.x 1")
    sh("git config --bool experimenter.push yes; git config experimenter.text 'a\nb=c'")
    sh("printf '[experimenter]\\n\\tquiet\\n' >> .git/config")

    assert config(find_repo(repo)) == {
        "maxfilesize": ["1k", "2k"],
        "push": ["true"],
        "quiet": ["true"],
        "text": ["a\nb=c"],
    }


def test_refs_change_only_from_the_value_that_was_read(repo: Path) -> None:
    found = find_repo(repo)
    first = sh("git rev-parse HEAD").strip()
    sh("git commit -q --allow-empty -m second")
    second = sh("git rev-parse HEAD").strip()
    update_ref(found, "refs/tags/x", new=first, old="")

    with pytest.raises(RefExists):
        update_ref(found, "refs/tags/x", new=second, old="")
    with pytest.raises(RefMoved):
        update_ref(found, "refs/tags/x", new=second, old=second)
    with pytest.raises(RefMoved):
        update_ref(found, "refs/tags/absent", new=second, old=first)
    with pytest.raises(RefMoved):
        delete_ref(found, "refs/tags/x", old=second)
    assert sh("git rev-parse refs/tags/x").strip() == first
    update_ref(found, "refs/tags/x", new=second, old=first)
    delete_ref(found, "refs/tags/x", old=second)
    with pytest.raises(RefMoved):
        delete_ref(found, "refs/tags/x", old=second)
    assert sh("git tag") == ""


def test_the_same_holds_for_packed_refs(repo: Path) -> None:
    found = find_repo(repo)
    first = sh("git rev-parse HEAD").strip()
    sh("git tag x; git pack-refs --all")

    with pytest.raises(RefExists):
        update_ref(found, "refs/tags/x", new=first, old="")
    delete_ref(found, "refs/tags/x", old=first)
    with pytest.raises(RefMoved):
        delete_ref(found, "refs/tags/x", old=first)


def test_a_failure_says_what_git_said(repo: Path) -> None:
    with pytest.raises(GitFailed, match="git cat-file failed: Not a valid object name nothing"):
        find_repo(repo).git("cat-file", "-p", "nothing")


def test_git_starts_no_program_of_the_users(repo: Path) -> None:
    hook = Path(".git/hooks/reference-transaction")
    hook.write_text("#!/bin/sh\ntouch hook-ran\n")
    hook.chmod(0o755)
    update_ref(find_repo(repo), "refs/tags/x", new=sh("git rev-parse HEAD").strip(), old="")

    assert not Path("hook-ran").exists()


@with_memory_files
def test_an_answer_that_was_asked_for_ahead_is_taken_once(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    found, question = find_repo(repo), ahead.Question(("rev-parse", "--symbolic", "--tags"))
    sh("git tag early")
    ahead.ask(question)
    for pid, _ in ahead._begun.values():
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    sh("git tag late")

    assert found.ask(question) == b"early\n"
    assert found.ask(question) == b"early\nlate\n"


def test_what_was_asked_for_ahead_can_be_forgotten(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    found, question = find_repo(repo), ahead.Question(("rev-parse", "--symbolic", "--tags"))
    ahead.ask(question)
    ahead.forget()
    sh("git tag late")

    assert found.ask(question) == b"late\n"


def test_a_question_that_failed_ahead_is_asked_again(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, question = find_repo(repo), ahead.Question(("rev-parse", "--show-toplevel"))
    monkeypatch.chdir("/")
    ahead.ask(question)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    ahead.ask(ahead.Question(("status",)))

    assert found.ask(question) == f"{repo}\n".encode()
    assert not ahead._begun


@with_memory_files
def test_git_lists_tags_before_gitpython_is_imported(repo: Path) -> None:
    experimenter("run", "--", "true")
    code = "import sys; sys.addaudithook(print); from experimenter.cli import main; main()"
    code = code.replace("print)", "lambda name, what: 'posix_spawn' in name and print('git' in sys.modules, what[1]))")

    lines = sh(f'{sys.executable} -c "{code}" list --limit 1').splitlines()

    assert lines[0].startswith("False ['git', ")
    assert "--glob=refs/tags/exp_*" in lines[0]
    assert lines[-1].split()[1] == "true"
