"""Semi-structured values as results show them: JSON over several lines, two blanks a level."""

import re

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')
_EMPTY = {"[": "]", "{": "}"}


def pretty(text: str) -> str:
    """Return compact JSON *text* with one element a line; numbers keep their digits."""
    if text[:1] not in "[{":
        return text
    out: list[str] = []
    level, tokens = 0, _TOKEN.findall(text)
    for index, word in enumerate(tokens):
        if word in _EMPTY:
            level += 1
            closes = index + 1 < len(tokens) and tokens[index + 1] == _EMPTY[word]
            out.append(word if closes else word + "\n" + "  " * level)
        elif word in "]}":
            level -= 1
            opened = index > 0 and tokens[index - 1] in _EMPTY
            out.append(word if opened else "\n" + "  " * level + word)
        elif word == ",":
            out.append(",\n" + "  " * level)
        else:
            out.append(": " if word == ":" else word)
    return "".join(out)
