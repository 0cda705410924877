"""Jobs on a real Slurm, started for these tests without systemd, cgroups and an accounting database.

It has two nodes: one with a host name of its own (uts_namespaces(7)), where most jobs run as on a real cluster, whose
processes nobody sees from where they were submitted; and this host.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import EXPERIMENTER, Terminal, experimenter, fake_git, hook, record, sh, tags, until
from experimenter import slurm
from experimenter.logs import add_output_of_job
from experimenter.names import id_of
from experimenter.plumbing import find_repo
from experimenter.process import Identity

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
SBIN = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
MISSING = [program for program in PROGRAMS if not shutil.which(program, path=SBIN)]
pytestmark = [
    pytest.mark.skipif(bool(MISSING) and "CI" not in os.environ, reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0 and "CI" not in os.environ, reason="slurmd starts jobs as root only"),
    pytest.mark.xdist_group("slurm"),
]
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge/socket
CredType=cred/munge
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool-%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
KillWait=5
JobRequeue=0
ReturnToService=2
MailProg=/bin/true
{nodes}PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=patient Nodes={node} MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes={node} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=here Nodes={host} MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=both Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1
"""
NODE_LINE = "NodeName={name} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=1000 State=UNKNOWN\n"
HOST = os.uname().nodename.partition(".")[0]
HAS_NAMESPACES = subprocess.run(["unshare", "--uts", "true"], stderr=subprocess.DEVNULL).returncode == 0
NODE = "node1" if HAS_NAMESPACES else HOST
RESULT = 'echo EXPERIMENTER_RESULTS "{\\"x\\": 1}"'


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Slurm of two nodes, or where namespaces are not allowed of one; the value is its configuration file."""
    assert not MISSING, f"not installed: {', '.join(MISSING)}"
    place = tmp_path_factory.mktemp("slurm")
    for folder in ("munge", "state"):
        (place / folder).mkdir(mode=0o700)
    (place / "munge/key").write_bytes(os.urandom(128))
    (place / "munge/key").chmod(0o400)
    ports, nodes = free_ports(3), sorted({NODE, HOST})
    lines = [
        NODE_LINE.format(name=name, port=port, cpus=os.cpu_count())
        for name, port in zip(nodes, ports[1:], strict=False)
    ]
    settings = {"host": HOST, "place": place, "node": NODE, "ports": ports, "nodes": "".join(lines)}
    (place / "slurm.conf").write_text(CONFIGURATION.format(**settings))
    munge = place / "munge"
    files = [
        f"--key-file={munge}/key",
        f"--socket={munge}/socket",
        f"--pid-file={munge}/pid",
        f"--log-file={munge}/log",
    ]
    env = {**os.environ, "PATH": SBIN, "SLURM_CONF": str(place / "slurm.conf")}
    daemons: list[subprocess.Popen[bytes]] = []
    with (place / "out").open("wb") as out:
        for words in (
            ["munged", "--foreground", "--force", *files, f"--seed-file={munge}/seed"],
            ["slurmctld", "-D"],
            ["slurmd", "-D"],
            *([["unshare", "--uts", "sh", "-c", f"hostname {NODE} && exec slurmd -D"]] if HAS_NAMESPACES else []),
        ):
            daemons.append(subprocess.Popen(words, env=env, stdout=out, stderr=out))
            if words[0] == "munged":
                until((munge / "socket").exists, what="munged")
    try:
        until(
            lambda: (
                subprocess.run(["sinfo", "-h", "-N", "-p", "both", "-o", "%T"], env=env, capture_output=True).stdout
                == b"idle\n" * len(nodes)
            ),
            what="the nodes",
        )
        yield place / "slurm.conf"
        subprocess.run(["scancel", "--user=root"], env=env)
        until(
            lambda: not subprocess.run(["squeue", "-h"], env=env, capture_output=True).stdout,
            what="the end of the jobs",
        )
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)


def free_ports(count: int) -> list[int]:
    import socket

    opened = [socket.socket() for _ in range(count)]
    for one in opened:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in opened]
    for one in opened:
        one.close()
    return ports


@pytest.fixture(autouse=True)
def on_cluster(cluster: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test have the cluster for itself, and leave none of its jobs to the next."""
    monkeypatch.setenv("SLURM_CONF", str(cluster))
    yield
    sh("scancel --user=root")
    until(lambda: not sh("squeue -h"), what="the end of the jobs")


def submit(*words: str, command: tuple[str, ...] = ("true",)) -> str:
    """Submit a command; return the experiment's id."""
    done = experimenter("submit", *words, "--", *command)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[0-9a-f]{8}\n", done.stdout)
    return done.stdout.strip()


def running(id_: str) -> dict[str, Any]:
    found = json.loads(experimenter("ps", "--json").stdout)
    return next((one for one in found if one["id"] == id_), {})


def started(tmp_path: Path, *words: str, script: str = "") -> str:
    """Submit a command that goes on until it is ended, and wait until it runs."""
    id_ = submit(*words, command=("sh", "-c", f"{script} echo x >> {tmp_path}/started; exec sleep 1000"))
    until((tmp_path / "started").exists, what="the start")
    until(lambda: running(id_).get("state") == "running", what="the record of it")
    return id_


def job_id(id_: str) -> str:
    return str(running(id_)["job_id"])


def starts(tmp_path: Path) -> int:
    return len((tmp_path / "started").read_text().split())


def sweep_here(*line: str) -> "subprocess.Popen[str]":
    """Start a sweep on this machine, one cell at a time, and wait until it knows its cells."""

    def has_begun() -> bool:
        files = Path(".git/experimenter/sweeps").glob("[!.]*/*/pid.json")  # not what is just being made
        return any('"total": 0' not in file.read_text() for file in files)

    here = subprocess.Popen([EXPERIMENTER, "sweep", "-j", "1", *line], stderr=subprocess.PIPE, text=True)
    until(has_begun, what="the sweep here")
    return here


def gone() -> bool:
    return not Path(".git/experimenter/jobs").exists() and not list(Path(".git/experimenter/runs").iterdir())


