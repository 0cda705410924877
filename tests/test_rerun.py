"""`rerun` and `checkout`: back to the code, the command and the parameters of an experiment."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import EXPERIMENTER, Terminal, experimenter, make_repo, record, sh
from experimenter.text import from_bytes, to_bytes

TRAIN = """
import os, random
print(open("data.txt").read(), end="")
lr = float(os.environ["EXPERIMENTER_PARAM_LR"])
noise = random.random() if "EXPERIMENTER_PARAM_NOISY" in os.environ else 0.5
print("EXPERIMENTER_RESULTS", '{"loss": %r, "noise": %r}' % (lr / 3, noise))
"""


@pytest.fixture
def trained(repo: Path) -> Path:
    """A repository with the experiment `a` on uncommitted code, which is gone now."""
    (repo / "train.py").write_text(TRAIN)
    sh("echo then > data.txt")
    experimenter(
        "run", "-n", "a", "-p", "lr=0.1", "-p", "model.depth=3", "--description", "first", "--", "python", "train.py"
    )
    sh("git checkout -q . && rm data.txt")
    return repo


def tag_of(name: str) -> str:
    return sh(f"git tag --list 'exp_{name}_*'").split()[-1]


def test_runs_the_same_on_the_same_code_though_all_else_is_gone(trained: Path) -> None:
    sh(
        "git checkout -q -b other; git commit -q --allow-empty -m x; git branch -D main; git reflog expire --expire=now --all"
    )
    sh("git gc --quiet --prune=now")
    first = record(tag_of("a"))

    done = experimenter("rerun", "a", "-n", "b")

    again = record(tag_of("b"))
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "then")
    assert again["rerun_of"] == tag_of("a")
    assert list(again)[:3] == ["schema", "name", "rerun_of"]
    same = ("code", "command", "parameters", "directory", "results")
    assert {key: again[key] for key in same} == {key: first[key] for key in same}
    assert sh(f"git rev-parse {tag_of('b')}^0") == sh(f"git rev-parse {tag_of('a')}^0")
    assert sh("git status --porcelain; git worktree list | wc -l") == "1\n"
    said = re.search(
        r"^Note: results are equal to those of exp_a_\S+ \(\w{8}\)\n(.*)", done.stderr, re.MULTILINE | re.DOTALL
    )
    assert said
    results = {f"{key} {value:.4g} {value:.4g}" for key, value in first["results"].items()}
    assert results <= {" ".join(line.split()) for line in said[1].splitlines()}


def test_what_differs_is_shown_side_by_side(trained: Path) -> None:
    done = experimenter("rerun", "a", "-p", "lr=0.3", "-p", "noisy=1")

    assert record(tag_of("a"))["parameters"] == {"lr": 0.3, "model": {"depth": 3}, "noisy": 1}
    lines = [" ".join(line.split()) for line in done.stderr.splitlines()]
    place = next(
        number for number, line in enumerate(lines) if line.startswith("Note: results differ from those of exp_a_")
    )
    assert re.fullmatch(r"RESULT \w{8} \w{8} b - a", lines[place + 1])
    assert re.fullmatch(r"loss 0\.03333 0\.1 \+0\.06667 \(\+200%\)", lines[place + 2])
    assert re.match(r"noise 0\.5 0\.\d+ [+-]0\.", lines[place + 3])


def test_the_name_stays_unless_another_is_given_but_not_the_description(trained: Path) -> None:
    experimenter("rerun", "a")

    assert record(tag_of("a"))["name"] == "a"
    assert "description" not in record(tag_of("a"))


def test_a_rerun_takes_the_options_of_a_run(trained: Path) -> None:
    sh(
        "echo data.bin > .gitignore; git add .gitignore; git commit -qm ignored; touch data.bin; echo 'lr: 0.9' > p.yaml"
    )
    options = ["-n", "b", "--params", "p.yaml", "--description", "again", "--keep", "--link", "data.bin"]
    done = experimenter("rerun", "a", *options, "--", "sh", "-c", "ls data.bin; exit 3")

    again = record(tag_of("b"))
    assert (done.returncode, done.stdout) == (3, "data.bin\n")
    assert (again["status"], again["description"]) == ("failed", "again")
    assert again["parameters"] == {"lr": 0.9, "model": {"depth": 3}}


def test_without_results_on_both_sides_nothing_is_claimed_equal(repo: Path) -> None:
    experimenter("run", "-n", "a", "--", "true")

    assert re.search("^Note: there are no results, as in exp_a_", experimenter("rerun", "a").stderr, re.MULTILINE)


def test_a_failed_rerun_leaves_no_tag_and_its_status_is_the_commands(trained: Path) -> None:
    done = experimenter("rerun", "a", "-n", "b", "--", "sh", "-c", "exit 3")

    assert (done.returncode, sh("git tag --list 'exp_b_*'")) == (3, "")
    assert "results" not in done.stderr


def test_here_it_runs_on_the_work_tree_as_it_is_now(trained: Path) -> None:
    (trained / "train.py").write_text(TRAIN.replace("lr / 3", "lr / 4"))
    sh("echo now > data.txt")

    done = experimenter("rerun", "a", "--here", "-n", "b")

    again = record(tag_of("b"))
    assert done.stdout.splitlines()[0] == "now"
    assert again["results"]["loss"] == 0.025
    assert again["rerun_of"] == tag_of("a")
    assert again["code"]["tree"] != record(tag_of("a"))["code"]["tree"]
    assert "results differ" in done.stderr


@pytest.mark.parametrize("options", [[], ["--here"]])
def test_it_runs_in_the_recorded_directory(repo: Path, options: list[str]) -> None:
    (repo / "sub/dir").mkdir(parents=True)
    sh("echo x > sub/dir/file", cwd=repo)
    experimenter("run", "-n", "a", "--", "sh", "-c", "cat file; echo '{\"a\": 1}' > r.json", cwd=repo / "sub/dir")
    (repo / "sub/dir/r.json").unlink()

    done = experimenter("rerun", "a", *options, "-n", "b", "--results", "r.json", cwd=repo / "sub")

    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "x"), done.stderr
    assert record(tag_of("b"))["directory"] == "sub/dir"
    assert record(tag_of("b"))["results"] == {"a": 1}


def test_words_and_directories_that_are_no_utf8_run_as_they_were(repo: Path) -> None:
    odd = os.fsencode(repo) + b"/caf\xe9"
    os.mkdir(odd)
    with open(odd + b"/file", "w") as file:
        file.write("x\n")
    experimenter(
        "run",
        "-n",
        "a",
        "--",
        "sh",
        "-c",
        'printf "%s\n" "$1" "$2"; cat file',
        "sh",
        b'\xe9"\\\n',
        '"caf\\351"',
        cwd=Path(os.fsdecode(odd)),
    )
    assert record(tag_of("a"))["command"][-2:] == ['"\\351\\"\\\\\\n"', r'"\"caf\\351\""']

    done = experimenter("rerun", "a", "-n", "b")

    assert '"caf\\351"\n' in done.stdout
    assert done.stdout.splitlines()[0].encode("utf-8", "surrogateescape") == b'\xe9"\\'
    assert done.stdout.endswith("x\n")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"a b",
        b"\xe9",
        b'"\xff\\\n\x01"',
        "größe".encode(),
        b'"quoted"',
        b'"caf\\303\\251"',
        b'"\\',
        b'"a\\q"',
        b'"\\377"',
        b'"\\"\\\\377\\""',
    ],
)
def test_bytes_come_back_from_their_text(raw: bytes) -> None:
    assert to_bytes(from_bytes(raw)) == raw


class TestSecrets:
    @pytest.fixture(autouse=True)
    def secret(self, repo: Path) -> None:
        experimenter(
            "run", "-n", "a", "-p", "api_key=s3cret", "-p", "db.password=x", "-p", "url=https://me:pw@host/", "-p", "lr=1", "--",
            "sh", "-c", "echo $EXPERIMENTER_PARAM_API_KEY",
        )  # fmt: skip
        experimenter("run", "-n", "b", "--", "echo", "--token", "x", "--api-key=abc")

    def test_have_to_be_given_again(self) -> None:
        done = experimenter("rerun", "a", "-p", "url=x")

        assert done.returncode == 125
        assert re.fullmatch(
            r"Error: exp_a_\S+ keeps secret what it ran with; give it again: -p api_key=… -p db\.password=…\n",
            done.stderr,
        )
        done = experimenter("rerun", "a", "-p", "url=x", "-p", "api_key=again", "-p", "db.password=y")
        assert (done.returncode, done.stdout) == (0, "again\n")

    def test_in_the_command_take_a_new_command(self) -> None:
        done = experimenter("rerun", "b")

        assert done.returncode == 125
        assert "keeps secret a part of its command; give the whole of it after --" in done.stderr
        assert experimenter("rerun", "b", "--", "echo", "new").stdout == "new\n"


def test_a_rerun_in_the_background_is_compared_later(trained: Path) -> None:
    id_ = experimenter("rerun", "a", "-d", "-n", "b").stdout.strip()

    assert experimenter("wait", id_).returncode == 0
    assert json.loads(experimenter("diff", "a", id_, "--json").stdout)["results"] == {}


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nothing"], 125, "no experiment 'nothing'"),
        ([], 125, "Missing argument 'EXP'"),
        (["a", "--here", "--link", "x"], 125, "--link is for --isolated"),
        (["a", "-p", "lr"], 125, "lr"),
        (["a", "true", "--", "echo", "hi"], 125, "a command that replaces the recorded one stands after --"),
        (["a", "true"], 125, "a command that replaces the recorded one stands after --"),
        (["a", "--", "no-such-program"], 127, "no-such-program"),
    ],
)
def test_mistakes_leave_nothing_behind(trained: Path, words: list[str], status: int, message: str) -> None:
    before = sh("git tag; git worktree list")

    done = experimenter("rerun", *words)

    assert done.returncode == status
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert sh("git tag; git worktree list") == before


def test_checkout_makes_a_linked_work_tree_of_exactly_the_code(trained: Path, tmp_path: Path) -> None:
    before = sh("git status --porcelain -b; git rev-parse HEAD")
    place = tmp_path / "as it was"

    done = experimenter("checkout", "a", "../as it was")

    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"Note: \.\./as it was has the code of exp_a_\S+\n", done.stderr)
    assert (place / "data.txt").read_text() == "then\n"
    assert experimenter("verify", "a", cwd=place).returncode == 0
    assert (
        sh("git status --porcelain; git rev-parse HEAD", cwd=place)
        == f" M train.py\n?? data.txt\n{sh('git rev-parse HEAD')}"
    )
    assert sh("git status --porcelain -b; git rev-parse HEAD") == before
    sh(f"git worktree remove --force '{place}'")
    assert sh("git worktree list | wc -l") == "1\n"


def test_checkout_can_make_a_branch_instead(trained: Path) -> None:
    done = experimenter("checkout", "a", "--branch", "retry")

    assert done.returncode == 0
    assert sh("git rev-parse retry^ retry^{tree}") == sh(f"git rev-parse HEAD {tag_of('a')}^{{tree}}")
    assert sh("git log -1 --format='%an %ce %s' retry") == f"Ada ada@example.com Code of a ({tag_of('a')})\n"
    assert sh("git symbolic-ref --short HEAD") == "main\n"
    assert "Created from" in sh("git reflog retry")


def test_a_branch_of_the_code_brings_no_tag_of_ours_into_the_history(trained: Path, tmp_path: Path) -> None:
    sh("git tag -a v1 -m v1")
    experimenter("checkout", "a", "--branch", "idea")
    sh(
        "git checkout -q idea; echo more > more; git add more; git commit -qm more; git checkout -q main; git merge -q idea"
    )

    assert re.fullmatch(r"v1-2-g\w+\n", sh("git describe"))
    sh(f"git init -q --bare {tmp_path}/o.git; git push -q --follow-tags {tmp_path}/o.git HEAD")
    assert "exp_" not in sh(f"git ls-remote {tmp_path}/o.git")


def test_the_code_of_a_repository_without_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sh(f"git init -q {tmp_path}/young")
    monkeypatch.chdir(tmp_path / "young")
    sh("echo one > train.py")
    experimenter("run", "-n", "a", "--", "true")
    done = experimenter("checkout", "a", "../out")

    assert done.returncode == 0, done.stderr
    assert sh("git status --porcelain; git fsck > /dev/null", cwd=tmp_path / "out") == "?? train.py\n"
    assert experimenter("verify", "a", cwd=tmp_path / "out").returncode == 0
    assert sh("git for-each-ref refs/heads") == ""
    assert experimenter("checkout", "a", "--branch", "idea").returncode == 0
    assert sh("git log --format=%P%s idea; git show idea:train.py") == f"Code of a ({tag_of('a')})\none\n"
    assert experimenter("rerun", "a", "-n", "b", "--", "git", "status", "--porcelain").stdout == "?? train.py\n"


def test_the_base_that_a_shallow_clone_lacks_is_named(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = sh("git rev-parse HEAD").strip()
    sh(f"git init -q {tmp_path}/shallow")
    sh(f"git fetch -q --depth=1 file://{trained} refs/tags/*:refs/tags/*", cwd=tmp_path / "shallow")
    monkeypatch.chdir(tmp_path / "shallow")

    for words in (["rerun", "a"], ["checkout", "a", "../out"], ["checkout", "a", "--branch", "idea"]):
        done = experimenter(*words)
        assert done.returncode in (1, 125)
        assert f"the commit {base}, on which the code" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert sh("git worktree list | wc -l; git branch") == "1\n"


def test_checkout_fills_submodules_with_objects_of_their_own(repo: Path, tmp_path: Path) -> None:
    source = make_repo(tmp_path / "sub")
    sh(f"git -c protocol.file.allow=always submodule --quiet add {source} sub; git commit -qm sub")
    experimenter("run", "-n", "a", "--", "true")

    assert experimenter("checkout", "a", str(tmp_path / "out")).returncode == 0

    assert (tmp_path / "out/sub/train.py").read_text() == (source / "train.py").read_text()
    assert sh("git status --porcelain", cwd=tmp_path / "out") == ""
    assert not (tmp_path / "out/sub/.git/objects/info/alternates").exists()


def test_a_submodule_that_is_not_here_any_more_is_told(repo: Path, tmp_path: Path) -> None:
    source = make_repo(tmp_path / "sub")
    sh(f"git -c protocol.file.allow=always submodule --quiet add {source} sub; git commit -qm sub")
    experimenter("run", "-n", "a", "--", "true")
    sh("git submodule --quiet deinit -f sub")

    for words in (["rerun", "a", "-n", "b"], ["checkout", "a", str(tmp_path / "out")]):
        assert "Warning: the submodule sub is not here, so that its folder is empty\n" in experimenter(*words).stderr


def test_here_needs_the_recorded_directory(repo: Path) -> None:
    (repo / "sub").mkdir()
    experimenter("run", "-n", "a", "--", "true", cwd=repo / "sub")
    (repo / "sub").rmdir()

    done = experimenter("rerun", "a", "--here")

    assert (done.returncode, len(done.stderr.splitlines())) == (125, 1)
    assert "leave out --here for the recorded code" in done.stderr
    assert experimenter("rerun", "a").returncode == 0


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["a"], 2, "give either DIR or --branch"),
        (["a", "x", "--branch", "y"], 2, "give either DIR or --branch"),
        (["a", "full"], 1, "already exists"),
        (["a", "--branch", "main"], 1, "already exists"),
        (["a", "--branch", "a..b"], 1, "not a valid branch name"),
        (["nothing", "x"], 1, "no experiment 'nothing'"),
    ],
)
def test_a_checkout_that_fails_changes_nothing(trained: Path, words: list[str], status: int, message: str) -> None:
    sh("mkdir full; echo > full/file")
    before = sh("ls -R; git worktree list; git branch -v")

    done = experimenter("checkout", *words)

    assert done.returncode == status
    assert message in done.stderr.splitlines()[0]
    assert sh("ls -R; git worktree list; git branch -v") == before


def test_a_checkout_into_an_empty_folder_that_fails_leaves_nothing(trained: Path) -> None:
    sh("mkdir empty; git config filter.bad.smudge false; git config filter.bad.required true")
    sh("echo 'data.txt filter=bad' > .git/info/attributes")

    done = experimenter("checkout", "a", "empty")

    assert done.returncode == 1
    assert sh("git worktree list | wc -l") == "1\n"


def test_ctrl_c_in_a_rerun_leaves_nothing(trained: Path, terminal: Callable[..., Terminal]) -> None:
    screen = terminal(EXPERIMENTER, "rerun", "a", "-n", "b", "--", "sh", "-c", "echo ready; exec sleep 100")
    screen.expect("ready")
    screen.type("\x03")
    screen.end()

    assert sh("git tag --list 'exp_b_*'; git worktree list | wc -l") == "1\n"


def test_checkout_from_a_sparse_repository_has_all_files_and_stays_so(trained: Path, tmp_path: Path) -> None:
    sh("mkdir deep; echo > deep/file; git add deep; git commit -qm deep")
    experimenter("run", "-n", "b", "--", "true")
    sh("git sparse-checkout set other")

    assert experimenter("checkout", "b", str(tmp_path / "out")).returncode == 0
    assert (tmp_path / "out/deep/file").exists()
    assert sh("git config --type=bool core.sparseCheckout; git status --porcelain", cwd=tmp_path / "out") == "false\n"
    assert experimenter("rerun", "b", "-n", "c", "--", "cat", "deep/file").returncode == 0


def test_of_two_checkouts_into_one_folder_one_wins(trained: Path, tmp_path: Path) -> None:
    words = [EXPERIMENTER, "checkout", "a", str(tmp_path / "out")]
    both = [subprocess.Popen(words, stderr=subprocess.DEVNULL) for _ in range(2)]
    statuses = sorted(process.wait(timeout=60) for process in both)

    assert statuses == [0, 1]
    assert (tmp_path / "out/data.txt").read_text() == "then\n"
    assert sh("git worktree list | wc -l") == "2\n"


def test_a_work_tree_whose_folder_is_away_is_left_alone(trained: Path, tmp_path: Path) -> None:
    place = tmp_path / "usb"
    sh(f"git worktree add -q --detach {place}; git worktree lock {place}")
    shutil.rmtree(place)

    assert experimenter("checkout", "a", str(place)).returncode == 1
    assert str(place) in sh("git worktree list")


def forge(name: str, tag: str | None = None, **changes: object) -> str:
    """Hang a record made by hand on the commit of another tag, or on HEAD; return its tag."""
    commit = sh(f"git rev-parse {tag or 'HEAD'}^0").strip()
    forged = f"exp_{name}_20260101T000000.000001Z"
    body = {"schema": 1, "name": name, "parameters": {}, "status": "completed", "command": ["pwd"], "directory": "."}
    text = f"object {commit}\ntype commit\ntag {forged}\ntagger u <u@x> 1 +0000\n\n{json.dumps(body | changes)}\n"
    made = subprocess.run(["git", "mktag"], input=text.encode(), capture_output=True, check=True).stdout.decode()
    sh(f"git update-ref refs/tags/{forged} {made}")
    return forged


def state() -> str:
    """Return all that a command that refuses leaves as it is."""
    return sh(
        "find . -path ./.git/objects -prune -o -type d -print; git tag; git worktree list; ls .git/experimenter/*"
    )


class TestForgedDirectory:
    @pytest.mark.parametrize("options", [[], ["--here"]])
    @pytest.mark.parametrize(
        "directory",
        ["../../x", "/tmp", "", "a\0b", ".git", "sub/.git/x", 7, None, r'"a\000\351"', "x" * 5000, "\ud800/../..", "train.py/sub"],
    )  # fmt: skip
    def test_is_refused(self, trained: Path, directory: object, options: list[str]) -> None:
        forge("f", directory=directory)
        experimenter("ps")
        before = state()
        done = experimenter("rerun", "f", *options)

        assert (done.returncode, done.stdout) == (125, "")
        assert re.fullmatch("Error: .*\n", done.stderr)
        assert state() == before

    @pytest.mark.parametrize("words", [["--link", "made", "--results", "r.json"], ["--here"]])
    @pytest.mark.parametrize("to", ["{outside}", "../outside", "sub/deep", ".git", ".git/objects"])
    def test_behind_a_committed_link_is_refused(self, trained: Path, tmp_path: Path, to: str, words: list[str]) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        target = to.format(outside=outside)
        sh(
            f"mkdir sub made; ln -s ../../outside sub/deep; ln -s {target} out; echo made > .gitignore; git add .; git commit -qm out"
        )
        forge("f", directory="out/made/here")
        experimenter("ps")
        before = state()
        done = experimenter("rerun", "f", *words)

        assert (done.returncode, done.stdout) == (125, "")
        assert re.fullmatch("Error: .*(outside of the work tree|in a git directory).*\n", done.stderr)
        assert list(outside.iterdir()) == []
        assert state() == before

    def test_a_committed_link_that_stays_inside_is_followed(self, trained: Path) -> None:
        sh("mkdir sub; touch sub/x; ln -s sub inner; git add .; git commit -qm inner")
        forge("f", directory="inner")

        for words in (["-n", "b"], ["-n", "c", "--here"]):
            assert experimenter("rerun", "f", *words, "--", "ls").stdout == "x\n"

    @pytest.mark.parametrize("directory", ["new/deep", "./new//deep/.", "new/deep/"])
    def test_one_that_the_code_state_lacks_is_made_there(self, trained: Path, directory: str) -> None:
        forge("f", directory=directory)
        done = experimenter("rerun", "f", "-n", "b")

        assert done.stdout.endswith("/new/deep\n")
        assert record(tag_of("b"))["directory"] == "new/deep"
        assert not Path("new").exists()

    def test_git_directories_have_other_names_too(self, trained: Path, tmp_path: Path) -> None:
        sh(
            f"git worktree add -q {tmp_path}/linked; mkdir deep; git init -q --separate-git-dir=deep/gitdir inner; mv .git deep/outer"
        )
        sh("echo 'gitdir: deep/outer' > .git; git config core.worktree $PWD; echo .gIT > inner/.git2")
        forge("f", directory="deep/outer/hooks")

        done = experimenter("rerun", "f", "--here")
        assert (done.returncode, "in a git directory" in done.stderr) == (125, True)


def test_a_link_is_not_made_behind_a_committed_one(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    sh("ln -s ../outside out; git add out; git commit -qm out")
    forge("f")
    sh("git rm -q out; mkdir -p out/deep; echo out > .gitignore; git add .gitignore; git commit -qm folder")
    done = experimenter("rerun", "f", "--link", "out/deep")

    assert (done.returncode, list((tmp_path / "outside").iterdir())) == (125, [])
    assert re.fullmatch("Error: --link: in the code state out/deep is outside .*\n", done.stderr)


@pytest.mark.parametrize("command", [["pwd", "a\0"], ["pwd", 7], [], "pwd", None, [[]]])
def test_a_command_that_is_none_has_to_be_given(trained: Path, command: object) -> None:
    forge("f", command=command)
    done = experimenter("rerun", "f")

    assert (done.returncode, done.stdout) == (125, "")
    assert re.fullmatch("Error: .* give one after --\n", done.stderr)
    assert experimenter("rerun", "f", "--", "echo", "x").stdout == "x\n"


class TestForgedCode:
    @pytest.fixture(params=["commit", "tree", "number"])
    def said(self, trained: Path, request: pytest.FixtureRequest) -> tuple[str, str]:
        """An experiment `f` whose record lies about its code; what it says, and what git says."""
        code = record(tag_of("a"))["code"]
        key = "tree" if request.param == "tree" else "commit"
        lie = 10**30 if request.param == "number" else "1" * 40
        forge("f", tag_of("a"), code={**code, key: lie})
        return str(lie), code[key]

    @pytest.mark.parametrize(
        "words", [["show", "f"], ["show", "f", "--json"], ["diff", "a", "f", "--json"], ["verify", "f"]]
    )
    def test_is_said(self, said: tuple[str, str], words: list[str]) -> None:
        warnings = [line for line in experimenter(*words).stderr.splitlines() if line.startswith("Warning: ")]

        assert len(warnings) == 1
        assert all(value in warnings[0] for value in said)

    def test_does_not_verify(self, said: tuple[str, str]) -> None:
        experimenter("checkout", "a", "../out")

        assert experimenter("verify", "a", cwd=Path("../out")).returncode == 0
        assert experimenter("verify", "f", cwd=Path("../out")).returncode == 1

    @pytest.mark.parametrize(
        ("words", "status"),
        [(["rerun", "f"], 125), (["rerun", "f", "--here"], 125), (["checkout", "f", "../out"], 1), (["checkout", "f", "--branch", "b"], 1)],
    )  # fmt: skip
    def test_is_refused(self, said: tuple[str, str], words: list[str], status: int) -> None:
        before = sh("git tag; git branch; git worktree list; ls ..")
        done = experimenter(*words)

        assert (done.returncode, done.stdout) == (status, "")
        assert re.fullmatch("Error: .* 'experimenter rm' removes the experiment\n", done.stderr)
        assert all(value in done.stderr for value in said)
        assert sh("git tag; git branch; git worktree list; ls ..") == before


def test_a_rerun_records_what_git_says_of_the_code(trained: Path) -> None:
    first = record(tag_of("a"))["code"]
    lies = {
        "base": "3" * 40,
        "branch": "release",
        "changed": {"added": ["x"], "modified": [], "deleted": []},
        "more": 1,
    }
    forge("f", tag_of("a"), code={**first, **lies})
    experimenter("rerun", "f", "-n", "b", "--", "true")

    assert record(tag_of("b"))["code"] == {key: value for key, value in first.items() if key != "branch"}


@pytest.mark.parametrize("code", [{}, {"base": "3" * 40}])
def test_a_record_that_says_nothing_of_its_code_is_fine(trained: Path, tmp_path: Path, code: dict[str, str]) -> None:
    forge("f", tag_of("a"), code=code)

    assert experimenter("show", "f").stderr == ""
    assert experimenter("checkout", "f", str(tmp_path / "out")).returncode == 0
    assert experimenter("rerun", "f", "-n", "b", "--", "cat", "data.txt").stdout == "then\n"
    assert record(tag_of("b"))["code"]["base"] == sh("git rev-parse HEAD").strip()


@pytest.mark.parametrize(
    "change", ['s#"directory": "."#"directory": "../../x"#', 's#"directory": "."#"directory": "/tmp"#']
)
def test_a_forged_directory_is_refused(trained: Path, change: str) -> None:
    tag = tag_of("a")
    sh(f"git cat-file tag {tag} | sed '{change}' | git mktag | xargs git update-ref refs/tags/{tag}")

    done = experimenter("rerun", "a")

    assert (done.returncode, done.stdout) == (125, "")
    assert "outside of the work tree" in done.stderr


def test_the_text_of_a_value_stays_through_record_and_rerun(repo: Path) -> None:
    printed = 'printf "%s %s" "$EXPERIMENTER_PARAM_REV" "$EXPERIMENTER_PARAM_SUB"'
    given = ("-p", "rev=695e0514", "-p", "sub=01")
    first = experimenter("run", "-n", "a", *given, "--", "sh", "-c", printed)
    again = experimenter("rerun", "a", "-n", "b")

    assert (first.stdout, again.stdout) == ("695e0514 01", "695e0514 01")
    assert record(tag_of("b"))["parameters"] == {"rev": "695e0514", "sub": "01"}
    found = experimenter("list", "--json", "--where", "rev == '695e0514' and sub == '01'")
    assert [one["name"] for one in json.loads(found.stdout)] == ["a", "b"]


def test_a_key_leads_into_the_lists_of_the_record(repo: Path) -> None:
    experimenter("run", "-n", "a", "-p", "layers=[64, 32]", "-p", "lr=0.1", "--", "true")

    again = experimenter("rerun", "a", "-n", "b", "-p", "layers.1=9")
    wrong = [experimenter("rerun", "a", "-p", key) for key in ("layers.2=9", "lr.decay=1")]

    assert again.returncode == 0, again.stderr
    assert record(tag_of("b"))["parameters"] == {"layers": [64, 9], "lr": 0.1}
    assert [done.returncode for done in wrong] == [125, 125]
    assert "there is no layers.2; the list layers has the elements layers.0 to layers.1" in wrong[0].stderr
    assert "lr is 0.1, which has no decay below it" in wrong[1].stderr
