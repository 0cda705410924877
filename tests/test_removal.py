"""`rm` and `prune`: what goes, what is refused, and how it comes back."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conftest import EXPERIMENTER, Terminal, detached, experimenter, hook, make_repo, sh
from experimenter import ExperimentData, names, removal
from experimenter.errors import BadOption, NotRemoved, RefMoved
from experimenter.plumbing import find_repo
from experimenter.removal import duration


@pytest.fixture
def three(repo: Path) -> Path:
    """`good` has results, `bare` has none, `bad` failed and was kept with results."""
    experimenter("run", "-n", "good", "--", "echo", 'EXPERIMENTER_RESULTS {"a": 1}')
    experimenter("run", "-n", "bare", "--", "true")
    experimenter("run", "-n", "bad", "--keep", "--", "sh", "-c", "echo 'EXPERIMENTER_RESULTS {\"a\": 2}'; exit 3")
    return repo


@pytest.fixture
def alive(repo: Path) -> Iterator[str]:
    yield detached("--name", "alive", "--", "sleep", "1000")
    experimenter("stop", "--all")


def left() -> list[str]:
    return [names.name_of(tag) for tag in sh("git tag --sort=refname").split()]


def aged(name: str, days: int) -> str:
    """Let an experiment have started so many days ago; return its tag."""
    old = sh(f"git tag --list 'exp_{name}_*'").strip()
    new = names.tag(name, datetime.now(UTC) - timedelta(days=days))
    sh(
        f"git cat-file tag {old} | sed 's/^tag .*/tag {new}/' | git mktag | xargs git update-ref refs/tags/{new}; git tag -d {old}"
    )
    return new


def test_rm_removes_tags_and_logs_and_says_how_to_bring_them_back(three: Path) -> None:
    tags = sh("git for-each-ref --format='%(refname) %(objectname)' 'refs/tags/exp_ba*'")
    log = Path(".git/experimenter/logs") / f"{names.id_of(sh('git tag --list exp_bare_*').strip())}.log"
    assert log.exists()

    done = experimenter("rm", "bare", "bad", "--yes")

    assert (done.returncode, done.stderr, left()) == (0, "", ["good"])
    assert not list(log.parent.glob(f"{log.stem}.*"))
    assert [line.split()[1] for line in done.stdout.splitlines()[1:3]] == ["bare", "bad"]
    for line in re.findall(r"^  (git update-ref .*)", done.stdout, re.MULTILINE):
        sh(line)
    assert sh("git for-each-ref --format='%(refname) %(objectname)' 'refs/tags/exp_ba*'") == tags


JUNK = [
    ("exp_text_20260101T000000.000000Z", "git tag -a -m hello {}"),
    ("exp_light_20260101T000000.000000Z", "git tag {}"),
    ("exp_tree_20260101T000000.000000Z", "git tag {} HEAD^{{tree}}"),
    ("exp_blob_20260101T000000.000000Z", "git tag -a -m x {} HEAD:train.py"),
    ("exp_no_time", "git tag -a -m x {}"),
    ("exp_a\u0085b\u2028", "git tag -a -m x {}"),
    ("exp_per%scent$HOME'", 'git tag -a -m x "{}"'),
    ("exp_later_20260101T000000.000000Z", "git tag -a -m '{{\"schema\": 2}}' {}"),
    ("exp_twin_20260101T000000.000000Z", "git update-ref refs/tags/{} $(git for-each-ref --format='%(objectname)' 'refs/tags/exp_good*')"),
    ("exp_link_20260101T000000.000000Z", "git symbolic-ref refs/tags/{} refs/heads/main"),
    ("exp_lost_20260101T000000.000000Z", "echo 1111111111111111111111111111111111111111 >.git/refs/tags/{}"),
]  # fmt: skip


@pytest.mark.parametrize(("tag", "script"), JUNK)
@pytest.mark.parametrize("by_id", [False, True])
def test_rm_takes_tags_that_are_no_record_and_says_how_to_bring_them_back(
    repo: Path, tag: str, script: str, by_id: bool
) -> None:
    experimenter("run", "-n", "good", "--", "true")
    sh(script.format(tag.replace("$", "\\$")))
    before = sh("cat .git/refs/heads/main; git for-each-ref --format='%(refname) %(objectname)'")

    done = experimenter("rm", names.id_of(tag) if by_id else tag, "--yes")

    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "NO EXPERIMENT" in done.stdout
    assert left() == ["good"] and sh("cat .git/refs/heads/main")
    if "lost" not in tag:
        sh(re.findall(r"^  (git update-ref .*)", done.stdout, re.MULTILINE)[0])
        assert sh("cat .git/refs/heads/main; git for-each-ref --format='%(refname) %(objectname)'") == before


def test_a_tag_whose_name_is_no_utf8_goes_and_comes_back(repo: Path) -> None:
    sh("git tag -a -m x \"$(printf 'exp_\\377\\205')\"")
    before = sh("git for-each-ref")

    done = experimenter("rm", b"exp_\xff\x85", "--yes")

    assert (done.returncode, sh("git tag")) == (0, ""), done.stderr
    sh(re.findall(r"^  (git update-ref .*)", done.stdout, re.MULTILINE)[0])
    assert sh("git for-each-ref") == before


def test_rm_takes_records_and_others_at_once_and_prune_leaves_others_alone(three: Path) -> None:
    sh("git tag exp_junk; git tag -a -m x exp_text_20200101T000000.000000Z")

    assert experimenter("prune", "--older-than", "0s", "--yes").returncode == 0
    assert sh("git tag").split() == ["exp_junk", "exp_text_20200101T000000.000000Z"]
    experimenter("run", "-n", "more", "--", "true")
    removed = json.loads(experimenter("rm", "more", "text", "exp_junk", "--yes", "--json").stdout)
    assert [one["tag"].split("_")[1] for one in removed] == ["more", "text", "junk"]
    assert sh("git tag") == ""
    sh("git tag exp_junk")
    ExperimentData(three).delete("exp_junk")
    assert sh("git tag") == ""


def test_rm_asks_on_a_terminal(three: Path, terminal: Callable[..., Terminal]) -> None:
    screen = terminal(EXPERIMENTER, "rm", "bare")
    screen.expect("Remove this experiment? [y/N]: ")
    screen.type("n\n")
    assert screen.end() != 0
    assert b"Error: nothing was removed" in screen.screen
    assert left() == ["bad", "bare", "good"]

    screen = terminal(EXPERIMENTER, "rm", "bare", "good")
    screen.expect("Remove these 2 experiments? [y/N]: ")
    screen.type("y\n")
    assert screen.end() == 0
    assert left() == ["bad"]


@pytest.mark.parametrize("words", [["rm", "bare"], ["prune", "--without-results"]])
def test_elsewhere_a_yes_is_needed(three: Path, words: list[str]) -> None:
    done = experimenter(*words, stdin=b"y\n")

    assert done.returncode == 1
    assert done.stderr == "Error: nobody is there to ask whether this experiment may go; say --yes\n"
    assert len(left()) == 3


def test_ctrl_c_at_the_question_removes_nothing(three: Path, terminal: Callable[..., Terminal]) -> None:
    screen = terminal(EXPERIMENTER, "rm", "bare")
    screen.expect("[y/N]: ")
    screen.type("\x03")

    assert screen.end() != 0
    assert b"Traceback" not in screen.screen
    assert len(left()) == 3


def test_the_end_of_input_at_the_question_is_a_no(three: Path, terminal: Callable[..., Terminal]) -> None:
    screen = terminal(EXPERIMENTER, "rm", "bare")
    screen.expect("[y/N]: ")
    screen.type("\x04")

    assert screen.end() != 0
    assert b"Traceback" not in screen.screen and b"Error: nothing was removed" in screen.screen
    assert len(left()) == 3


def test_one_that_runs_is_refused_and_with_it_all(three: Path, alive: str) -> None:
    done = experimenter("rm", "bare", alive, "--yes")

    assert (done.returncode, len(left())) == (1, 4)
    assert re.fullmatch(rf"Error: exp_alive_\S+ runs; 'experimenter stop {alive}' ends it\n", done.stderr)


def test_rm_answers_in_json(three: Path) -> None:
    tag, object_ = sh("git for-each-ref --format='%(refname:strip=2) %(objectname)' 'refs/tags/exp_bare_*'").split()

    done = experimenter("rm", "bare", "bare", "--yes", "--json")

    assert json.loads(done.stdout) == [
        {"tag": tag, "id": names.id_of(tag), "ref": f"refs/tags/{tag}", "object": object_}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["rm"], 2, "Missing argument"),
        (["rm", "nothing", "--yes"], 1, "no experiment 'nothing'"),
        (["prune"], 2, "give --without-results, --older-than or both"),
        (["prune", "--older-than", "90"], 2, "'90' is no time; give a number with s, m, h, d or w, such as 90d"),
    ],
)
def test_mistakes_remove_nothing(three: Path, words: list[str], status: int, message: str) -> None:
    done = experimenter(*words)

    assert (done.returncode, len(left())) == (status, 3)
    assert message in done.stderr


def test_one_that_somebody_changes_meanwhile_stays_and_with_it_all(three: Path) -> None:
    repo = find_repo(three)
    seen = removal.chosen(repo, ["good", "bare"])
    tag = seen[1].tag
    sh(f"git cat-file tag {tag} | sed 's/completed/failed/' | git mktag | xargs git update-ref refs/tags/{tag}")

    with pytest.raises(RefMoved, match=f"refs/tags/{tag} was changed by somebody else meanwhile"):
        removal.remove(repo, seen)
    assert len(left()) == 3


def test_what_brings_them_back_is_said_before_anything_goes(three: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([EXPERIMENTER, "rm", "bare", "--yes", "--json"], stdout=full, stderr=subprocess.PIPE)

    assert (done.returncode, len(left())) == (1, 3)


def test_without_a_standard_input_nobody_is_asked(three: Path) -> None:
    done = subprocess.run(["sh", "-c", f"{EXPERIMENTER} rm bare <&-"], capture_output=True, text=True)

    assert (done.returncode, len(left())) == (1, 3)
    assert "say --yes" in done.stderr


def test_one_that_perhaps_runs_on_another_machine_is_refused(three: Path) -> None:
    tag = sh("git tag --list 'exp_bare_*'").strip()
    change = 's/completed/running/; s/"host": "[^"]*"/"host": "node9"/'
    sh(f"git cat-file tag {tag} | sed '{change}' | git mktag | xargs git update-ref refs/tags/{tag}")

    done = experimenter("rm", "bare", "--yes")

    assert (done.returncode, len(left())) == (1, 3)
    assert f"is running, perhaps on another machine or by another user; if it is not: git tag -d {tag}" in done.stderr


def test_one_that_runs_in_another_clone_is_refused_and_not_waited_for(repo: Path, tmp_path: Path) -> None:
    sh(f"git clone -q . {tmp_path}/other")
    id_ = detached("-n", "alive", "--", "sleep", "1000")
    experimenter("push", "alive", "--remote", f"{tmp_path}/other")
    there = {
        words[0]: experimenter(*words, id_, cwd=tmp_path / "other") for words in (["rm", "-y"], ["wait"], ["stop"])
    }
    experimenter("stop", id_)

    assert [done.returncode for done in there.values()] == [1, 1, 1]
    assert "runs, in another repository of this machine; stop it there" in there["rm"].stderr
    assert "does not run here; its record says that it is running" in there["wait"].stderr
    assert "does not run here; 'experimenter ps' shows what does" in there["stop"].stderr
    assert experimenter("rm", "-y", id_, cwd=tmp_path / "other").returncode == 0


def test_a_dead_one_of_this_machine_can_go(three: Path) -> None:
    tag = sh("git tag --list 'exp_bare_*'").strip()
    sh(f"git cat-file tag {tag} | sed s/completed/running/ | git mktag | xargs git update-ref refs/tags/{tag}")

    assert experimenter("rm", "bare", "--yes").returncode == 0


def test_from_python_one_that_runs_is_refused_too(repo: Path, alive: str) -> None:
    (tag,) = sh("git tag").split()

    with pytest.raises(NotRemoved, match=f"runs; 'experimenter stop {alive}' ends it"):
        ExperimentData(repo).delete(tag)
    assert left() == ["alive"]


class TestPrune:
    def test_takes_the_logs_along(self, three: Path) -> None:
        logs = Path(".git/experimenter/logs")
        assert len(list(logs.glob("*.log"))) == 3

        experimenter("prune", "--older-than", "0s", "--yes")

        assert list(logs.iterdir()) == []

    def test_survives_tags_with_impossible_dates(self, three: Path) -> None:
        good = sh("git tag --list 'exp_good_*'").strip()
        for moment in ("20269999T999999.999999Z", "20260230T000000.000000Z", "20250229T000000.000000Z"):
            odd = f"exp_odd_{moment}"
            sh(
                f"git cat-file tag {good} | sed 's/^tag .*/tag {odd}/' | git mktag | xargs git update-ref refs/tags/{odd}"
            )

        done = experimenter("prune", "--older-than", "1d", "--dry-run", "--json")

        assert (done.returncode, len(json.loads(done.stdout))) == (0, 1)  # a 29 February that was none

    def test_removes_what_has_no_results(self, three: Path) -> None:
        done = experimenter("prune", "--without-results", "--yes")

        assert (done.returncode, left()) == (0, ["bad", "good"])
        assert "git update-ref refs/tags/exp_bare_" in done.stdout

    def test_removes_what_is_older(self, three: Path) -> None:
        aged("good", 91)
        aged("bare", 89)

        experimenter("prune", "--older-than", "90d", "--yes")

        assert left() == ["bad", "bare"]

    def test_asks_on_a_terminal_below_the_list(self, three: Path, terminal: Callable[..., Terminal]) -> None:
        for answer, then in (("n", ["bad", "bare", "good"]), ("y", ["bad", "good"])):
            screen = terminal(EXPERIMENTER, "prune", "--without-results")
            screen.expect("Remove this experiment? [y/N]: ")
            assert re.search(rb"^\w{8}  bare ", screen.screen, re.MULTILINE)
            screen.type(f"{answer}\n")
            assert (screen.end() == 0, left()) == (answer == "y", then)

    def test_removes_only_what_meets_both(self, three: Path) -> None:
        aged("good", 91)
        aged("bare", 1)

        assert experimenter("prune", "--older-than", "90d", "--without-results", "--yes").returncode == 0
        assert len(left()) == 3
        experimenter("prune", "--older-than", "1h", "--without-results", "--yes")
        assert left() == ["bad", "good"]

    def test_a_dry_run_only_lists(self, three: Path) -> None:
        done = experimenter("prune", "--older-than", "0s", "--dry-run")
        listed = json.loads(experimenter("prune", "--without-results", "--dry-run", "--json").stdout)

        assert (done.returncode, len(left())) == (0, 3)
        assert [line.split()[1] for line in done.stdout.splitlines()] == ["NAME", "good", "bare", "bad"]
        assert [names.name_of(one["tag"]) for one in listed] == ["bare"]

    def test_leaves_alone_what_runs_here_or_perhaps_elsewhere(self, three: Path, alive: str) -> None:
        tag = sh("git tag --list 'exp_bare_*'").strip()
        sh(
            f'git cat-file tag {tag} | sed \'s/"completed"/"running"/\' | git mktag | xargs git update-ref refs/tags/{tag}'
        )

        experimenter("prune", "--older-than", "0s", "--yes")

        assert left() == ["alive", "bare"]

    def test_says_when_there_is_nothing_to_remove(self, three: Path) -> None:
        done = experimenter("prune", "--older-than", "52w")

        assert (done.returncode, done.stdout, done.stderr) == (0, "", "Note: no finished experiment meets this\n")
        assert experimenter("prune", "--older-than", "52w", "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("text", "expected_s"), [("90d", 90 * 86400), ("1.5h", 5400), ("30m", 1800), ("2w", 14 * 86400), (" 5s ", 5)]
)
def test_a_time_is_a_number_with_its_unit(text: str, expected_s: float) -> None:
    assert duration(text, option="--older-than").total_seconds() == expected_s


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1y", "1000000d", "1 d", "1e3d", "٣d", "9" * 400 + "w"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match="--older-than: '"):
        duration(text, option="--older-than")


class TestRemote:
    @pytest.fixture
    def shared(self, three: Path, tmp_path: Path) -> Path:
        bare = tmp_path / "shared.git"
        sh(f"git init -q --bare {bare}; git remote add origin {bare}; git push -q origin main 'refs/tags/exp_*'")
        return bare

    def theirs(self, shared: Path) -> list[str]:
        return [names.name_of(tag) for tag in sh("git tag", cwd=shared).split()]

    def test_removes_there_what_is_there(self, shared: Path) -> None:
        experimenter("run", "-n", "only-here", "--", "true")

        done = experimenter("rm", "bare", "only-here", "--remote", "--yes")

        assert (done.returncode, left(), self.theirs(shared)) == (0, ["bad", "good"], ["bad", "good"]), done.stderr

    def test_asks_whether_it_may_go_on_both_sides(self, shared: Path, terminal: Callable[..., Terminal]) -> None:
        screen = terminal(EXPERIMENTER, "rm", "bare", "--remote")
        screen.expect("Remove this experiment, here and on origin? [y/N]: ")
        screen.type("y\r")

        assert (screen.end(), self.theirs(shared)) == (0, ["bad", "good"])

    def test_says_how_one_that_is_only_there_comes_here(self, shared: Path) -> None:
        experimenter("rm", "bare", "--yes")

        done = experimenter("rm", "bare", "--remote", "--yes")
        assert "only the remote has comes here by 'experimenter pull'" in done.stderr
        experimenter("pull")
        assert experimenter("rm", "bare", "--remote", "--yes").returncode == 0
        assert self.theirs(shared) == ["bad", "good"]

    def test_without_it_they_stay_there(self, shared: Path) -> None:
        experimenter("rm", "bare", "--yes")

        assert (left(), self.theirs(shared)) == (["bad", "good"], ["bad", "bare", "good"])

    def test_takes_the_configured_remote_and_that_of_the_branch(self, shared: Path, tmp_path: Path) -> None:
        sh("git remote rename origin lab; git config experimenter.remote lab")
        experimenter("rm", "bare", "--remote", "--yes")
        assert self.theirs(shared) == ["bad", "good"]
        sh("git config --unset experimenter.remote; git config branch.main.remote lab")
        experimenter("rm", "bad", "--remote", "--yes")
        assert self.theirs(shared) == ["good"]

    def test_another_record_there_is_left_and_so_are_all(self, shared: Path) -> None:
        tag = sh("git tag --list 'exp_bare_*'").strip()
        sh(f"git cat-file tag {tag} | sed 's/completed/failed/' | git mktag | xargs git update-ref refs/tags/{tag}")

        done = experimenter("rm", "good", "bare", "--remote", "--yes")

        assert (done.returncode, len(left()), len(self.theirs(shared))) == (1, 3, 3)
        assert "git update-ref" not in done.stdout
        assert done.stderr == f"Error: origin has another record under {tag}; look at that one first\n"

    def test_an_unreachable_remote_loses_nothing_and_no_password(self, shared: Path) -> None:
        sh("git remote set-url origin https://me:s3cret@localhost:1/x.git")

        done = experimenter("rm", "good", "--remote", "--yes")

        assert (done.returncode, len(left())) == (1, 3)
        assert "s3cret" not in done.stderr and "cannot reach origin (tried 3 times): unable to access" in done.stderr

    def test_nothing_else_goes_along_whatever_is_set_for_pushes(self, shared: Path) -> None:
        experimenter("run", "-n", "mine", "--", "true")
        sh("git tag -a v1 -m private $(git tag --list 'exp_mine_*')^0; git config push.followTags true")
        sh("git config remote.origin.mirror true; git config push.recurseSubmodules only")

        done = experimenter("rm", "bare", "--remote", "--yes")

        assert (done.returncode, self.theirs(shared)) == (0, ["bad", "good"]), done.stderr
        assert sh("git tag --list v1", cwd=shared) == ""

    def test_a_branch_that_follows_one_of_this_repository_has_no_remote(self, shared: Path) -> None:
        sh("git checkout -q -b topic --track main; git tag topic")

        assert experimenter("rm", "bare", "--remote", "--yes").returncode == 0
        assert self.theirs(shared) == ["bad", "good"]

    def test_one_that_is_changed_there_meanwhile_stays_on_both_sides(self, shared: Path) -> None:
        tag = sh("git tag --list 'exp_bare_*'").strip()
        other = sh(f"git cat-file tag {tag} | sed s/completed/failed/ | git -C {shared} mktag").strip()
        hook(Path(".git"), "pre-push", f"git -C {shared} update-ref refs/tags/{tag} {other}")

        done = experimenter("rm", "good", "bare", "--remote", "--yes")

        assert (done.returncode, len(left()), len(self.theirs(shared))) == (1, 3, 3)
        assert "Traceback" not in done.stderr

    def test_the_pre_push_hook_runs_as_for_git_push(self, shared: Path) -> None:
        hook(Path(".git"), "pre-push", "cat >> ../pushed")

        experimenter("rm", "bare", "--remote", "--yes")

        assert "refs/tags/exp_bare_" in Path("../pushed").read_text()


def test_a_name_in_a_repository_without_experiments_is_unknown(tmp_path: Path) -> None:
    done = experimenter("rm", "x", "--yes", cwd=make_repo(tmp_path / "empty"))

    assert (done.returncode, done.stderr) == (1, "Error: no experiment 'x'; 'experimenter list' shows all\n")
