"""What the user has set: an option, else `git config experimenter.<option>`, else the default."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from experimenter.errors import BadOption, BadSetting
from experimenter.text import visible

_SIZE = re.compile(r"(?P<number>\d{1,30}(\.\d{1,30})?)\s*(?P<unit>[kmgt]?)(i?b)?", re.IGNORECASE | re.ASCII)
_OPTIONS = {"max_file_size_bytes": "--max-file-size", "grace_s": "--grace"}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0", "")
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one repository. `link` and `output` are relative to the top of the work tree."""

    max_file_size_bytes: int = 50 * 1024**2
    max_new_files: int = 10_000
    max_new_size_bytes: int = 1024**3
    keep_logs: int = 100
    grace_s: float = 10.0
    push: bool = False
    push_timeout_s: float = 30.0
    max_push_size_bytes: int = 200 * 1024**2
    link: tuple[str, ...] = ()
    output: tuple[str, ...] = ()

    @classmethod
    def from_config(
        cls, config: Mapping[str, Sequence[str]], *, max_file_size: str | None = None, grace: str | None = None
    ) -> Self:
        """Return the settings in `config` (keys in lower case, without `experimenter.`), options over them.

        Of several values of one key the last counts, except for `link` and `output`. Raises BadSetting for one that
        cannot be read.
        """
        given: dict[str, Any] = {}
        readers: tuple[tuple[str, str | None, str, Callable[..., Any]], ...] = (
            ("max_file_size_bytes", max_file_size, "maxFileSize", size_bytes),
            ("max_new_files", None, "maxNewFiles", _count),
            ("max_new_size_bytes", None, "maxNewSize", size_bytes),
            ("grace_s", grace, "grace", seconds),
            ("keep_logs", None, "keepLogs", _count),
            ("push", None, "push", _truth),
            ("push_timeout_s", None, "pushTimeout", seconds),
            ("max_push_size_bytes", None, "maxPushSize", size_bytes),
        )
        for field, option, name, read in readers:
            if option is not None:
                given[field] = read(option, option=_OPTIONS[field])
            elif name.lower() in config:
                given[field] = read(config[name.lower()][-1], option=f"git config experimenter.{name}")
        return cls(**given, link=tuple(config.get("link", ())), output=tuple(config.get("output", ())))


def size_bytes(text: str, *, option: str) -> int:
    """Return a size such as `50M`, `1.5GiB` or `4096` in bytes, units to the base of 1024; raise BadSetting."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise _error(option, f"'{visible(text)}' is no size; write a number with k, M or G, such as 50M")
    whole, _, fraction = match["number"].partition(".")
    scale: int = 1024 ** _UNITS[match["unit"].lower()]
    return int(whole + fraction) * scale // int("1" + "0" * len(fraction))


def seconds(text: str, *, option: str) -> float:
    """Return a number of seconds such as `10` or `0.5`; raise BadSetting."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        raise _error(option, f"'{visible(text)}' is no number of seconds; write one such as 10 or 0.5")
    return float(text)


def _truth(text: str, *, option: str) -> bool:
    """Return a boolean as git-config(1) has them."""
    word = text.lower()
    if word not in _TRUE + _FALSE:
        raise _error(option, f"'{visible(text)}' is neither true nor false")
    return word in _TRUE


def _error(option: str, reason: str) -> BadSetting:
    kind = BadOption if option.startswith("--") else BadSetting
    return kind(f"{option}: {reason}")


def _count(text: str, *, option: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise _error(option, f"'{visible(text)}' is no whole number; write one such as 100")
    return int(text)
