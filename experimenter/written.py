"""Numbers as they were written: reading one loses neither its value nor, for the words of a command, its text."""

import math


class Written:
    """A number whose text says more than its value: `3.10` of a version, `1234e5` of a hash."""

    text: str

    def __str__(self) -> str:
        return self.text


class _WrittenInt(Written, int):
    pass


class _WrittenFloat(Written, float):
    pass


def written(number: float, text: str) -> float:
    """Return a number that as text is as it was written; for JSON, and for all who reckon with it, it is a number.

    One with a negative exponent is written out, `1e-3` as `0.001`: no version, hash or number of a file has one.
    """
    if text == str(number) or "e-" in text.lower():
        return number
    found = _WrittenInt(number) if isinstance(number, int) else _WrittenFloat(number)
    found.text = text
    return found


def fraction(text: str) -> float | str:
    """Return the number that a text stands for; the text itself if a float cannot hold it.

    That is one that is too large, or so small that it would be 0.
    """
    number = float(text)
    if number and math.isfinite(number):  # as most are, and this is quick
        return number
    is_zero = not number and not text.lower().partition("e")[0].strip("+-.0")
    return number if is_zero else text