@contextmanager
def busy() -> Iterator[None]:
    """Let jobs wait while the body runs: another one has the whole node."""
    job = sh("sbatch --parsable --exclusive --output=/dev/null --wrap 'sleep 1000'").strip()
    until(lambda: sh(f"squeue -h -j {job} -o %T") == "RUNNING\n", what="the job that has the node")
    yield
    sh(f"scancel {job}")


def start_again(job: str) -> None:
    """Let a requeued job not wait for two minutes, but for the second in which slurmd revokes its old credential."""
    sh(f"scontrol update job {job} StartTime=now+2seconds")


class TestSubmit:
    def test_a_program_outside_the_repository_is_warned_of_once(self, repo: Path, tmp_path: Path) -> None:
        (tmp_path / "other.py").write_text("")
        command = ("python", "../other.py")
        sweep = experimenter("sweep", "--engine", "slurm", "-p", "seed=1,2", "--wait", "--", *command)
        single = experimenter("submit", "--wait", "--", *command)

        for done in (single, sweep):
            assert done.stderr.count("../other.py lies outside the repository; its code is not in the tag") == 1

    def test_the_job_runs_the_code_as_it_was_when_it_was_submitted(self, repo: Path, tmp_path: Path) -> None:
        Path("code.txt").write_text("submitted\n")
        with busy():
            id_ = submit("-n", "mine", "-p", "lr=0.1", command=("sh", "-c", f"cat code.txt; {RESULT}; pwd >&2"))
            Path("code.txt").write_text("edited")
            queued = record()
            assert (queued["status"], "started" in queued) == ("queued", False)
            assert list(queued)[:5] == ["schema", "name", "parameters", "status", "submitted"]
            waiting = running(id_)
            assert (waiting["state"], waiting["job_state"], waiting["pid"]) == ("queued", "PENDING", None)
            assert waiting["job_reason"] in ("Priority", "Resources")
            line = rf"^{id_} +mine +queued +{waiting['job_id']} PENDING \({waiting['job_reason']}\) "
            assert re.search(line, experimenter("ps").stdout, re.MULTILINE)

        assert experimenter("wait", id_).returncode == 0
        log = experimenter("logs", id_).stdout
        assert log.startswith("submitted\nEXPERIMENTER_RESULTS")
        assert f"/experimenter-{id_}\n" in log
        ended = record()
        assert (ended["status"], ended["results"], ended["parameters"]) == ("completed", {"x": 1}, {"lr": 0.1})
        assert ended["submitted"] < ended["started"] < ended["finished"]
        assert ended["host"] == NODE
        assert gone()
        assert sh("git worktree list").count("\n") == 1
        assert experimenter("-c", ended["code"]["commit"], "--json").stdout.count(id_) == 1

    def test_slurm_knows_the_job_by_the_tag_and_as_much_as_was_asked(self, tmp_path: Path) -> None:
        anyway = ("-d", "--isolated")  # which change nothing
        words = (*anyway, "--slurm", "timeout_min=7", "--slurm", "slurm_cpus_per_task=1", "--slurm", "partition=urgent")
        id_ = started(tmp_path, *words)

        assert sh(f"squeue -h -j {job_id(id_)} -o '%j %l %C %P'").split() == [tags()[0], "7:00", "1", "urgent"]
        assert sh("squeue -h -o %j").split() == tags()
        assert re.search(rf"^{id_} .* running +{job_id(id_)} RUNNING ", experimenter("ps").stdout, re.MULTILINE)
        assert [one["status"] for one in json.loads(experimenter("list", "--json").stdout)] == ["running"]
        assert experimenter("stop", id_).returncode == 0

    @pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT])
    def test_it_outlives_who_waits_for_it(self, repo: Path, tmp_path: Path, signum: int) -> None:
        script = f"touch {tmp_path}/started; until test -e {tmp_path}/go; do sleep 0.1; done"
        words = (EXPERIMENTER, "submit", "--wait", "--", "sh", "-c", script)
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as waiting:
            until((tmp_path / "started").exists, what="the start")
            waiting.send_signal(signum)
            assert waiting.stdout
            id_ = waiting.stdout.read().strip()
        (tmp_path / "go").touch()

        assert (waiting.returncode, experimenter("wait", id_).returncode) == (-signum, 0)
        assert record()["status"] == "completed"

    def test_the_job_is_told_beside_the_id(self, tmp_path: Path) -> None:
        waits = f"until test -e {tmp_path}/go; do sleep 0.1; done"
        done = experimenter("submit", "--", "sh", "-c", waits)
        job = job_id(done.stdout.strip())
        (tmp_path / "go").touch()

        assert done.stderr == f"Note: submitted as the job {job}\n"

    def test_a_command_that_dies_of_a_signal_has_failed(self, repo: Path) -> None:
        done = experimenter("submit", "--keep", "--wait", "--", "sh", "-c", "kill -9 $$")

        assert (done.returncode, record()["status"], record()["exit_code"]) == (137, "failed", 137)

    def test_parameters_reach_the_command_as_in_a_run(self, repo: Path, tmp_path: Path) -> None:
        Path("sub").mkdir()
        Path("sub/f").touch()
        script = f'echo "$EXPERIMENTER_PARAM_API_KEY $0 $(basename $(pwd)) $EXPERIMENTER_TAG" > {tmp_path}/seen; echo \'{{{{"a": 2}}}}\' > out.json'
        os.chdir("sub")
        id_ = submit(
            "-p",
            "api_key=hush",
            "-p",
            "n=3",
            "--template",
            "--results",
            "out.json",
            command=("sh", "-c", script, "{n}"),
        )

        assert experimenter("wait", id_).returncode == 0
        assert (tmp_path / "seen").read_text().split() == ["hush", "3", "sub", *tags()]
        assert (record()["parameters"], record()["results"], record()["directory"]) == (
            {"api_key": "<redacted>", "n": 3},
            {"a": 2},
            "sub",
        )

    def test_ignored_paths_can_be_linked(self, repo: Path) -> None:
        Path(".gitignore").write_text("data\n")
        Path("data").write_text("here")
        id_ = submit("--link", "data", "--wait", command=("cat", "data"))

        assert experimenter("logs", id_).stdout == "here"

    @pytest.mark.parametrize("keep", [True, False])
    def test_a_command_that_fails_leaves_its_log_and_its_status(self, keep: bool) -> None:
        words = ("submit", *(["--keep"] if keep else []), "--wait", "--", "sh", "-c", "echo why; exit 7")
        done = experimenter(*words)

        assert done.returncode == 7
        assert experimenter("logs", done.stdout.strip()).stdout == "why\n"
        assert [record()["status"], record()["exit_code"]] == ["failed", 7] if keep else tags() == []
        assert gone()

    def test_a_command_that_the_node_cannot_see_is_said_in_the_log(self) -> None:
        id_ = submit(command=("nowhere",))

        assert experimenter("wait", id_).returncode == 127
        assert experimenter("logs", id_).stdout.startswith("experimenter: there is no command 'nowhere'")
        assert (tags(), gone()) == ([], True)

    def test_a_python_that_the_node_cannot_see_is_said_in_the_log(self, repo: Path, tmp_path: Path) -> None:
        sh(f"python3 -m venv --without-pip {tmp_path}/env")
        python = f"{tmp_path}/env/bin/python"
        site = next(path for path in sys.path if path.endswith("site-packages"))
        code = "import sys; from experimenter.cli import main; main()"
        env = {**os.environ, "PYTHONPATH": f"{site}:{Path(__file__).parent.parent}"}
        with busy():
            done = subprocess.run([python, "-c", code, "submit", "--", "true"], env=env, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            shutil.rmtree(tmp_path / "env")
        experimenter("wait", done.stdout.strip())

        assert f"{python}: No such file or directory" in experimenter("logs", done.stdout.strip()).stdout
        assert (tags(), gone()) == ([], True)

    def test_the_tree_is_checked_before_the_command_starts(self, repo: Path, tmp_path: Path) -> None:
        with busy():
            id_ = submit(command=("touch", f"{tmp_path}/ran"))
            (tag,) = tags()
            forged = 's/"tree": "..../"tree": "0000/'
            sh(f"git cat-file tag {tag} | sed '{forged}' | git mktag | xargs git update-ref refs/tags/{tag}")
        experimenter("wait", id_)

        assert not (tmp_path / "ran").exists()
        assert re.search(
            r"has the tree [0-9a-f]+, not that of its record; nothing is run", experimenter("logs", id_).stdout
        )

    @pytest.mark.parametrize(
        ("words", "status", "message"),
        [
            (("--slurm", "timout_min=5"), 2, "--slurm: there is no key 'timout_min'; did you mean timeout_min?"),
            (("--slurm", "partition"), 2, "--slurm: 'partition' is not KEY=VALUE"),
            (("--slurm", "partition=nowhere"), 1, "Slurm did not take the job: sbatch: error: "),
            (("--slurm", "mem_gb=much"), 1, "Slurm did not take the job: "),
            (("--from-remote", "-p", "api_key=hush"), 1, "a secret parameter is not in the tag"),
            (("--from-remote",), 1, "there is no remote origin"),
            (("-d", "--wait"), 2, "-d returns at once, --wait does not"),
            (("--push", "https://me:pw@h/x"), 1, "a password in a URL would wait in a file"),
            (("--from-remote", "https://me:pw@h/x"), 1, "a password in a URL would wait in a file"),
            (("--from-remote", "--results", "x.json"), 1, "--link and --results are for a node that shares"),
        ],
    )
    def test_what_cannot_be_submitted_leaves_nothing_behind(
        self, repo: Path, words: tuple[str, ...], status: int, message: str
    ) -> None:
        done = experimenter("submit", *words, "--", "true")

        assert (done.returncode, tags()) == (status, [])
        assert (message in done.stderr, "pw@" in done.stderr) == (True, False)
        assert not Path(".git/experimenter/jobs").exists()

    def test_a_path_that_slurm_would_change_is_refused(self, repo: Path, tmp_path: Path) -> None:
        sh(f"git clone -q . {tmp_path}/a%jb")
        done = experimenter("submit", "--", "true", cwd=tmp_path / "a%jb")

        assert done.returncode == 1
        assert f"Slurm would replace the % in {tmp_path}/a%jb/.git/" in done.stderr
        assert sh("git tag", cwd=tmp_path / "a%jb") == ""

    def test_without_slurm_or_submitit_it_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        code = "import sys; sys.modules['submitit'] = None; from experimenter.cli import main; main()"
        done = subprocess.run([sys.executable, "-c", code, "submit", "--", "true"], capture_output=True, text=True)
        assert done.stderr == "Error: Slurm needs submitit: pip install submitit\n"
        git = Path("bin")
        git.mkdir()
        for program in ("git", "env", "sh"):
            (git / program).symlink_to(str(shutil.which(program)))
        with monkeypatch.context() as changed:
            changed.setenv("PATH", str(git.absolute()))
            done = experimenter("submit", "--", "true")
        assert (done.returncode, done.stderr.partition(";")[0]) == (
            1,
            "Error: there is no Slurm here: sbatch is not on the PATH",
        )


class TestEnding:
    @pytest.mark.parametrize("keep", [True, False])
    def test_stop_cancels_a_job_that_runs(self, tmp_path: Path, keep: bool) -> None:
        id_ = started(tmp_path)
        job = job_id(id_)
        done = experimenter("stop", id_, *(["--keep"] if keep else []))

        assert done.returncode == 0
        assert done.stdout.startswith("stopped exp_sh_") and "its job was cancelled" in done.stdout
        assert [record()["status"]] == ["stopped"] if keep else tags() == []
        assert slurm.states()[job] not in ("RUNNING", "PENDING")  # type: ignore[index]
        assert gone()

    @pytest.mark.parametrize("keep", [True, False])
    def test_stop_cancels_a_job_that_waits(self, repo: Path, keep: bool) -> None:
        with busy():
            id_ = submit()
            done = experimenter("stop", id_, "--json", *(["--keep"] if keep else []))
            assert (done.returncode, done.stderr) == (0, "")
            (stopped,) = json.loads(done.stdout)
            assert (stopped["id"], stopped["is_kept"], stopped["killed_after_s"]) == (id_, keep, None)
            assert [record()["status"]] == ["stopped"] if keep else tags() == []
            assert not Path(".git/experimenter/jobs").exists()

    def test_what_ignores_sigterm_is_killed_after_the_grace(self, tmp_path: Path) -> None:
        id_ = submit(
            command=("sh", "-c", f"trap '' TERM; echo x >> {tmp_path}/started; while true; do sleep 0.1; done")
        )
        until((tmp_path / "started").exists, what="the start")
        until(lambda: running(id_).get("pid"), what="the record of it")
        pid = running(id_)["pid"]

        assert experimenter("stop", id_, "--grace", "1").returncode == 0
        assert (tags(), gone()) == ([], True)
        until(lambda: not psutil.pid_exists(pid), what="the end of it")

    def test_keep_and_grace_of_the_submission_count_for_a_stop(self, tmp_path: Path) -> None:
        script = f"trap '' TERM; echo x >> {tmp_path}/started; while true; do sleep 0.1; done"
        id_ = submit("--keep", "--grace", "1", command=("sh", "-c", script))
        until((tmp_path / "started").exists, what="the start")
        until(lambda: running(id_).get("pid"), what="the record of it")

        assert experimenter("stop", id_).returncode == 0
        assert (record()["status"], gone()) == ("stopped", True)

    def test_a_command_that_outlives_its_job_is_not_lost(self, tmp_path: Path) -> None:
        script = f"echo x >> {tmp_path}/started; until test -e {tmp_path}/go; do sleep 0.1; done; echo '{{\"a\": 1}}' > $EXPERIMENTER_RESULTS_FILE"
        id_ = submit("--slurm", "partition=here", command=("sh", "-c", script))
        until((tmp_path / "started").exists, what="the start")
        until(lambda: running(id_).get("pid"), what="the record of it")
        job = job_id(id_)
        os.kill(running(id_)["wrapper_pid"], signal.SIGKILL)
        until(lambda: not slurm.is_alive((slurm.states() or {}).get(job)), what="the end of the job")
        assert running(id_)["state"] == "orphaned"
        (tmp_path / "go").touch()
        until(lambda: not running(id_), what="the end")

        assert (record()["status"], record()["results"]) == ("interrupted", {"a": 1})

    def test_a_job_that_is_cancelled_from_outside_is_settled(self, tmp_path: Path) -> None:
        id_ = started(tmp_path, script='echo "{\\"a\\": 1}" > $EXPERIMENTER_RESULTS_FILE;')
        sh(f"scancel {job_id(id_)}")
        until(lambda: not running(id_), what="the end")

        assert (tags(), gone()) == ([], True)
        assert experimenter("wait", id_).returncode in (1, 143)

    def test_a_job_that_is_cancelled_while_it_waits_is_settled(self, repo: Path, tmp_path: Path) -> None:
        with busy():
            id_ = submit()
            sh(f"scancel {job_id(id_)}")
            done = experimenter("list")

        assert re.search(
            r"^Note: the job \d+ of exp_true_\S+ was cancelled or lost; the tag was removed$", done.stderr, re.MULTILINE
        )
        assert (tags(), gone()) == ([], True)

    def test_results_of_a_job_that_was_killed_are_rescued(self, tmp_path: Path) -> None:
        id_ = started(tmp_path, script='echo "{\\"a\\": 1}" > $EXPERIMENTER_RESULTS_FILE;')
        seen = running(id_)
        for pid in (seen["wrapper_pid"], seen["pid"]):
            os.kill(pid, signal.SIGKILL)
        until(lambda: not running(id_), what="the end")

        assert (record()["status"], record()["results"], gone()) == ("interrupted", {"a": 1}, True)

    def test_a_time_limit_ends_it(self, tmp_path: Path) -> None:
        id_ = started(tmp_path, "--slurm", "timeout_min=1")
        assert sh(f"squeue -h -j {job_id(id_)} -o %l") == "1:00\n"
        sh(f"scontrol update job {job_id(id_)} EndTime=now")
        until(lambda: not running(id_), what="the end")

        assert (tags(), gone()) == ([], True)
        assert "DUE TO TIME LIMIT" in experimenter("logs", id_).stdout

    def test_of_several_tasks_one_runs_the_command(self, repo: Path, tmp_path: Path) -> None:
        words = ("--slurm", "tasks_per_node=2", "--wait", "--", "sh", "-c", f"echo x >> {tmp_path}/started; sleep 1")
        done = experimenter("submit", *words)

        assert (done.returncode, starts(tmp_path), record()["status"]) == (0, 1, "completed")

    def test_a_requeued_job_runs_the_same_code_again(self, repo: Path, tmp_path: Path) -> None:
        Path("code.txt").write_text("submitted")
        script = (
            f"cat code.txt >> {tmp_path}/seen; echo x >> {tmp_path}/started; test -e {tmp_path}/go || exec sleep 1000"
        )
        id_ = submit("--requeue", command=("sh", "-c", script))
        until(lambda: running(id_).get("pid"), what="the start")
        until((tmp_path / "started").exists, what="the start")
        Path("code.txt").write_text("edited")
        job = job_id(id_)
        (tmp_path / "go").touch()
        sh(f"scontrol requeue {job}")
        until(lambda: slurm.states()[job] == "PENDING", what="the queue")  # type: ignore[index]
        assert experimenter("list").stderr == ""
        start_again(job)

        assert experimenter("wait", id_).returncode == 0
        assert (record()["status"], starts(tmp_path), (tmp_path / "seen").read_text()) == (
            "completed",
            2,
            "submitted" * 2,
        )
        assert gone()

    def test_a_job_whose_processes_were_all_killed_by_a_requeue_waits_too(self, repo: Path, tmp_path: Path) -> None:
        script = f"trap '' TERM; echo x >> {tmp_path}/started; until test -e {tmp_path}/go; do sleep 0.1; done"
        id_ = submit("--requeue", command=("sh", "-c", script))
        until((tmp_path / "started").exists, what="the start")
        until(lambda: running(id_).get("pid"), what="the record of it")
        job, pid = job_id(id_), running(id_)["pid"]
        sh(f"scontrol requeue {job}")
        until(lambda: not psutil.pid_exists(pid), what="the kill")
        until(lambda: slurm.states()[job] == "PENDING", what="the queue")  # type: ignore[index]
        assert experimenter("list").stderr == ""
        assert running(id_)["job_state"] == "PENDING"
        (tmp_path / "go").touch()
        start_again(job)

        assert experimenter("wait", id_).returncode == 0
        assert (record()["status"], starts(tmp_path), gone()) == ("completed", 2, True)

    def test_a_preempted_job_waits_and_runs_again(self, repo: Path, tmp_path: Path) -> None:
        script = f"echo x >> {tmp_path}/started; test -e {tmp_path}/go || exec sleep 1000"
        id_ = submit("--requeue", "--slurm", "exclusive=true", command=("sh", "-c", script))
        until((tmp_path / "started").exists, what="the start")
        until(lambda: running(id_).get("pid"), what="the record of it")
        job = job_id(id_)
        (tmp_path / "go").touch()
        sh("sbatch --partition=urgent --exclusive --output=/dev/null --wrap true")
        until(lambda: slurm.states()[job] == "PENDING", what="the queue")  # type: ignore[index]
        start_again(job)

        assert experimenter("wait", id_).returncode == 0
        assert (record()["status"], starts(tmp_path)) == ("completed", 2)

    @pytest.mark.parametrize("cells", [(), ("--engine", "slurm", "-p", "x=1,2")])
    def test_a_preempted_job_that_ends_in_its_grace_runs_again_too(
        self, repo: Path, tmp_path: Path, cells: tuple[str, ...]
    ) -> None:
        skip = "test $EXPERIMENTER_PARAM_X = 1 && exit;" if cells else ""
        script = f"{skip} echo x >> {tmp_path}/started; test -e {tmp_path}/go || exec sleep 1000"
        words = ("--requeue", "--slurm", "exclusive=true", "--slurm", "partition=patient", "--", "sh", "-c", script)
        submitted = experimenter("sweep" if cells else "submit", *cells, *words).stdout.strip()
        until((tmp_path / "started").exists, what="the start")
        tag = tags()[-1]
        until(lambda: running(id_of(tag)).get("pid"), what="the record of it")
        job = job_id(id_of(tag))
        (tmp_path / "go").touch()
        sh("sbatch --partition=urgent --exclusive --output=/dev/null --wrap true")
        until(lambda: record(tag)["status"] == "queued", what="the queue")
        until(lambda: slurm.states()[job] == "PENDING", what="the queue")  # type: ignore[index]
        start_again(job)

        assert experimenter("wait", submitted).returncode == 0
        assert [record(tag)["status"] for tag in tags()] == ["completed"] * (2 if cells else 1)
        assert (starts(tmp_path), gone()) == (2, True)

    def test_logs_follow_a_job(self, repo: Path, tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
        id_ = submit(command=("sh", "-c", f"echo first; until test -e {tmp_path}/go; do sleep 0.05; done; echo last"))
        screen = terminal(EXPERIMENTER, "logs", "-f", id_)
        screen.expect("first")
        (tmp_path / "go").touch()
        screen.expect("last")
        assert screen.end() == 0


class TestSweep:
    def test_a_sweep_is_one_array_of_which_so_many_run(self, repo: Path, tmp_path: Path) -> None:
        script = f'date +%s.%N >> {tmp_path}/started; until test -e {tmp_path}/go; do sleep 0.05; done; echo EXPERIMENTER_RESULTS {{\\"s\\": \\"$EXPERIMENTER_SWEEP\\"}}; test $EXPERIMENTER_PARAM_X != 2'
        words = ("sweep", "--engine", "slurm", "-j", "1", "-p", "x=range(3)", "--slurm", "cpus_per_task=1")
        done = experimenter(*words, "--", "sh", "-c", script)
        sweep = done.stdout.strip()
        assert done.stderr == f"Note: sweep {sweep}: 3 cells, 3 submitted\n"
        until((tmp_path / "started").exists, what="the first cell")
        shown = json.loads(experimenter("ps", "--json").stdout)
        assert {one["job_id"].partition("_")[0] for one in shown} == {shown[0]["job_id"].partition("_")[0]}
        assert set(sh("squeue -h -o %j").split()) == {sweep}
        assert experimenter(*words, "--", "sh", "-c", script).stderr.endswith("3 cells, 0 submitted\n")
        (tmp_path / "go").touch()

        assert experimenter("wait", sweep).returncode == 1
        found = json.loads(experimenter("list", "--json").stdout)
        assert [one["parameters"]["x"] for one in found] == [0, 1]
        assert {(one["sweep"], one["results"]["s"]) for one in found} == {(sweep, sweep)}
        good = experimenter("sweep", "--engine", "slurm", "-p", "y=1,2", "--", "true").stdout.strip()
        assert experimenter("wait", good).returncode == 0
        again = experimenter(*words, "--wait", "--", "sh", "-c", script)
        first, last = again.stderr.splitlines()
        assert (again.returncode, first) == (1, f"Note: sweep {sweep}: 3 cells, 2 done already, 1 submitted")
        assert last == f"Note: sweep {sweep}: 2 of 3 cells done, 1 failed; the same line goes on with it"
        assert [line.split()[1:] for line in again.stdout.splitlines()[1:]] == [["x", "s"], ["0", sweep], ["1", sweep]]

    @pytest.mark.parametrize(
        ("option", "reason"),
        [
            ("--fail-fast", "no --optimize, --fail-fast"),
            ("-d --wait", "-d returns at once"),
            *((option, "for what --wait prints") for option in ("--sort=x", "--reverse", "--json")),
        ],
    )
    def test_what_it_cannot_do_is_refused(self, repo: Path, option: str, reason: str) -> None:
        done = experimenter("sweep", "--engine", "slurm", *option.split(), "-p", "x=1,2", "--", "true")

        assert (done.returncode, reason in done.stderr, tags()) == (2, True, [])

    def test_what_it_has_waited_for_is_sorted_and_printed_as_json(self, repo: Path) -> None:
        script = 'echo "{\\"y\\": -$EXPERIMENTER_PARAM_X}" > $EXPERIMENTER_RESULTS_FILE'
        words = ("sweep", "--engine", "slurm", "--wait", "--sort", "y", "-p", "x=1,2")
        table = experimenter(*words, "--", "sh", "-c", script)
        listed = experimenter(*words, "--json", "--reverse", "--", "sh", "-c", script)

        assert (table.returncode, listed.returncode) == (0, 0), table.stderr + listed.stderr
        assert [line.split()[1:] for line in table.stdout.splitlines()[2:]] == [["2", "-2"], ["1", "-1"]]
        assert [one["results"]["y"] for one in json.loads(listed.stdout)] == [-1, -2]

    def test_each_cell_has_its_own_log(self, repo: Path) -> None:
        words = ("sweep", "--engine", "slurm", "--wait", "-p", "x=1,2", "--", "sh", "-c", "echo x$EXPERIMENTER_PARAM_X")
        assert experimenter(*words).returncode == 0

        logs = [experimenter("logs", id_of(tag)).stdout for tag in tags()]
        assert logs == [f"x{record(tag)['parameters']['x']}\n" for tag in tags()]

    def test_no_more_of_them_run_at_a_time_than_asked(self, repo: Path, tmp_path: Path) -> None:
        script = f"mkdir {tmp_path}/one || touch {tmp_path}/both; sleep 0.5; rmdir {tmp_path}/one"
        words = ("-j", "1", "--slurm", "partition=both", "--wait", "-p", "x=range(3)", "--", "sh", "-c", script)
        done = experimenter("sweep", "--engine", "slurm", *words)

        assert (done.returncode, (tmp_path / "both").exists()) == (0, False), done.stderr

    @pytest.mark.skipif(not HAS_NAMESPACES, reason="unshare --uts is not allowed")
    def test_cells_run_on_several_nodes_at_once(self, repo: Path, tmp_path: Path) -> None:
        both = (
            f"touch {tmp_path}/$EXPERIMENTER_PARAM_X; until test -e {tmp_path}/1 -a -e {tmp_path}/2; do sleep 0.1; done"
        )
        words = ("--slurm", "partition=both", "--slurm", "exclusive=true", "--wait", "-p", "x=1,2")
        done = experimenter("sweep", "--engine", "slurm", *words, "--", "sh", "-c", f"{both}; {RESULT}")

        assert done.returncode == 0, done.stderr
        records = [record(tag) for tag in tags()]
        assert {one["host"] for one in records} == {NODE, os.uname().nodename}
        assert len({one["code"]["commit"] for one in records}) == 1
        assert (experimenter("list").stderr, gone()) == ("", True)

    def test_two_equal_submissions_at_once_share_the_cells(self, repo: Path) -> None:
        words = ("sweep", "--engine", "slurm", "--wait", "-p", "x=range(4)", "--", "true")
        both = [subprocess.Popen([EXPERIMENTER, *words], stderr=subprocess.PIPE, text=True) for _ in range(2)]
        said = [process.communicate()[1] for process in both]

        assert [process.returncode for process in both] == [0, 0], said
        submitted = [int(re.search(r"(\d+) submitted", text)[1]) for text in said]  # type: ignore[index]
        assert (sorted(submitted), len(tags())) == ([0, 4], 4)

    def test_a_sweep_here_leaves_to_the_cluster_what_was_submitted(self, repo: Path, tmp_path: Path) -> None:
        line = ("-p", "x=1,2", "--", "sh", "-c", f"echo $EXPERIMENTER_PARAM_X >> {tmp_path}/ran")
        with busy():
            experimenter("sweep", "--engine", "slurm", *line)
            here = sweep_here(*line)
        _, said = here.communicate(timeout=120)

        assert here.returncode == 0, said
        assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2"]
        assert (len(tags()), gone()) == (2, True)

    @pytest.mark.parametrize(
        ("pipe", "shown"), [("", "0/2 done, 0 running, 2 elsewhere"), ("| cat", "Note: waits for 2 cells elsewhere")]
    )
    def test_a_sweep_here_shows_that_it_waits(
        self, repo: Path, terminal: Callable[..., Terminal], pipe: str, shown: str
    ) -> None:
        line = ("-p", "x=1,2", "--", "true")
        with busy():
            experimenter("sweep", "--engine", "slurm", *line)
            screen = terminal("bash", "-o", "pipefail", "-c", f"{EXPERIMENTER} sweep {' '.join(line)} 2>&1 {pipe}")
            screen.expect(shown)

        assert screen.end() == 0

    def test_a_sweep_here_runs_what_the_cluster_has_lost(self, repo: Path, tmp_path: Path) -> None:
        line = ("-p", "x=1,2", "--", "sh", "-c", f"echo $EXPERIMENTER_PARAM_X >> {tmp_path}/ran")
        with busy():
            sweep = experimenter("sweep", "--engine", "slurm", *line).stdout.strip()
            here = sweep_here(*line)
            sh(f"scancel --name={sweep}")
            _, said = here.communicate(timeout=120)

        assert here.returncode == 0, said
        assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2"]
        assert (len(tags()), gone()) == (2, True)

    def test_a_cell_that_is_stopped_singly_counts_as_failed_here(self, repo: Path) -> None:
        line = ("-p", "x=1,2", "--", "true")
        with busy():
            experimenter("sweep", "--engine", "slurm", *line)
            here = sweep_here(*line)
            assert experimenter("stop", json.loads(experimenter("ps", "--json").stdout)[0]["id"]).returncode == 0
        _, said = here.communicate(timeout=120)

        assert (here.returncode, len(tags())) == (1, 1), said

    def test_one_cell_is_stopped_alone(self, repo: Path, tmp_path: Path) -> None:
        script = f"echo x >> {tmp_path}/started; until test -e {tmp_path}/go; do sleep 0.05; done"
        words = ("sweep", "--engine", "slurm", "-j", "2", "--slurm", "cpus_per_task=1", "-p", "x=1,2")
        sweep = experimenter(*words, "--", "sh", "-c", script).stdout.strip()
        until(lambda: (tmp_path / "started").exists() and starts(tmp_path) == 2, what="both cells")
        first, second = tags()
        assert experimenter("stop", id_of(first)).returncode == 0
        assert running(id_of(second))["state"] == "running"
        (tmp_path / "go").touch()

        assert experimenter("wait", sweep).returncode == 1
        assert (tags(), record(second)["status"], gone()) == ([second], "completed", True)

    def test_what_is_just_being_submitted_is_not_stopped(self, repo: Path, tmp_path: Path) -> None:
        hold = f"touch {tmp_path}/held; until test -e {tmp_path}/go; do sleep 0.05; done"
        env = fake_git(tmp_path / "bin", f'case "$*" in *mktag*) {hold};; esac\nexec $GIT "$@"')
        words = [EXPERIMENTER, "sweep", "--engine", "slurm", "--wait", "-p", "x=1,2", "--", "true"]
        submitting = subprocess.Popen(words, env={**os.environ, **env})
        until((tmp_path / "held").exists, what="the first tag")
        done = experimenter("stop", "--all")
        (tmp_path / "go").touch()

        assert (done.returncode, done.stderr.count("is just being submitted; try again")) == (1, 2)
        assert (submitting.wait(120), len(tags())) == (0, 2)

    def test_cells_that_run_here_are_not_submitted(self, repo: Path, tmp_path: Path) -> None:
        script = f"echo x >> {tmp_path}/started; until test -e {tmp_path}/go; do sleep 0.05; done"
        line = ("-p", "x=1,2", "--", "sh", "-c", script)
        here = subprocess.Popen([EXPERIMENTER, "sweep", "-j", "1", *line])
        until((tmp_path / "started").exists, what="the first cell")
        done = experimenter("sweep", "--engine", "slurm", *line)
        assert done.stderr.endswith(": 2 cells, 1 submitted\n")
        (tmp_path / "go").touch()

        assert (here.wait(120), experimenter("wait", done.stdout.strip()).returncode) == (0, 0)
        assert (starts(tmp_path), len(tags())) == (2, 2)

    def test_a_sweep_is_stopped_as_one_thing(self, repo: Path, tmp_path: Path) -> None:
        script = f"echo x >> {tmp_path}/started; exec sleep 1000"
        sweep = experimenter(
            "sweep", "--engine", "slurm", "-j", "1", "-p", "x=range(3)", "--", "sh", "-c", script
        ).stdout.strip()
        until((tmp_path / "started").exists, what="the first cell")
        done = experimenter("stop", sweep[:6])

        assert (done.returncode, done.stdout.count("its job was cancelled; its tag was removed")) == (0, 3)
        assert (tags(), gone()) == ([], True)


class TestFromRemote:
    @pytest.fixture
    def team(self, repo: Path, tmp_path: Path) -> Path:
        sh(
            f"git init -q --bare {tmp_path}/team.git; git remote add origin {tmp_path}/team.git; git push -q origin main"
        )
        return tmp_path / "team.git"

    def test_the_node_needs_nothing_but_the_remote(self, team: Path, tmp_path: Path) -> None:
        Path("code.txt").write_text("submitted")
        described = f"(git rev-parse HEAD; git status --porcelain) > {tmp_path}/described"
        id_ = submit(
            "--from-remote",
            "-p",
            "n=3",
            command=("sh", "-c", f"cat code.txt > {tmp_path}/seen; pwd >> {tmp_path}/seen; {RESULT}; {described}"),
        )
        Path("code.txt").write_text("edited")

        assert experimenter("wait", id_).returncode == 0
        seen = (tmp_path / "seen").read_text()
        assert seen.startswith("submitted")
        assert str(Path.cwd()) not in seen
        assert (tmp_path / "described").read_text() == sh("git rev-parse HEAD") + "?? code.txt\n"
        assert not Path(seen.removeprefix("submitted").strip()).exists()
        assert (record()["status"], record()["results"], record()["parameters"]) == ("completed", {"x": 1}, {"n": 3})
        assert sh(f"git -C {team} rev-parse refs/tags/{tags()[0]}") == sh(f"git rev-parse refs/tags/{tags()[0]}")
        assert gone()

    def test_the_repository_may_be_out_of_reach(self, team: Path, repo: Path, tmp_path: Path) -> None:
        with busy():
            id_ = submit("--from-remote", command=("sh", "-c", RESULT))
            os.chdir(tmp_path)
            repo.rename(tmp_path / "away")
        there = f"git -C {team} for-each-ref --format='%(contents)' refs/tags"
        until(lambda: '"completed"' in sh(there), what="the result")
        (tmp_path / "away").rename(repo)
        os.chdir(repo)

        assert experimenter("wait", id_).returncode == 0
        assert (record()["status"], record()["results"], gone()) == ("completed", {"x": 1}, True)

    def test_one_that_fails_is_gone_on_both_sides(self, team: Path) -> None:
        id_ = submit("--from-remote", command=("false",))
        until(lambda: not running(id_), what="the end")

        assert (tags(), sh(f"git -C {team} tag"), gone()) == ([], "", True)

    def test_a_job_that_shares_the_repository_can_push_its_result(self, team: Path) -> None:
        id_ = submit("--push", command=("sh", "-c", RESULT))
        assert experimenter("wait", id_).returncode == 0

        assert sh(f"git -C {team} rev-parse refs/tags/{tags()[0]}") == sh(f"git rev-parse refs/tags/{tags()[0]}")

    @pytest.mark.parametrize("status", [0, 1])
    def test_what_is_pushed_while_it_waits_is_followed(self, team: Path, status: int) -> None:
        with busy():
            id_ = submit(command=("sh", "-c", f"{RESULT}; exit {status}"))
            experimenter("push", id_)
            assert sh(f"git -C {team} tag").split() == tags()
        experimenter("wait", id_)

        def objects(of: str = ".") -> str:
            return sh(f"git -C {of} for-each-ref --format='%(objectname)' refs/tags")

        until(lambda: objects(str(team)) == objects() and (not objects()) == bool(status), what="the end there")

    def test_what_is_pushed_while_it_waits_and_stopped_is_removed_there(self, team: Path) -> None:
        with busy():
            id_ = submit()
            experimenter("push", id_)
            experimenter("stop", id_)
            assert (tags(), sh(f"git -C {team} tag")) == ([], "")
            assert "it ended before its command started" in experimenter("logs", id_).stderr

    def test_the_status_of_a_command_that_failed_is_known(self, team: Path) -> None:
        done = experimenter("submit", "--from-remote", "--wait", "--", "sh", "-c", "exit 7")

        assert (done.returncode, tags(), sh(f"git -C {team} tag")) == (7, [], "")

    def test_stop_ends_it_with_its_grace(self, team: Path, tmp_path: Path) -> None:
        script = f"trap 'touch {tmp_path}/asked; exit 1' TERM; touch {tmp_path}/started; while :; do sleep 0.1; done"
        id_ = submit("--from-remote", command=("sh", "-c", script))
        until((tmp_path / "started").exists, what="the start")
        refused = experimenter("stop", "--keep", id_)
        assert (refused.returncode, "can't be told to keep its tag" in refused.stderr) == (1, True)
        done = experimenter("stop", id_)

        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "asked").exists()
        assert (tags(), sh(f"git -C {team} tag"), gone()) == ([], "", True)

    def test_a_result_that_the_remote_does_not_take_stays_on_the_node(
        self, team: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (node := tmp_path / "node").mkdir()
        monkeypatch.setenv("TMPDIR", str(node))
        zeros = "0000000000000000000000000000000000000000"
        hook(team, "update", f"test $2 = {zeros} || exit 1")
        done = experimenter("submit", "--from-remote", "--wait", "--", "sh", "-c", RESULT)
        (tag,) = tags()
        (out,) = node.glob("*.out")

        assert done.returncode == 1
        where = f"{out} on {NODE}"
        assert f"the result of {tag} was not taken by origin; {where} says how to send it\n" in done.stderr
        assert where in experimenter("logs", done.stdout.strip()).stdout
        assert (record()["status"], gone(), list(node.glob("*.sh"))) == ("queued", True, [])
        (team / "hooks/update").unlink()
        send = re.search(r"it stays on \S+: (git -C .*)", out.read_text())
        assert send
        sh(send[1])
        experimenter("pull")
        assert (record()["status"], record()["results"]) == ("completed", {"x": 1})

    def test_a_sweep_takes_its_cells_from_there(self, team: Path) -> None:
        done = experimenter(
            "sweep", "--engine", "slurm", "--from-remote", "--wait", "-p", "x=1,2", "--", "sh", "-c", RESULT
        )

        assert done.returncode == 0, done.stderr
        assert len(tags()) == 2
        assert sorted(sh(f"git -C {team} tag").split()) == sorted(tags())

    def test_a_sweep_here_knows_what_became_of_them(self, team: Path, tmp_path: Path) -> None:
        script = f"echo $EXPERIMENTER_PARAM_X >> {tmp_path}/ran; test $EXPERIMENTER_PARAM_X = 1"
        line = ("-p", "x=1,2", "--", "sh", "-c", script)
        with busy():
            experimenter("sweep", "--engine", "slurm", "--from-remote", *line)
            here = sweep_here(*line)
        _, said = here.communicate(timeout=120)

        assert (here.returncode, len(tags())) == (1, 1), said
        assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2"]

    def test_a_password_of_the_remote_is_nowhere(self, team: Path, tmp_path: Path) -> None:
        sh("git remote set-url origin https://me:s3cret@localhost:1/x.git")
        done = experimenter("submit", "--from-remote", "--", "true")

        assert (done.returncode, tags()) == (1, [])
        assert "s3cret" not in done.stderr + done.stdout
        assert not sh("grep -rl s3cret .git --exclude=config || true")


def test_the_commands_of_the_readme_work_when_pasted(repo: Path) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    program = re.search(r"^cat >train.py.*?^EOF$", readme, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```shell\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert program and len(blocks) == 1
    done = subprocess.run(["bash", "-e"], input=f"{program[0]}\n{blocks[0]}", capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert [one["status"] for one in json.loads(experimenter("list", "--json").stdout)] == [
        "completed"
    ] * 2  # of three cells one was done


@pytest.mark.parametrize("was_submitted", [True, False])
def test_a_submission_that_was_killed_is_found_again_or_settled(repo: Path, was_submitted: bool) -> None:
    with busy():
        id_ = submit()
        (folder,) = Path(".git/experimenter/jobs").iterdir()
        (folder / "job.json").unlink()
        spec = json.loads((folder / "spec.json").read_text())
        here = psutil.Process()
        dead = spec["submitter"]
        spec["submitter"] = {**dead, "pid": here.pid, "start_time": Identity.of(here.pid).start_time}
        (folder / "spec.json").write_text(json.dumps(spec))
        if not was_submitted:
            sh(f"scancel --name={tags()[0]}")
        assert (experimenter("list").stderr, bool(running(id_))) == ("", True)  # it is just being submitted
        (folder / "spec.json").write_text(json.dumps({**spec, "submitter": dead}))
        experimenter("list")
        assert bool(running(id_)) == was_submitted


def test_what_was_queued_by_a_submission_that_was_killed_goes(repo: Path, tmp_path: Path) -> None:
    count = f"echo x >> {tmp_path}/stored; test $(wc -l < {tmp_path}/stored) = 3"
    env = fake_git(tmp_path / "bin", f'case "$*" in *mktag*) {count} && kill -9 $PPID;; esac\nexec $GIT "$@"')
    done = experimenter("sweep", "--engine", "slurm", "-p", "x=range(5)", "--", "true", env=env)
    assert (done.returncode, len(tags())) == (-9, 2)
    experimenter("list")

    assert (tags(), gone(), sh("squeue -h")) == ([], True, "")


@pytest.mark.parametrize("only_slurms", [True, False])
def test_what_a_job_put_out_is_noted_once(repo: Path, tmp_path: Path, only_slurms: bool) -> None:
    said = "slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 2026-11-26T05:10:00 DUE TO TIME LIMIT ***"
    tag, file = "exp_x_20261126T051000.000000Z", tmp_path / "7_0_log.out"
    log = repo / f".git/experimenter/logs/{id_of(tag)}.log"
    log.parent.mkdir(parents=True)
    log.write_text("loss 0.5\n")
    add = partial(add_output_of_job, find_repo(repo), tag, tmp_path, "7", only_slurms=only_slurms)
    file.write_text("experimenter: gone\n")
    assert add() is not only_slurms
    file.write_text(f"experimenter: gone\n{said}\n")

    assert (add(), add()) == (True, True)
    assert log.read_text() == "loss 0.5\n" + ("" if only_slurms else "experimenter: gone\n") + f"{said}\n"
