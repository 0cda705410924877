"""Every command block of the README, pasted as a new user would, and the demo."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", (TOP / "README.md").read_text(), re.MULTILINE | re.DOTALL)
IGNORED = shutil.ignore_patterns(".git", ".venv", "dist", ".*_cache", ".hypothesis", "__pycache__")


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """What an archive of the project unpacks to: no repository."""
    shutil.copytree(TOP, tmp_path / "unpacked", ignore=IGNORED)
    return tmp_path / "unpacked"


def test_every_command_block_works_when_pasted_one_after_the_other(unpacked: Path) -> None:
    assert len(BLOCKS) >= 8
    done = subprocess.run(["bash", "-e"], input="\n".join(BLOCKS), cwd=unpacked, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Error" not in done.stderr
    output = done.stdout
    assert re.search(r"^\w{8}  baseline  .*  completed +0.1 +0.0001329 +", output, re.MULTILINE)
    assert "# an edit that is not worth a commit\n" in output
    assert "depth 4\n" in output
    assert "\nlr=0.1 hidden=4 seed=0\n" in output
    assert "\nstopped exp_long_" in output
    assert "\nit ended with 3\ndone\n" in output
    assert "# an edit that is not worth a commit\n1,2,3\n" in output
    for accuracy in ("0.91", "0.92", "0.93", "0.94"):
        assert f"{{'accuracy': {accuracy}}}" in output
    assert subprocess.run(["git", "tag"], cwd=unpacked / "first-run", capture_output=True).stdout == b""


def test_the_demo_works_from_an_unpacked_archive(unpacked: Path) -> None:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    script = str(unpacked / "tests" / "demo.sh")
    done = subprocess.run(["sh", script, str(unpacked / "configs")], env=env, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("completed") >= 6
    assert "lr must be above 0" in done.stderr
    assert "exp_broken" not in done.stdout


def test_the_table_of_measurements_is_there() -> None:
    assert re.search(r"^\| .*60,000", (TOP / "README.md").read_text(), re.MULTILINE)
