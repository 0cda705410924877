import json
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experimenter.environment import of_parameters, without_ours

LARGEST = 100 * 1024


@pytest.mark.parametrize(
    ("parameters", "variables"),
    [
        ({"lr": 0.1}, {"LR": "0.1"}),
        ({"n": 3, "big": 10**30}, {"N": "3", "BIG": str(10**30)}),
        ({"name": "größe 日本\n'\""}, {"NAME": "größe 日本\n'\""}),
        (
            {"yes": True, "no": False, "none": None, "empty": ""},
            {"YES": "true", "NO": "false", "NONE": "", "EMPTY": ""},
        ),
        ({"max-steps": 1, "a b.c": 2, "1st": 3, "café": 4}, {"MAX_STEPS": "1", "A_B_C": "2", "1ST": "3", "CAF_": "4"}),
        ({"model": {"depth": 3, "opt": {"lr-0": 1}}}, {"MODEL__DEPTH": "3", "MODEL__OPT__LR_0": "1"}),
        ({"a\0b": 1}, {"A_B": "1"}),
        ({"list": [1, 2], "dict": {}, "lists": {"of": [[]]}}, {}),
        ({}, {}),
    ],
)
def test_each_scalar_parameter_has_a_variable(parameters: dict[str, Any], variables: dict[str, str]) -> None:
    found, warnings = of_parameters(parameters)

    document = found.pop("EXPERIMENTER_PARAMS")
    assert found == {f"EXPERIMENTER_PARAM_{key}": value for key, value in variables.items()}
    assert json.loads(document) == parameters
    assert warnings == []


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"lr": 1, "LR": 2, "other": 3}, ["lr", "LR"]),
        ({"a": {"b": 1}, "a__b": 2, "other": 3}, ["a.b", "a__b"]),
        ({"a-b": 1, "a_b": 2, "a.b": 3, "other": 3}, ["a-b", "a_b", "a.b"]),
    ],
)
def test_keys_that_would_share_a_variable_get_none_and_a_warning(parameters: dict[str, Any], named: list[str]) -> None:
    found, (warning,) = of_parameters(parameters)

    assert set(found) == {"EXPERIMENTER_PARAM_OTHER", "EXPERIMENTER_PARAMS"}
    assert all(key in warning for key in named)


def test_a_list_takes_no_variable_away() -> None:
    found, warnings = of_parameters({"a": [1], "A": 2})

    assert (found["EXPERIMENTER_PARAM_A"], warnings) == ("2", [])


def test_secrets_reach_the_command() -> None:
    found, _ = of_parameters({"password": "hunter2", "url": "https://me:pw@host/"})

    assert found["EXPERIMENTER_PARAM_PASSWORD"] == "hunter2"
    assert found["EXPERIMENTER_PARAM_URL"] == "https://me:pw@host/"
    assert json.loads(found["EXPERIMENTER_PARAMS"])["password"] == "hunter2"


def test_the_variable_with_all_is_left_out_above_100_kib() -> None:
    frame = len('{"a": ""}')

    assert len(of_parameters({"a": "x" * (LARGEST - frame)})[0]["EXPERIMENTER_PARAMS"]) == LARGEST
    assert "EXPERIMENTER_PARAMS" not in of_parameters({"a": "x" * (LARGEST - frame + 1)})[0]
    assert "EXPERIMENTER_PARAMS" not in of_parameters({"a": "ü" * (LARGEST // 2)})[0]


@pytest.mark.parametrize("value", ["nul\0", "x" * (LARGEST + 1)])
def test_a_value_that_no_variable_can_hold_gets_none_and_a_warning(value: str) -> None:
    found, (warning,) = of_parameters({"bad": value, "good": 1})

    assert "EXPERIMENTER_PARAM_BAD" not in found
    assert found["EXPERIMENTER_PARAM_GOOD"] == "1"
    assert "bad" in warning


@pytest.mark.parametrize(
    "parameters",
    [{f"key{number}": "x" * 1000 for number in range(3000)}, {f"k{number}": number for number in range(9999)}],
)
def test_a_command_can_always_be_started_with_them(parameters: dict[str, Any]) -> None:
    found, _ = of_parameters(parameters)

    assert subprocess.run(["true"], env=found).returncode == 0


@given(
    st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.text(max_size=5) | st.integers(), max_size=5)
)
@settings(deadline=None)
def test_any_parameters_give_variables_that_a_shell_can_name(parameters: dict[str, Any]) -> None:
    found, _ = of_parameters(parameters)

    assert all(key.replace("_", "a").isalnum() and key.isascii() and key.isupper() for key in found)
    assert not any("\0" in value for value in found.values())


def test_what_an_outer_run_set_is_dropped_and_nothing_else() -> None:
    ours = ("TAG", "ID", "NAME", "COMMIT", "PARAMS", "PARAMS_FILE", "RESULTS_FILE", "PARAM_LR", "PARAM_A__B")
    others = {"PATH": "/bin", "EXPERIMENTER_DEBUG": "1", "EXPERIMENTER": "x"}

    assert without_ours(others | dict.fromkeys((f"EXPERIMENTER_{key}" for key in ours), "old")) == others
