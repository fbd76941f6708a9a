"""Words of a question: split, lower-cased, without plural endings, numbers read."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

MAX_TOKENS = 80  # a question is a sentence or two

_TOKEN = re.compile(
    r"""
    "(?P<double>[^"]{1,200})" | '(?P<single>[^'\s][^']{0,198}[^'\s]|[^'\s])'(?!\w)
    | (?P<date>\d{4}-\d{1,2}-\d{1,2} | \d{1,2}/\d{1,2}/\d{4})
    | (?P<number>(?:(?<![\w)])-)?[$€£]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[km]\b|bn\b)?%?(?![^\W_]))
    | (?P<word>[^\W_]+(?:'[^\W_]+)*)
    | (?P<sign>>=|<=|!=|<>|==|[=<>,;:?!()+%])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ONE_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_ONES = _ONE_WORDS.split()
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}
_ORDINAL_WORDS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_IRREGULAR = {
    "intl": "international", "natl": "national", "rgnl": "regional", "corp": "corporation", "inc": "incorporated", "univ": "university",
    "muni": "municipal", "mfg": "manufacturing", "dept": "department", "intercontl": "intercontinental",
    "people": "person", "persons": "person", "children": "child", "men": "man", "women": "woman", "feet": "foot", "indices": "index",
    "criteria": "criterion", "media": "media", "series": "series", "species": "species", "data": "data", "news": "news",
    "analyses": "analysis", "statuses": "status", "buses": "bus", "movies": "movie", "cookies": "cookie", "always": "always",
    "does": "does", "has": "has", "was": "was", "is": "is", "this": "this", "its": "its", "us": "us", "yes": "yes", "less": "less",
    "plus": "plus", "versus": "versus", "gas": "gas", "lens": "lens", "as": "as", "leaves": "leaves", "sales": "sale",
}  # fmt: skip
# Words of column names that are written short, in any trade.
_SHORT = {
    "qty": "quantity", "amt": "amount", "num": "number", "no": "number", "nbr": "number", "cnt": "count", "avg": "average",
    "pct": "percent", "perc": "percent", "dt": "date", "yr": "year", "mth": "month", "desc": "description", "addr": "address",
    "dept": "department", "cust": "customer", "prod": "product", "cat": "category", "acct": "account", "lat": "latitude",
    "lon": "longitude", "lng": "longitude", "temp": "temperature", "tel": "telephone", "pop": "population", "ind": "indicator",
    "cd": "code", "dob": "date of birth", "min": "minimum", "max": "maximum", "mgr": "manager", "emp": "employee", "org": "organization",
    "cvg": "coverage", "inv": "invoice", "txn": "transaction", "trx": "transaction", "cancelled": "canceled", "qtr": "quarter",
}  # fmt: skip


def words(text: str) -> frozenset[str]:
    """Return the words of a list written as one text."""
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Token:
    """One word, number or sign of a question. *norm* is for comparing; *number* is set for numbers written in digits."""

    text: str
    norm: str
    number: float | None = None
    percent: bool = False
    quoted: bool = False
    capital: bool = False


def tokenize(question: str) -> list[Token]:
    """Return the tokens of a question, at most ``MAX_TOKENS`` and one more."""
    tokens: list[Token] = []
    text = unicodedata.normalize("NFKC", question).replace("’", "'").replace("“", '"').replace("”", '"')  # noqa: RUF001
    text = re.sub(r"\bn't\b", " not", re.sub(r"(?<=\w)n't\b", " not", text.replace("can't", "can not")))
    for match in _TOKEN.finditer(text):
        if len(tokens) > MAX_TOKENS:
            break
        tokens.extend(_token(match))
    return tokens


def _token(match: re.Match[str]) -> list[Token]:
    quoted = match["double"] or match["single"]
    if quoted:
        return [Token(quoted, " ".join(phrase(quoted)), quoted=True)]
    if match["number"]:
        raw = match["number"]
        return [Token(raw, re.sub(r"[$€£%,]", "", raw).lower(), _number(raw), raw.endswith("%"))]
    if match["date"] or match["sign"]:
        return [Token(match[0], match[0])]
    word = match["word"]
    base = re.sub(r"'s$", "", word)
    tokens = [Token(base, stem(fold(base).replace("'", "")), capital=word[0].isupper())]
    return [*tokens, Token("'s", "'s")] if base != word else tokens


def _number(raw: str) -> float:
    text = re.sub(r"[$€£%,]", "", raw).lower()
    scale = 1.0
    for suffix, factor in (("bn", 1e9), ("k", 1e3), ("m", 1e6)):
        if text.endswith(suffix):
            text, scale = text.removesuffix(suffix), factor
    return float(text) * scale


def fold(text: str) -> str:
    """Return text in lower case without accents."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char)).casefold()


def stem(word: str) -> str:
    """Return a folded word without its plural ending."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in {"cancelled", "cancelling"}:
        return "canceled"
    if len(word) <= 3 or word.endswith(("ss", "us", "is")) or not word.isalpha():  # noqa: PLR2004
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word.removesuffix("s")


def loose(word: str) -> str:
    """Return a stem without the endings of verbs, so that ``delayed`` meets ``delay``."""
    for ending in ("ing", "ed", "er"):
        if word.endswith(ending) and len(word) - len(ending) > 2:  # noqa: PLR2004
            bare = word[: -len(ending)]
            return bare[:-1] if len(bare) > 3 and bare[-1] == bare[-2] and bare[-1] not in "sl" else bare  # noqa: PLR2004
    return word


def phrase(text: str) -> tuple[str, ...]:
    """Return the stems of a value or a synonym, split at whatever is no letter and no digit."""
    return tuple(stem(part) for part in re.findall(r"[^\W_]+", fold(text).replace("'", "")))


def name_words(name: str) -> tuple[str, ...]:
    """Return the stems of an identifier: split at ``_`` and humps, short forms written out."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    parts = [stem(part) for part in re.findall(r"[^\W_]+", fold(spaced))]
    return tuple(stem(word) for part in parts for word in _SHORT.get(part, part).split())


def spoken(name: str) -> str:
    """Return an identifier as words for a person, in lower case."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.findall(r"[^\W_]+", spaced)).lower()


def number_at(tokens: Sequence[Token], at: int) -> tuple[float, int] | None:
    """Return the number that begins at a position, in digits or words, and the position after it."""
    if at >= len(tokens) or tokens[at].quoted:
        return None
    if tokens[at].number is not None:
        value, end = tokens[at].number or 0.0, at + 1
        while end < len(tokens) and tokens[end].norm in _SCALES:
            value, end = value * _SCALES[tokens[end].norm], end + 1
        return value, end
    return _spelled(tokens, at)


def _spelled(tokens: Sequence[Token], at: int) -> tuple[float, int] | None:
    total, current, end = 0.0, None, at
    while end < len(tokens):
        parts = fold(tokens[end].text).split("-")
        values = [_ONES.index(part) if part in _ONES else _TENS.get(part) for part in parts]
        word = parts[0]
        if all(value is not None for value in values):
            current = (current or 0.0) + sum(value or 0 for value in values)
        elif word in _SCALES and (current is not None or (end > 0 and tokens[end - 1].norm == "a")):
            if _SCALES[word] == 100:  # noqa: PLR2004
                current = (current or 1.0) * 100
            else:
                total, current = total + (current or 1.0) * _SCALES[word], 0.0
        elif word == "dozen":
            current = (current or 1.0) * 12
        elif not (
            word == "and"
            and current is not None
            and end > at
            and tokens[end - 1].norm in _SCALES
            and _more(tokens, end)
        ):
            break
        end += 1
    return (total + (current or 0.0), end) if end > at and (current is not None) else None


def _more(tokens: Sequence[Token], at: int) -> bool:
    following = fold(tokens[at + 1].text).split("-")[0] if at + 1 < len(tokens) else ""
    return following in _ONES or following in _TENS


def ordinal(token: Token) -> int | None:
    """Return the number of an ordinal such as ``3rd`` or ``third``."""
    text = fold(token.text)
    if match := re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)", text):
        return int(match[1])
    return _ORDINAL_WORDS.index(text) + 1 if text in _ORDINAL_WORDS else None


def is_near(word: str, known: str) -> bool:
    """Tell whether *word* is *known* with a slip of the finger: one edit from 5 letters on, two from 9."""
    allowed = 0 if len(word) < 5 else 1 if len(word) < 9 else 2  # noqa: PLR2004
    if not allowed or abs(len(word) - len(known)) > allowed or word[:1] != known[:1]:
        return False
    return _distance(word, known) <= allowed


def _distance(one: str, other: str) -> int:
    """Return the optimal string alignment distance: insert, delete, replace, swap neighbours."""
    before, row = list[int](), list(range(len(other) + 1))
    for i, char in enumerate(one, 1):
        above, row = row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (char != wanted))
            if i > 1 and j > 1 and char == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before = above
    return row[-1]
