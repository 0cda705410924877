"""What a program writes is no code: caches, and what the patterns of `git config experimenter.output` name."""

import os
from pathlib import Path

import pytest

from conftest import experimenter, make_repo, record, sh, tags
from experimenter.errors import BadSetting
from experimenter.patterns import Patterns, declaration, ignoring, pattern_for

ODD_NAMES = [
    b"a b", b"new\nline", b"-dash", b"--", b"caf\xe9.py", b"*", b"[x]", b"a[", b"?", b"back\\", b"it's", b'"q"', b"$HOME", b"!x",
    b"#x", b" x ", b"~", "größe".encode(), b"\x1b[1m", b"`id`", b"a;b", b"**", b"true",
]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("outputs", ["outputs", "outputs/a", "outputs/a/b", "outputs/"], ["xoutputs", "a/outputs", "outputs2"]),
        ("outputs/", ["outputs/a", "outputs/"], ["outputs"]),
        ("./logs//x/", ["logs/x/y"], ["logs/y", "x/y"]),
        ("*.ckpt", ["a.ckpt", ".ckpt", "a.ckpt/x"], ["d/a.ckpt", "a.ckptx", "a.CKPT"]),
        ("**/*.ckpt", ["a.ckpt", "d/a.ckpt", "d/e/a.ckpt"], ["a.ck"]),
        ("logs/**/ckpt", ["logs/ckpt", "logs/a/b/ckpt", "logs/a/ckpt/x"], ["logs/xckpt", "ckpt"]),
        ("logs/**", ["logs/a", "logs/a/b"], ["logs", "log/a"]),
        ("logs/*/v", ["logs/a/v", "logs/a/v/x"], ["logs/a/b/v", "logs/v"]),
        ("m_[0-9]?.t[!x]", ["m_1a.ty"], ["m_a1.ty", "m_12.tx", "m_1/.ty"]),
        ("a[[]b", ["a[b"], ["ab"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a[]]b", ["a]b"], ["ab"]),
        ("a[!]]b", ["axb"], ["a]b", "a/b"]),
        ("a[^b]", ["ac"], ["ab"]),
        ("a[z-a]", [], ["az", "aa"]),
        ("a?b", ["a\nb", "aéb"], ["a/b", "ab"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_a_pattern_names_files_and_what_lies_below_folders(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    patterns = Patterns([pattern])

    assert [path for path in matching if not patterns.match(path.encode())] == []
    assert [path for path in others if patterns.match(path.encode())] == []


@pytest.mark.parametrize("pattern", ["", ".", "./", "/", "/tmp/x", "..", "../x", "a/../..", "*", "**", "**/*"])
def test_a_pattern_of_everything_or_of_elsewhere_is_refused(repo: Path, pattern: str) -> None:
    with pytest.raises(BadSetting, match="git config experimenter"):
        Patterns([pattern])
    sh(f"git config --add experimenter.output '{pattern}'")

    done = experimenter("run", "--", "true")

    assert (done.returncode, tags()) == (125, [])
    assert done.stderr.startswith(f"Error: git config experimenter.output: '{pattern}'")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_lines_for_a_name_of_any_bytes_work_when_pasted(repo: Path, name: bytes) -> None:
    Path(os.fsdecode(name)).write_text("x")
    sh(declaration(pattern_for(name)))
    experimenter("run", "--", "true")
    assert record()["code"]["changed"]["added"] == []
    Path(".gitignore").write_text(ignoring(pattern_for(name)) + "\n")

    assert sh("git ls-files -o --exclude-standard") == ".gitignore\n"


@pytest.mark.parametrize("cache", ["__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".ipynb_checkpoints"])
def test_untracked_caches_are_no_code_at_any_depth(repo: Path, cache: str) -> None:
    make_repo(repo / "nested")
    experimenter("run", "-n", "before", "--", "true")
    sh(f"mkdir -p {cache}/v a/b/{cache} nested/{cache}; echo 1 > {cache}/v/x; echo 1 > a/b/{cache}/y")
    sh(f"echo 1 > nested/{cache}/z; echo s > {cache}/.env; git init -q {cache}/repo; echo 1 > {cache}/repo/x")
    experimenter("run", "-n", "after", "--", "true")

    before, after = tags()[1], tags()[0]
    assert record(after)["code"]["tree"] == record(before)["code"]["tree"]
    assert experimenter("verify", "before").returncode == 0
    assert "the code is the same" in experimenter("diff", "before").stdout


def test_a_cache_in_a_submodule_leaves_it_a_gitlink(repo: Path, tmp_path: Path) -> None:
    library = make_repo(tmp_path / "library")
    sh(f"git submodule --quiet add {library} lib; git commit -qm lib; mkdir lib/__pycache__ lib/out")
    sh("echo 1 > lib/__pycache__/x; echo 1 > lib/out/y; git config experimenter.output lib/out")

    experimenter("run", "-n", "x", "--", "true")

    assert "160000 commit" in sh(f"git ls-tree {tags()[0]} lib")
    assert len(experimenter("list", "-c", "HEAD").stdout.splitlines()) == 2


def test_tracked_caches_and_files_of_such_names_are_code(repo: Path) -> None:
    sh("mkdir -p __pycache__ a; echo 1 > __pycache__/x; echo 1 > a/__pycache__; git add -f __pycache__")

    experimenter("run", "--", "true")

    assert record()["code"]["changed"]["added"] == ["__pycache__/x", "a/__pycache__"]


def test_declared_outputs_are_no_code_whatever_their_size_or_name(repo: Path) -> None:
    sh("mkdir -p outputs/deep sub; git config experimenter.output outputs/; git config --add experimenter.output 'm_*'")
    sh("echo s > outputs/.env; head -c 3000 /dev/zero > outputs/deep/big; echo 1 > m_1; echo 1 > sub/m_2")
    sh("git init -q outputs/repo; echo 1 > outputs/repo/x")

    done = experimenter("run", "--max-file-size", "2k", "--", "true", cwd=repo / "sub")

    assert done.returncode == 0, done.stderr
    assert record()["code"]["changed"]["added"] == ["sub/m_2"]
    sh("rm -r outputs m_1")
    assert experimenter("verify", "true").returncode == 0


def test_a_tracked_file_is_code_also_where_a_pattern_matches_it(repo: Path) -> None:
    sh("git config experimenter.output train.py; echo two > train.py")

    experimenter("run", "--", "true")

    assert record()["code"]["changed"]["modified"] == ["train.py"]


def test_what_a_pattern_matches_in_a_nested_repository_is_no_code(repo: Path) -> None:
    make_repo(repo / "nested")
    sh("mkdir nested/out; echo 1 > nested/out/a; git config experimenter.output 'nested/out'")

    experimenter("run", "--", "true")

    assert record()["code"]["changed"]["added"] == ["nested/train.py"]


def test_a_clean_tree_with_caches_has_the_tree_of_head(repo: Path) -> None:
    sh("mkdir __pycache__; echo 1 > __pycache__/x")

    experimenter("run", "--", "true")

    assert record()["code"]["tree"] == sh("git rev-parse HEAD^{tree}").strip()
    assert len(experimenter("list", "-c", "HEAD").stdout.splitlines()) == 2
