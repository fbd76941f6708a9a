"""YAML as a tree with places, bounded in size, depth and what its aliases expand to; never an exception, whatever the text."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from services.analyst.domain.semantic_model.finding import Finding, Severity

MAX_BYTES = 1 << 20  # of UTF-8
_MAX_DEPTH = 32  # a semantic model needs 8
_MAX_NODES = 60_000  # after aliases are expanded; the largest public model has 3,400


@dataclass(slots=True)
class Node:
    """One value. Exactly one of *text*, *items*, *pairs* is set; *line* and *column* count from 1."""

    line: int
    column: int
    text: str | None = None
    plain: bool = False  # written without quotes, so that ``null`` and ``true`` are no strings
    items: list["Node"] | None = None
    pairs: list[tuple["Node", "Node"]] | None = None
    size: int = 1  # nodes in it, aliases expanded
    end_line: int = 0
    flow: bool = False  # written in brackets or braces
    open: bool = field(default=False, repr=False)

    @property
    def is_null(self) -> bool:
        """Tell whether nothing was written here."""
        return self.text is not None and self.plain and self.text.lower() in {"", "null", "~"}


class _Bad(Exception):
    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.finding = Finding(Severity.ERROR, message, line=line, column=column)


def tree(text: str) -> Node | Finding:
    """Return the first document of *text*, or what is wrong with it."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return Finding(Severity.ERROR, f"a semantic model has at most {MAX_BYTES} bytes of UTF-8")
    try:
        return _Builder(YAML(typ="safe", pure=True).parse(text)).document()
    except _Bad as bad:
        return bad.finding
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        return Finding(Severity.ERROR, f"not YAML: {message}", "", *place)
    except (YAMLError, ValueError, RecursionError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding(Severity.ERROR, f"not YAML: {line}")


class _Builder:
    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._anchors: dict[str, Node] = {}
        self._count = 0

    def document(self) -> Node:
        for event in self._events:
            if isinstance(event, AliasEvent | ScalarEvent | MappingStartEvent | SequenceStartEvent):
                root = self._node(event, 0)
                self._expect_end()
                return root
        raise _Bad("the text is empty: a semantic model is a YAML mapping")

    def _expect_end(self) -> None:
        ended = False
        for event in self._events:
            ended = ended or isinstance(event, DocumentEndEvent)
            if ended and isinstance(event, AliasEvent | ScalarEvent | MappingStartEvent | SequenceStartEvent):
                raise _Bad("one document is expected, here begins another", *_place(event))

    def _node(self, event: Event, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise _Bad(f"nested deeper than {_MAX_DEPTH} levels", *_place(event))
        if isinstance(event, AliasEvent):
            return self._alias(event)
        node = Node(*_place(event), end_line=event.end_mark.line + 1)
        if anchor := getattr(event, "anchor", None):
            self._anchors[anchor] = node
        self._counted(1, event)
        if isinstance(event, ScalarEvent):
            node.text, node.plain = event.value, event.style is None
            return node
        node.open, node.flow = True, bool(getattr(event, "flow_style", False))
        if isinstance(event, SequenceStartEvent):
            node.items = []
            for child in self._until(SequenceEndEvent, node):
                node.items.append(self._node(child, depth + 1))
        else:
            node.pairs = []
            for key in self._until(MappingEndEvent, node):
                node.pairs.append((self._node(key, depth + 1), self._node(next(self._events), depth + 1)))
        children = node.items if node.items is not None else [half for pair in node.pairs or [] for half in pair]
        node.size += sum(child.size for child in children)
        node.open = False
        return node

    def _until(self, end: type[Event], node: Node) -> Iterator[Event]:
        for event in self._events:
            if isinstance(event, end):
                node.end_line = event.start_mark.line + 1
                return
            yield event

    def _alias(self, event: AliasEvent) -> Node:
        target = self._anchors.get(event.anchor)
        if target is None:
            raise _Bad(f"alias *{event.anchor} has no anchor", *_place(event))
        if target.open:
            raise _Bad(f"alias *{event.anchor} stands inside its own anchor", *_place(event))
        self._counted(target.size, event)
        return target

    def _counted(self, nodes: int, event: Event) -> None:
        self._count += nodes
        if self._count > _MAX_NODES:
            raise _Bad(f"more than {_MAX_NODES} values, aliases expanded", *_place(event))


def _place(event: Event) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1
