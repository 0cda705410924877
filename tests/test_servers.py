"""Sharing through real servers on loopback: sshd, and git http-backend behind lighttpd with a password."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import EXPERIMENTER, Terminal, experimenter, hook, make_repo, sh, until
from experimenter import names

CANARY = "s3cret-canary"


def needs(program: str) -> pytest.MarkDecorator:
    place = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    return pytest.mark.skipif(not place and "CI" not in os.environ, reason=f"{program} is not installed")


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, f"{name} is not installed"
    return found


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        assert isinstance(port, int)
        return port


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Server:
    """A server on loopback, and the bare repository that it offers."""

    url: str
    bare: Path
    process: "subprocess.Popen[bytes]"


def served(words: list[str], port: int) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0) as process:
        try:
            until(lambda: answers(port) or process.poll() is not None, what=words[0])
            assert process.poll() is None, process.stderr and process.stderr.read()
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def bare(repo: Path, tmp_path: Path) -> Path:
    sh(f"git init -q --bare -b main {tmp_path}/srv/team.git; git push -q {tmp_path}/srv/team.git main")
    sh("git config http.receivepack true", cwd=tmp_path / "srv/team.git")
    return tmp_path / "srv/team.git"


@pytest.fixture
def ssh(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An sshd of our own, with keys of its own."""
    folder, port = tmp_path / "ssh", free_port()
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        sh(f"ssh-keygen -q -t ed25519 -N '' -f {folder}/{key}")
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\nStrictModes no\n"
        f"PidFile none\nUsePAM no\nPasswordAuthentication yes\nPermitRootLogin yes\n"
    )
    if os.geteuid() == 0 and not Path("/run/sshd").exists() and "CI" not in os.environ:
        pytest.skip("sshd, started by root, needs /run/sshd")
    options = f"-F /dev/null -o UserKnownHostsFile={folder}/known -o StrictHostKeyChecking=no -o IdentitiesOnly=yes"
    monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh {options} -i {folder}/user")
    for process in served([program("sshd"), "-D", "-e", "-f", str(folder / "config")], port):
        yield Server(f"ssh://{getpass.getuser()}@127.0.0.1:{port}{bare}", bare, process)


@pytest.fixture
def http(bare: Path, tmp_path: Path) -> Iterator[Server]:
    """Smart http behind basic authentication."""
    folder, port = tmp_path / "http", free_port()
    folder.mkdir()
    (folder / "users").write_text(f"me:{CANARY}\n")
    backend = Path(sh("git --exec-path").strip()) / "git-http-backend"
    (folder / "config").write_text(
        f'server.document-root = "{bare.parent}"\nserver.port = {port}\nserver.bind = "127.0.0.1"\n'
        'server.modules = ("mod_auth", "mod_authn_file", "mod_alias", "mod_cgi", "mod_setenv")\n'
        f'auth.backend = "plain"\nauth.backend.plain.userfile = "{folder}/users"\n'
        'auth.require = ("/" => ("method" => "basic", "realm" => "git", "require" => "valid-user"))\n'
        f'alias.url = ("/git" => "{backend}")\ncgi.assign = ("" => "")\n'
        f'setenv.add-environment = ("GIT_PROJECT_ROOT" => "{bare.parent}", "GIT_HTTP_EXPORT_ALL" => "1")\n'
        f'server.upload-dirs = ("{folder}")\nserver.stream-request-body = 0\n'
    )
    for process in served([program("lighttpd"), "-D", "-f", str(folder / "config")], port):
        yield Server(f"http://me:{CANARY}@127.0.0.1:{port}/git/team.git", bare, process)


def shares(server: Server, tmp_path: Path) -> None:
    """Send and collect through a server, everything that belongs to it included."""
    fresh = make_repo(tmp_path / "fresh")
    for place in (Path.cwd(), fresh):
        sh(f"git remote add origin '{server.url}'", cwd=place)
    sh("head -c 3000000 /dev/urandom > data.bin; echo edited > train.py")
    experimenter("run", "-n", "a", "--push", "--", "true")
    experimenter("run", "-n", "b", "--", "true")

    pushed, pulled = experimenter("push"), experimenter("pull", cwd=fresh)

    assert (pushed.returncode, pulled.returncode) == (0, 0), pushed.stderr + pulled.stderr
    assert pulled.stdout == "2 experiments pulled from origin\n"
    assert sh("git tag", cwd=fresh) == sh("git tag") == sh("git tag", cwd=server.bare)
    assert experimenter("rm", "a", "--remote", "--yes").returncode == 0
    assert [names.name_of(tag) for tag in sh("git tag", cwd=server.bare).split()] == ["b"]


