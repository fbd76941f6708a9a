"""Text functions that the engine does not have or has with other rules."""

import hashlib
import re
import unicodedata
from datetime import date, datetime, timedelta
from typing import Any

from services.emulator.sql.runtime.refusals import refused

FUNCTIONS: dict[str, tuple[Any, list[str] | None, str]] = {}


def initcap(text: str, delimiters: str) -> str:
    """Upper-case each word's first letter; a word starts after any of *delimiters*."""
    out, start = [], True
    for mark in text:
        out.append(mark.upper() if start else mark.lower())
        start = mark in delimiters
    return "".join(out)


def soundex(text: str) -> str:
    """Return the four-character phonetic code of *text*."""
    codes = {
        **dict.fromkeys("BFPV", "1"),
        **dict.fromkeys("CGJKQSXZ", "2"),
        **dict.fromkeys("DT", "3"),
        "L": "4",
        **dict.fromkeys("MN", "5"),
        "R": "6",
    }
    letters = [mark for mark in unicodedata.normalize("NFD", text.upper()) if "A" <= mark <= "Z"]
    if not letters:
        return ""
    out, last = letters[0], codes.get(letters[0], "")
    for mark in letters[1:]:
        code = codes.get(mark, "")
        if code and code != last:
            out += code
        if mark not in "HW":
            last = code
    return (out + "000")[:4]


def sha2(data: bytes, bits: int) -> str:
    if bits not in {224, 256, 384, 512}:
        raise refused(100064, "22023", f"SHA2 digest size {bits} not supported")
    return hashlib.new(f"sha{bits}", data).hexdigest()


def tokens(text: str, marks: str) -> list[str]:
    if not marks:
        return [text] if text else []
    return [part for part in re.split(f"[{re.escape(marks)}]", text) if part]


def strtok(text: str, marks: str, number: int) -> str | None:
    parts = tokens(text, marks)
    return parts[number - 1] if 0 < number <= len(parts) else None


_DELIMITERS = re.compile(r"""[\s\[\];<>(){}|!,'"*&?+/:=@.\-$%\\_]+""")  # docs: search, DEFAULT_ANALYZER


def search(text: str, wanted: str, mode: str, analyzer: str) -> bool:
    """Whether the tokens of *wanted* are in *text*: any, all, in a row, or the very text."""
    if analyzer == "NO_OP_ANALYZER":
        return text == wanted
    held, asked = ([part for part in _DELIMITERS.split(value.lower()) if part] for value in (text, wanted))
    if not asked:
        return False
    if mode == "AND":
        return set(asked) <= set(held)
    if mode in {"PHRASE", "EXACT"}:
        return any(held[at : at + len(asked)] == asked for at in range(len(held)))
    return bool(set(asked) & set(held))


def number_format(text: str, form: str) -> str:
    """TO_CHAR of a number by a format of 9, 0, comma, point, $, MI and FM."""
    upper = form.upper()
    if upper in {"TM", "TM9", "TME"}:
        return text
    bare = upper.replace("FM", "").replace("MI", "").replace("S", "").replace("$", "").replace('"', "")
    whole_form, _, part_form = bare.partition(".")
    digits = sum(part_form.count(mark) for mark in "90")
    value = float(text)
    shown = f"{abs(value):.{digits}f}"
    whole, _, part = shown.partition(".")
    width, least = (
        sum(whole_form.count(mark) for mark in "90X"),
        len(whole_form[whole_form.find("0") :].replace(",", "")) if "0" in whole_form else 0,
    )
    if len(whole) > width:
        return "#" * (len(bare) + 1)
    whole = whole.zfill(least) if least else ("" if whole == "0" and part_form else whole)
    if "," in whole_form and whole:
        whole = f"{int(whole):,}" if not least else whole
    out = ("$" if "$" in form else "") + whole + (f".{part}" if part_form else "")
    out = ("-" if value < 0 else "" if "FM" in upper else " ") + out
    return out if "FM" in upper else out.rjust(len(bare) + 1)


def read_number(text: str, form: str, attempt: bool) -> str | None:
    plain = text.strip().replace(",", "").replace("$", "")
    try:
        float(plain)
    except ValueError:
        if attempt:
            return None
        raise refused(100140, "22007", f"Can't parse '{text}' as number with format '{form}'") from None
    return plain


def months_between(one: datetime, two: datetime) -> float:
    months = (one.year - two.year) * 12 + one.month - two.month
    last = [(moment + timedelta(days=1)).month != moment.month for moment in (one, two)]
    if one.day == two.day or all(last):
        return float(months)
    seconds = [
        (moment.day - 1) * 86_400 + moment.hour * 3600 + moment.minute * 60 + moment.second for moment in (one, two)
    ]
    return round(months + (seconds[0] - seconds[1]) / (31 * 86_400), 6)


_WEEKDAYS = ("mo", "tu", "we", "th", "fr", "sa", "su")


def weekday(day: date, name: str, step: int) -> date:
    wanted = _WEEKDAYS.index(name.strip().lower()[:2])
    moved = day + timedelta(days=step)
    while moved.weekday() != wanted:
        moved += timedelta(days=step)
    return moved


FUNCTIONS.update(
    {
        "sf_initcap": (initcap, ["VARCHAR", "VARCHAR"], "VARCHAR"),
        "sf_sha2": (sha2, ["BLOB", "INTEGER"], "VARCHAR"),
        "sf_tokens": (tokens, ["VARCHAR", "VARCHAR"], "VARCHAR[]"),
        "sf_strtok": (strtok, ["VARCHAR", "VARCHAR", "INTEGER"], "VARCHAR"),
        "sf_search": (search, ["VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR"], "BOOLEAN"),
        "sf_number_format": (number_format, ["VARCHAR", "VARCHAR"], "VARCHAR"),
        "sf_read_number": (read_number, ["VARCHAR", "VARCHAR", "BOOLEAN"], "VARCHAR"),
        "sf_months_between": (months_between, ["TIMESTAMP", "TIMESTAMP"], "DOUBLE"),
        "sf_weekday": (weekday, ["DATE", "VARCHAR", "INTEGER"], "DATE"),
        "sf_soundex": (soundex, ["VARCHAR"], "VARCHAR"),
    }
)
