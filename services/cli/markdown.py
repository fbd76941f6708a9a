"""Cuts Markdown and plain text into passages: what a person would call a paragraph, with the headings above it.

Block structure follows CommonMark 0.31 as far as cutting needs it: ATX and setext headings, fenced code, lists.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

LONGEST_JOINED = 2000  # code points up to which blocks that belong together are one passage
LONGEST_TITLE = 80  # code points of a line of plain text that may be a title
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_RULE = re.compile(r" {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}")
_LIST = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])[ \t]")
_NOT_PROSE = re.compile(r" {0,3}(?:[-*+][ \t]|[>|]|`{3}|~{3}|\d{1,9}[.)][ \t])| {4}|\t")
_UNDERLINE = re.compile(r"([=\-~^*#+\"'.:_])\1{2,}")


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document, and the headings that it stands under, outermost first."""

    content: str
    headings: tuple[str, ...] = ()


def split_text(text: str) -> list[Passage]:
    """Return the paragraphs of plain text; a title stays with what it is the title of.

    A title is underlined, or one short line in capitals or with a colon at its end: alone it would be found before what it announces.
    """
    passages: list[str] = []
    title = ""
    for block in re.split(r"\n[ \t]*(?:\n[ \t]*)*\n", text):
        content = block.strip("\n").rstrip()
        if not content.strip() or _UNDERLINE.fullmatch(content.strip()):
            continue  # a line of dashes separates, it says nothing
        content, title = (f"{title}\n\n{content}" if title else content), ""
        if _is_title(block):
            title = content
        else:
            passages.append(content)
    return [Passage(content) for content in (*passages, *([title] if title else ()))]


def split_markdown(text: str) -> list[Passage]:
    """Return the passages of Markdown without front matter.

    A list is one passage, and what ends in a colon takes along the list, code or table that it announces. A heading with nothing
    under it is a passage of its own, so that nothing is lost.
    """
    cutter = _Cutter()
    for line in text.split("\n"):
        cutter.take(line)
    return list(cutter.finish())


def _is_title(block: str) -> bool:
    lines = block.strip("\n").split("\n")
    if len(lines) == 1:
        line = lines[0].strip()
        return len(line) <= LONGEST_TITLE and (line.isupper() or line.endswith(":"))
    return len(lines) in {2, 3} and _UNDERLINE.fullmatch(lines[-1].strip()) is not None


def _without_closing(title: str) -> str:
    """Return *title* without the closing sequence of an ATX heading."""
    bare = title.rstrip("#")
    return bare.rstrip() if not bare or bare[-1] in " \t" else title


@dataclass(slots=True)
class _Cutter:
    """Takes lines, one at a time."""

    passages: list[Passage] = field(default_factory=list)
    headings: list[tuple[int, str]] = field(default_factory=list)  # (level, text) of those that are open
    block: list[str] = field(default_factory=list)
    fence: str = ""
    bare: bool = False  # nothing has come yet under the innermost heading

    def take(self, line: str) -> None:
        if self.fence:
            self._take_code(line)
        elif not line.strip():
            self._flush()
        elif match := _FENCE.match(line):
            self.fence = match[1]
            self.block.append(line)
        elif match := _ATX.match(line):
            self._flush()
            self._open(len(match[1]), _without_closing(line[match.end() :].strip()))
        elif self.block and _SETEXT.fullmatch(line) and not any(_NOT_PROSE.match(item) for item in self.block):
            title = " ".join(item.strip() for item in self.block)
            self.block.clear()
            self._open(1 if line.strip().startswith("=") else 2, title)
        elif _RULE.fullmatch(line):
            self._flush()
        else:
            self.block.append(line)

    def finish(self) -> Iterator[Passage]:
        self._flush()
        self._keep_bare()
        yield from self.passages

    def _take_code(self, line: str) -> None:
        self.block.append(line)
        closing = line.strip()
        if closing and set(closing) == {self.fence[0]} and len(closing) >= len(self.fence):
            self.fence = ""

    def _open(self, level: int, title: str) -> None:
        if self.bare and self.headings[-1][0] >= level:
            self._keep_bare()
        self.headings = [item for item in self.headings if item[0] < level]
        if title.strip():
            self.headings.append((level, title.strip()))
            self.bare = True

    def _keep_bare(self) -> None:
        if self.bare:
            *above, own = (title for _, title in self.headings)
            self.passages.append(Passage(own, tuple(above)))
            self.bare = False

    def _flush(self) -> None:
        content = "\n".join(self.block).rstrip()
        self.block.clear()
        if not content:
            return
        headings = tuple(title for _, title in self.headings)
        if self.passages and not self.bare and self._belongs_to_last(content, headings):
            last = self.passages.pop()
            content = f"{last.content}\n\n{content}"
        self.passages.append(Passage(content, headings))
        self.bare = False

    def _belongs_to_last(self, content: str, headings: tuple[str, ...]) -> bool:
        last = self.passages[-1]
        if last.headings != headings or len(last.content) + len(content) > LONGEST_JOINED:
            return False
        announced = last.content.endswith(":") and _NOT_PROSE.match(content) is not None
        last_block = last.content.rsplit("\n\n", 1)[-1]
        in_list = _LIST.match(last_block) is not None or last_block.startswith((" ", "\t"))
        continues = in_list and (_LIST.match(content) is not None or content.startswith(("  ", "\t")))
        return announced or continues
