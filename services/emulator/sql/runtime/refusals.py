"""How a function inside the engine refuses: in words that survive the way out."""

import re

from services.emulator import errors

_WORDS = re.compile(r"SF\[(\d+)\|(\w+)\|(.*)\]", re.DOTALL)


class Refused(ValueError):
    """Raised inside the engine; its text carries number, SQLSTATE and message."""


def refused(code: int, sqlstate: str, message: str) -> Refused:
    return Refused(f"SF[{code}|{sqlstate}|{message}]")


def found(text: str) -> errors.SqlError | None:
    """Return the refusal that an error of the engine carries, or None."""
    match = _WORDS.search(text)
    return errors.SqlError(int(match[1]), match[2], match[3]) if match else None
