import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import experimenter, sh, tags
from experimenter import ExperimentData
from experimenter.errors import (
    BadCondition,
    ExperimentAmbiguous,
    ExperimenterError,
    ExperimentUnknown,
    ExtraMissing,
    StatusUnknown,
)
from experimenter.find import find, named
from experimenter.names import id_of
from experimenter.plumbing import find_repo
from experimenter.running import wait


@pytest.fixture
def two(repo: Path) -> Path:
    experimenter("run", "-n", "first", "-p", "m.lr=0.1", "--", "echo", 'EXPERIMENTER_RESULTS {"acc": 0.5}')
    sh("echo two > train.py")
    experimenter("run", "-n", "second", "-p", "m.lr=0.2", "--", "true")
    return repo


def test_experiment_data_gives_records_by_tag(two: Path) -> None:
    data = ExperimentData(two)
    first, second = data.experiment_data()

    assert [first, second] == tags()
    assert data.experiment_data()[first]["results"] == {"acc": 0.5}
    assert list(data.experiment_data(must_contain_results=True)) == [first]
    assert list(data.experiment_data(commit="HEAD")) == [first]
    assert list(data.experiment_data(second, must_contain_results=True)) == []
    with pytest.raises(ExperimenterError, match="'nothing' is no revision"):
        data.experiment_data("nothing")


def test_experiment_data_is_that_of_a_directory(two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (two / "sub").mkdir()
    monkeypatch.chdir(tmp_path)

    assert [len(list(ExperimentData(place))) for place in (two, two / "sub")] == [2, 2]
    monkeypatch.chdir(two / "sub")
    assert len(list(ExperimentData())) == 2


def test_experiment_data_gives_objects(two: Path) -> None:
    first, second = ExperimentData(two)

    assert [first.tag, second.tag] == tags()
    assert (first.id, first.name, first.status) == (id_of(first.tag), "first", "completed")
    assert (first.parameters, first.results, second.results) == ({"m": {"lr": 0.1}}, {"acc": 0.5}, {})
    assert first.commit == first.record["code"]["commit"] == sh(f"git rev-parse {first.tag}^0").strip()
    assert first.started and first.finished and timedelta() < first.finished - first.started < timedelta(minutes=1)
    assert dict(first.record) == ExperimentData(two).experiment_data()[first.tag]


def test_experiment_data_takes_the_filters_of_the_command_line(two: Path) -> None:
    data = ExperimentData(two)
    first, second = data

    assert data.experiments(where="m.lr > 0.1") == [second]
    assert data.experiments(sort="m.lr", reverse=True, limit=1) == [second]
    assert data.experiments("HEAD") == data.experiments(name="first") == data.experiments(None, True) == [first]
    assert list(data.experiment_data(where="acc == 0.5")) == [first.tag]
    with pytest.raises(BadCondition, match="after '>' was expected here"):
        data.experiments(where="m.lr >")
    with pytest.raises(ValueError, match="limit"):
        data.experiments(limit=-1)
    with pytest.raises(TypeError):
        data.experiments(nothing=1)


def test_delete_removes_a_tag(two: Path) -> None:
    first, second = tags()
    ExperimentData(two / ".").delete(first)

    assert tags() == [second]
    with pytest.raises(ExperimentUnknown):
        ExperimentData(two).delete(first)


def test_to_dataframe_has_dotted_columns(two: Path) -> None:
    frame = ExperimentData(two).to_dataframe()

    assert list(frame["name"]) == ["first", "second"]
    assert list(frame["parameters.m.lr"]) == [0.1, 0.2]
    assert frame["results.acc"][0] == 0.5
    assert (frame["finished"] - frame["started"]).dt.total_seconds().between(0, 60).all()
    assert frame["started"][0] == next(iter(ExperimentData(two))).started
    nothing = ExperimentData(two).to_dataframe(where="m.lr > 9")
    assert (len(nothing), list(nothing)[:2]) == (0, ["tag", "id"])
    assert list(ExperimentData(two).to_dataframe("HEAD", sort="m.lr")["name"]) == ["first"]


def test_to_dataframe_without_pandas_says_what_to_install(two: Path) -> None:
    blocked = "import sys; sys.modules['pandas'] = None\nfrom experimenter import ExperimentData\n"
    code = blocked + "try: ExperimentData('.').to_dataframe()\nexcept ImportError as error: print(error)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "to_dataframe() needs pandas: pip install pandas\n"
    assert issubclass(ExtraMissing, ExperimenterError) and issubclass(ExtraMissing, ImportError)


def test_find_understands_tags_ids_prefixes_and_names(two: Path) -> None:
    first, _ = tags()
    for word in (first, id_of(first), id_of(first)[:4], "first"):
        assert find(word, tags()) == first


def test_find_refuses_a_name_that_two_bear_but_takes_a_tag_and_an_id(two: Path) -> None:
    experimenter("run", "-n", "first", "--", "true")
    one, other = (tag for tag in tags() if "first" in tag)

    with pytest.raises(ExperimentAmbiguous) as ambiguous:
        find("first", tags())
    assert [line.split()[1] for line in ambiguous.value.details] == [other, one]
    assert find(other, tags()) == other


def test_an_id_that_is_also_a_name_is_ambiguous(two: Path) -> None:
    first, _ = tags()
    experimenter("run", "-n", id_of(first), "--", "true")

    with pytest.raises(ExperimentAmbiguous):
        find(id_of(first), tags())


def test_wait_knows_runs_that_left_no_tag_but_show_does_not_mean_them(two: Path) -> None:
    experimenter("run", "-n", "failed", "--", "sh", "-c", "exit 3")
    experimenter("run", "-n", "first", "--", "false")

    assert wait(find_repo(two), "failed") == 3
    assert [one.tag for one in named(find_repo(two), "second", "first")] == tags()[::-1]
    with pytest.raises(ExperimentUnknown):
        named(find_repo(two), "failed")


def test_wait_on_a_block_of_a_script_says_that_there_is_no_status(two: Path) -> None:
    from experimenter import ExperimentLogger

    with ExperimentLogger("block", {}) as experiment:
        experiment.record_results({"a": 1})

    with pytest.raises(StatusUnknown):
        wait(find_repo(two), "block")


def test_wait_finds_the_status_in_the_record_when_the_log_is_gone(two: Path) -> None:
    sh("rm -r .git/experimenter/logs")

    assert wait(find_repo(two), "second") == 0
