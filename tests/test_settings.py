import pytest

from experimenter.errors import BadSetting
from experimenter.settings import Settings, size_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1k", 1024),
        ("1K", 1024),
        ("1KiB", 1024),
        ("1kiB", 1024),
        ("50M", 50 * 1024**2),
        ("50MiB", 50 * 1024**2),
        ("2G", 2 * 1024**3),
        ("2GiB", 2 * 1024**3),
        ("1.5GiB", 3 * 1024**3 // 2),
        (" 7 M ", 7 * 1024**2),
    ],
)
def test_sizes_take_units_to_the_base_of_1024(text: str, expected: int) -> None:
    assert size_bytes(text, option="--max-file-size") == expected


@pytest.mark.parametrize("text", ["", "M", "-1", "+1", "1e3", "0x10", "ten", "1 k k", "1.M", "٣", "NaN", "inf", "true"])
def test_what_is_no_size_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(BadSetting, match=f"^--max-file-size: '{text}'".replace("+", r"\+")):
        size_bytes(text, option="--max-file-size")


def test_a_size_beyond_all_measure_is_a_size_or_refused() -> None:
    try:
        assert size_bytes("9" * 400, option="--max-file-size") >= 10**399
    except BadSetting as error:
        assert "--max-file-size" in error.message


def test_without_any_setting_there_are_the_defaults() -> None:
    assert Settings.from_config({}) == Settings(max_file_size_bytes=50 * 1024**2, keep_logs=100)


def test_the_option_comes_before_git_config() -> None:
    config = {"maxfilesize": ["1k", "1M"], "keeplogs": ["7"]}

    assert Settings.from_config(config) == Settings(max_file_size_bytes=1024**2, keep_logs=7)
    assert Settings.from_config(config, max_file_size="1k").max_file_size_bytes == 1024
    assert Settings.from_config({"maxfilesize": ["nonsense"]}, max_file_size="1k").max_file_size_bytes == 1024


@pytest.mark.parametrize(
    ("key", "name", "value"),
    [
        ("maxfilesize", "maxFileSize", "big"),
        ("maxfilesize", "maxFileSize", "true"),
        ("keeplogs", "keepLogs", "-1"),
        ("keeplogs", "keepLogs", "many"),
    ],
)
def test_a_wrong_git_config_is_named_as_the_user_wrote_it(key: str, name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=f"git config experimenter.{name}: '{value}'"):
        Settings.from_config({key: [value]})


def test_a_push_has_half_a_minute_and_200_mib() -> None:
    settings = Settings.from_config({})

    assert (settings.push_timeout_s, settings.max_push_size_bytes) == (30.0, 200 * 1024**2)