@needs("sshd")
def test_ssh_shares(ssh: Server, tmp_path: Path) -> None:
    shares(ssh, tmp_path)


@needs("sshd")
def test_ssh_asks_nobody_when_a_run_pushes_by_itself(
    ssh: Server, terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", os.environ["GIT_SSH_COMMAND"].rpartition(" -i ")[0])  # no key, a password
    sh(f"git remote add origin '{ssh.url}'")
    screen = terminal(EXPERIMENTER, "run", "-n", "a", "--push", "--", "true")

    assert screen.end() == 0
    assert b"assword:" not in screen.screen
    assert b"was not pushed, 'experimenter push' sends it later" in screen.screen


@needs("lighttpd")
def test_http_shares_and_shows_no_password_anywhere(http: Server, tmp_path: Path) -> None:
    shares(http, tmp_path)
    said = experimenter("push", "--remote", http.url)
    experimenter(
        "run", "-n", "c", "--push", http.url, "--", "git", "ls-remote", http.url, env={"EXPERIMENTER_DEBUG": "1"}
    )

    assert said.returncode == 0 and CANARY not in said.stdout + said.stderr
    for path in Path(".git/experimenter").rglob("*"):
        assert not path.is_file() or path.suffix == ".log" or CANARY not in path.read_text(errors="replace"), path
    assert CANARY not in sh("git for-each-ref --format='%(contents)' refs/tags")


@needs("lighttpd")
def test_a_person_is_asked_for_a_password_and_a_run_that_pushes_by_itself_asks_nobody(
    http: Server, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    ask = tmp_path / "ask"
    ask.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/asked\ncase $1 in User*) echo me;; *) echo {CANARY};; esac\n')
    ask.chmod(0o755)
    scheme, _, rest = http.url.partition("://")
    sh(f"git remote add origin {scheme}://{rest.rpartition('@')[2]}; git config core.askPass {ask}")

    itself = terminal(EXPERIMENTER, "run", "-n", "a", "--push", "--", "true")
    assert itself.end() == 0
    assert b"it wants a password" in itself.screen
    assert not (tmp_path / "asked").exists()

    asking = terminal(EXPERIMENTER, "push")
    assert asking.end() == 0
    assert len((tmp_path / "asked").read_text().splitlines()) >= 2
    assert CANARY.encode() not in itself.screen + asking.screen
    assert [names.name_of(tag) for tag in sh("git tag", cwd=http.bare).split()] == ["a"]


@needs("lighttpd")
def test_no_password_is_stored_while_a_run_goes_on_nor_printed(http: Server) -> None:
    pattern = CANARY.replace("-", ".")  # in which the word itself does not stand
    Path("look.sh").write_text(f"! grep -r {pattern} .git/experimenter/runs && experimenter ps --json | grep -c host")
    done = experimenter("run", "-n", "a", "--push", http.url, "--", "sh", "look.sh")
    said = experimenter("push", "--json", "--remote", http.url)

    assert (done.returncode, done.stdout, said.returncode) == (0, "1\n", 0)
    assert CANARY not in done.stderr + said.stdout + said.stderr
    assert json.loads(said.stdout)["remote"].startswith("http://")


@needs("lighttpd")
def test_a_wrong_password_is_an_error_that_shows_none(http: Server) -> None:
    wrong = http.url.replace(CANARY, CANARY + "-wrong")
    experimenter("run", "-n", "a", "--", "true")
    started_s = time.monotonic()

    done = experimenter("push", "--remote", wrong)

    assert (done.returncode, CANARY in done.stdout + done.stderr) == (1, False)
    assert "cannot reach http://" in done.stderr and "uthentication failed" in done.stderr
    assert time.monotonic() - started_s < 10  # nothing that the network could be blamed for is tried again


@needs("lighttpd")
def test_a_password_that_nobody_can_be_asked_for_is_told(http: Server) -> None:
    scheme, _, rest = http.url.partition("://")
    done = experimenter("run", "--push", f"{scheme}://{rest.rpartition('@')[2]}", "--", "true")

    assert (done.returncode, "it wants a password, and no terminal is here to ask for it" in done.stderr) == (0, True)


@needs("lighttpd")
def test_a_server_that_goes_away_half_way_loses_nothing(http: Server) -> None:
    kill = f"import os, signal\nos.kill({http.process.pid}, signal.SIGKILL)\nos._exit(1)\n"
    hook(http.bare, "pre-receive", f"#!{sys.executable}\n{kill}")
    experimenter("run", "-n", "a", "--", "true")

    done = experimenter("push", "--remote", http.url)

    assert (done.returncode, "Traceback" in done.stderr, CANARY in done.stderr) == (1, False, False)
    assert sh("git tag", cwd=http.bare) == "" and len(sh("git tag").split()) == 1
