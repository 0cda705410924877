"""Completion: what is offered to a shell that asks, and real shells in a terminal, in which TAB is typed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conftest import Terminal, detached, experimenter, make_repo, sh, tags, until
from experimenter import names

COMMANDS = [
    "checkout", "completion", "diff", "list", "logs", "prune", "ps", "pull", "push", "rerun", "rm", "run", "show", "stop",
    "submit", "sweep", "verify", "wait",
]  # fmt: skip
LINES = {
    "bash": 'eval "$(experimenter completion bash)"',
    "zsh": 'eval "$(experimenter completion zsh)"',
    "fish": "experimenter completion fish | source",
}
PROMPTS = {
    "bash": "PS1='ready> '",
    "zsh": "PROMPT='ready> '; bindkey -e",
    "fish": "function fish_prompt; echo -n 'ready> '; end; set -g fish_greeting",
}
TYPED = {
    "bash": 'typed() { echo "<$*>"; }',
    "zsh": 'typed() { echo "<$*>"; }',
    "fish": 'function typed; echo "<$argv>"; end',
}
STARTS = {
    "bash": ("home/.bashrc", ["bash", "--noprofile", "--rcfile", "{rc}", "-i"]),
    "zsh": ("home/.zshrc", ["zsh", "-d", "-i"]),
    "fish": ("home/xdg/fish/config.fish", ["fish", "-i"]),
}
ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9]|[=>]|\][^\x07]*\x07)|\x0f")
RESULT = re.compile(r"<(.*)>\r\n(?s:.*)ready> \s*$")


def needs(shell: str) -> pytest.MarkDecorator:
    is_missing = not shutil.which(shell) and "CI" not in os.environ
    return pytest.mark.skipif(is_missing, reason=f"{shell} is not installed")


every_shell = pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs(kind)) for kind in LINES])


@dataclass
class Shell:
    """A shell at its prompt, with our completion."""

    kind: str
    terminal: Terminal

    def completes(self, line: str, to: str) -> None:
        """Type a line and TAB, and let the shell say what became of it."""
        self._type(f"{line}\t")
        assert self._enter() == to

    def offers(self, line: str, *words: str) -> None:
        """Type a line and TAB, and wait for all of the words."""
        self._type(line + ("\t\t" if self.kind == "bash" else "\t"))
        try:
            until(lambda: self.terminal.read() and set(words) <= self.shown(), what=f"{words} after {line}")
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen has {self._text()!r}") from error
        self._enter()

    def _type(self, keys: str) -> None:
        self.terminal.screen = b""
        self.terminal.type(keys)

    def _enter(self) -> str:
        """Let the line be the words of our function; return what it prints, when the prompt is there again."""
        self.terminal.type("\x01typed \r")  # ^A goes to the line's start
        until(lambda: self.terminal.read() and RESULT.search(self._text()), what="the line")
        found = RESULT.search(self._text())
        assert found
        return found[1]

    def shown(self) -> set[str]:
        return set(self._text().split())

    def _text(self) -> str:
        return ESCAPES.sub(b"", self.terminal.screen).decode(errors="replace")


@pytest.fixture
def shell(tmp_path: Path, terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shell]:
    """Start a shell whose user has put our line, or another, into its file of commands."""
    for variable in ("EDITOR", "VISUAL", "INPUTRC", "ZDOTDIR", "FPATH", "XDG_DATA_HOME", "XDG_DATA_DIRS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm")

    def start(kind: str, line: str = "") -> Shell:
        file, words = STARTS[kind]
        rc = tmp_path / file
        rc.parent.mkdir(parents=True, exist_ok=True)
        rc.write_text("\n".join(["stty rows 60", PROMPTS[kind], TYPED[kind], line or LINES[kind], ""]))
        started = Shell(kind, terminal(*(word.format(rc=rc) for word in words)))
        started.terminal.expect("ready>")
        return started

    return start


@pytest.fixture
def two(repo: Path) -> Path:
    """Two experiments that have ended: `first`, and `second`."""
    for name in ("first", "second"):
        assert experimenter("run", "-n", name, "--", "true").returncode == 0
    return repo


@pytest.fixture
def alive(two: Path) -> Iterator[str]:
    """The id of one that runs besides: `lives`, which begins like no id, or TAB would type what they share."""
    yield detached("--name", "lives", "--", "sleep", "1000")
    experimenter("stop", "--all")


def id_of(name: str) -> str:
    return names.id_of(next(tag for tag in tags() if names.name_of(tag) == name))


def hang(top: Path, *new: str) -> None:
    """Hang tags on HEAD that hold no record: whoever opens one would fail."""
    stdin = "".join(f"create refs/tags/{tag} HEAD\n" for tag in new)
    subprocess.run(["git", "update-ref", "--stdin"], input=stdin, cwd=top, text=True, check=True)


# --- in the shells ---


@every_shell
def test_tab_completes_commands_and_options(kind: str, two: Path, shell: Callable[..., Shell]) -> None:
    at = shell(kind)

    at.offers("experimenter ", *COMMANDS)
    at.offers("experimenter -", "-C", "-n", "--strict", "--version")
    at.completes("experimenter sh", to="experimenter show")
    at.completes("experimenter list --st", to="experimenter list --strict")


@every_shell
def test_tab_completes_ids_and_names(kind: str, two: Path, shell: Callable[..., Shell]) -> None:
    at = shell(kind)
    first, second = id_of("first"), id_of("second")

    at.offers("experimenter show ", "first", "second", first, second)
    at.completes(f"experimenter show {first[:4]}", to=f"experimenter show {first}")
    at.completes("experimenter logs sec", to="experimenter logs second")
    at.completes("experimenter show exp_f", to=f"experimenter show {tags()[0]}")
    at.completes("experimenter -n fi", to="experimenter -n first")
    at.completes("experimenter list --name=fi", to="experimenter list --name=first")


@every_shell
def test_stop_offers_only_what_runs(kind: str, alive: str, shell: Callable[..., Shell]) -> None:
    at = shell(kind)

    at.offers("experimenter stop ", "lives", alive)
    assert not {"first", "second"} & at.shown()
    at.completes("experimenter stop fi", to="experimenter stop fi")
    at.completes("experimenter stop li", to="experimenter stop lives")
    at.completes(f"experimenter stop lives {alive[:5]}", to=f"experimenter stop lives {alive}")


@every_shell
def test_tab_completes_files_and_folders(kind: str, two: Path, shell: Callable[..., Shell]) -> None:
    (two / "settings.yaml").write_text("a: 1\n")
    (two / "some folder").mkdir()
    at = shell(kind)

    at.completes("experimenter run -- python tr", to="experimenter run -- python train.py")
    at.completes("experimenter run -- python train.py -n se", to="experimenter run -- python train.py -n settings.yaml")
    at.completes("experimenter run --params se", to="experimenter run --params settings.yaml")
    at.completes("experimenter -C so", to="experimenter -C some folder" + ("" if kind == "zsh" else "/"))


@every_shell
def test_another_repository_is_looked_into(kind: str, tmp_path: Path, shell: Callable[..., Shell]) -> None:
    top = make_repo(tmp_path / "home" / "the other one")
    hang(top, "exp_there_20260101T000000.000000Z")
    at = shell(kind)

    at.completes(rf"experimenter -C {tmp_path}/home/the\ other\ one show t", to=f"experimenter -C {top} show there")
    at.completes("experimenter -C ~/'the other one' show t", to=f"experimenter -C {top} show there")


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs(kind)) for kind in ("zsh", "fish")])
def test_ids_are_explained(kind: str, two: Path, shell: Callable[..., Shell]) -> None:
    started = f"{names.moment_of(tags()[0]).astimezone():%H:%M}"

    at = shell(kind)
    at.offers("experimenter show ", id_of("first"))
    assert {started, f"{started})"} & at.shown()


@needs("zsh")
@pytest.mark.parametrize(
    "line",
    [
        f"autoload -Uz compinit && compinit -u\n{LINES['zsh']}",
        f"{LINES['zsh']}\nautoload -Uz compinit && compinit -u",
        LINES["zsh"],
        f"{LINES['zsh']}\n{LINES['zsh']}",
        "mkdir ~/functions && experimenter completion zsh >~/functions/_experimenter\n"
        "fpath=(~/functions $fpath)\nautoload -Uz compinit && compinit -u",
    ],
    ids=["before", "after", "never", "twice", "from-a-file"],
)
def test_zsh_may_load_its_completion_any_time(line: str, two: Path, shell: Callable[..., Shell]) -> None:
    at = shell("zsh", line)

    assert b"compdef" not in at.terminal.screen and b"compinit" not in at.terminal.screen
    at.completes("experimenter show fi", to="experimenter show first")
    at.completes("experimenter show sec", to="experimenter show second")


@needs("bash")
def test_the_script_may_be_kept_in_a_file(two: Path, shell: Callable[..., Shell]) -> None:
    at = shell("bash", "experimenter completion bash >~/script; . ~/script")

    at.completes("experimenter show fi", to="experimenter show first")


# --- to a shell that asks ---


def asked(*words: str, kind: str = "bash", cwd: Path | None = None) -> list[str]:
    """Return what is offered for the last of the words."""
    env = {"_EXPERIMENTER_COMPLETE": f"{kind}_complete", "COMP_CWORD": str(len(words))}
    done = experimenter(env={**env, "COMP_WORDS": "\n".join(["experimenter", *words])}, cwd=cwd)
    assert done.stderr == ""
    return done.stdout.split()


def offered(*words: str, cwd: Path | None = None) -> list[str]:
    found = asked(*words, cwd=cwd)
    assert all(line.startswith("plain,") for line in found)
    return [line.removeprefix("plain,") for line in found]


def test_without_a_command_commands_and_the_options_of_list_are_offered(repo: Path) -> None:
    assert offered("") == COMMANDS
    assert offered("l") == ["list", "logs"]
    assert offered("-C", str(repo), "") == offered(f"-C{repo}", "") == COMMANDS
    for words in (["-"], ["-C", str(repo), "-"]):
        options = offered(*words)
        assert {"-C", "--version", "--help", "-c", "--code", "-s", "-n", "--json"} <= set(options)
        assert len(options) == len(set(options))
    assert offered("--na") == ["--name"]
    assert offered("-s", "--na") == ["--name"]
    assert offered("completion", "") == ["bash", "zsh", "fish"]


@pytest.mark.parametrize("words", [["-c", ""], ["-s", ""], ["list", "-c", "x", ""], ["--x"], ["x"], ["show", "x"]])
def test_where_nothing_can_be_offered_nothing_is(words: list[str], two: Path) -> None:
    assert offered(*words) == []


def test_names_of_several_are_offered_only_to_choose_several(two: Path) -> None:
    hang(two, "exp_twice_20260101T000000.000000Z", "exp_twice_20260101T000001.000000Z")
    ids = {names.id_of(tag) for tag in tags()}

    assert set(offered("show", "")) == {"first", "second", *ids}
    assert offered("show", "twice") == []
    assert sorted(offered("-n", "")) == sorted(offered("list", "--name", "")) == ["first", "second", "twice"]
    assert offered("list", "--name", "=") == offered("-n", "")
    assert offered("list", "--name", "=", "tw") == ["twice"]


def test_the_newest_come_first(two: Path) -> None:
    assert offered("show", "") == ["second", "first", id_of("second"), id_of("first")]


def test_tags_are_offered_once_one_is_typed(two: Path) -> None:
    assert offered("show", "exp_") == tags()[::-1]
    assert offered("show", "ex") == []
    assert offered("show", "exp_s") == tags()[1:]


def test_ids_may_be_typed_in_upper_case(two: Path) -> None:
    assert offered("show", id_of("first")[:7].upper()) == [id_of("first")]


def test_an_id_comes_with_its_name_and_local_start(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-3")
    hang(repo, tag := "exp_early_20251231T223000.000000Z")

    assert asked("show", names.id_of(tag), kind="zsh") == ["plain", names.id_of(tag), "early", "2026-01-01", "01:30"]


def test_what_runs_and_what_is_over_is_offered_where_it_counts(alive: str) -> None:
    assert experimenter("run", "-n", "failed", "--", "false").returncode == 1
    hang(Path(), "exp_lives_20260101T000000.000000Z")
    over = {"first", "second", id_of("first"), id_of("second")}
    old = names.id_of("exp_lives_20260101T000000.000000Z")

    assert set(offered("stop", "")) == set(offered("stop", "lives", "")) == {"lives", alive}
    assert set(offered("show", "")) == over | {alive, old}
    for command in ("logs", "wait"):
        found = offered(command, "")
        assert over | {"lives", alive, old, "failed"} < set(found)
        assert len(found) == len(set(found)) == len(over) + 5


def test_a_command_is_completed_by_files_and_not_by_our_options(repo: Path) -> None:
    assert asked("run", "--", "") == asked("run", "--", "a", "") == asked("run", "a", "") == ["file,"]
    assert asked("run", "--", "python", "-p", "") == asked("run", "--", "python", "--name", "") == ["file,"]
    assert asked("run", "python", "-") == []
    assert asked("run", "--params", "a") == asked("run", "--results", "a") == ["file,a"]
    assert asked("-C", "a") == asked("-C", "b", "-C", "a") == ["dir,a"]
    assert "--params" in offered("run", "--")


@pytest.mark.parametrize("command", ["show", "stop", "wait", "logs", "-n"])
def test_outside_a_repository_nothing_is_offered(command: str, tmp_path: Path, repo: Path) -> None:
    hang(repo, "exp_a_20260101T000000.000000Z")

    assert offered(command, "", cwd=tmp_path) == []
    assert offered("-C", str(tmp_path), command, "") == []
    assert offered("-C", "missing", command, "") == []
    assert offered("-C", "~nobody-of-this-name", command, "") == []


def test_the_repository_of_another_folder_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = make_repo(tmp_path / "home" / "with spaces, äöü and 'quotes'")
    hang(top, tag := "exp_there_20260101T000000.000000Z")
    monkeypatch.setenv("ABOVE", str(top.parent))
    both = ["there", names.id_of(tag)]
    typed = r"with\ spaces,\ äöü\ and\ \'quotes\'"

    assert offered("show", "", cwd=top) == both
    assert offered("-C", f'"{top}"', "show", "", cwd=tmp_path) == both
    assert offered("-C", f"~/{typed}", "show", "", cwd=tmp_path) == both
    assert offered("-C", f'"$ABOVE"/{typed}', "show", "", cwd=tmp_path) == both
    assert offered("-C", "home", "-C", typed, "-n", "", cwd=tmp_path) == both[:1]


def test_bash_breaks_words_that_belong_together(tmp_path: Path) -> None:
    top = make_repo(tmp_path / "a=b:c@d")
    hang(top, "exp_there_20260101T000000.000000Z")

    assert offered("-C", "a", "=", "b", ":", "c", "@", "d", "show", "th", cwd=tmp_path) == ["there"]
    assert asked("run", "-p", "a", "=", "b", "--params", "f", cwd=tmp_path) == ["file,f"]


def test_many_experiments_are_offered_without_reading_one(repo: Path) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    many = [names.tag(f"sweep{number}", begin + timedelta(seconds=number)) for number in range(10_000)]
    hang(repo, *many)

    assert len(offered("show", "")) == 20_000
    assert offered("show", "sweep777") == [f"sweep{number}" for number in (*range(7779, 7769, -1), 777)]
    assert offered("show", names.id_of(many[7])) == [names.id_of(many[7])]


def test_a_shell_that_asks_in_a_wrong_way_hears_nothing(repo: Path) -> None:
    for variables in (
        {},
        {"COMP_WORDS": "experimenter show ", "COMP_CWORD": "x"},
        {"COMP_WORDS": "experimenter show '", "COMP_CWORD": "2"},
        {"COMP_WORDS": "", "COMP_CWORD": ""},
    ):
        for kind in ("bash_complete", "zsh_complete", "fish_complete", "tcsh_complete", "1"):
            done = experimenter(env={"_EXPERIMENTER_COMPLETE": kind, **variables})
            assert done.stderr == ""


def test_without_git_nothing_is_said(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert offered("show", "") == []
    assert offered("sh") == ["show"]


def test_the_help_and_the_readme_tell_the_lines() -> None:
    shown = experimenter("completion", "--help").stdout
    readme = (Path(__file__).parents[1] / "README.md").read_text()

    assert all(line in shown and line in readme for line in LINES.values())
    done = experimenter("completion", "tcsh")
    assert (done.returncode, done.stdout) == (2, "")


def test_commands_load_nothing_for_completion() -> None:
    script = """
import sys
from experimenter.cli import control, look, run
print({"git", "click.shell_completion", "experimenter.store", "experimenter.cli.shells"} & set(sys.modules))
"""
    assert sh(f"{sys.executable} -c '{script}'") == "set()\n"
