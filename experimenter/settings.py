"""What the user has set: an option, else `git config experimenter.<option>`, else the default."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from experimenter.errors import BadSetting
from experimenter.text import visible

_SIZE = re.compile(r"(?P<number>\d{1,30}(\.\d{1,30})?)\s*(?P<unit>[kmgt]?)(i?b)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one repository."""

    max_file_size_bytes: int = 50 * 1024**2
    keep_logs: int = 100

    @classmethod
    def from_config(cls, config: Mapping[str, str], *, max_file_size: str | None = None) -> Self:
        """Return the settings in `config` (keys in lower case, without `experimenter.`), options over them.

        Raises BadSetting for a value that cannot be read.
        """
        given: dict[str, int] = {}
        if max_file_size is not None:
            given["max_file_size_bytes"] = size_bytes(max_file_size, option="--max-file-size")
        elif "maxfilesize" in config:
            value = config["maxfilesize"]
            given["max_file_size_bytes"] = size_bytes(value, option="git config experimenter.maxFileSize")
        if "keeplogs" in config:
            given["keep_logs"] = _count(config["keeplogs"], option="git config experimenter.keepLogs")
        return cls(**given)


def size_bytes(text: str, *, option: str) -> int:
    """Return a size such as `50M`, `1.5GiB` or `4096` in bytes, units to the base of 1024; raise BadSetting."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise BadSetting(f"{option}: '{visible(text)}' is no size; write a number with k, M or G, such as 50M")
    whole, _, fraction = match["number"].partition(".")
    scale: int = 1024 ** _UNITS[match["unit"].lower()]
    return int(whole + fraction) * scale // int("1" + "0" * len(fraction))


def _count(text: str, *, option: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise BadSetting(f"{option}: '{visible(text)}' is no number of logs; write one such as 100")
    return int(text)
