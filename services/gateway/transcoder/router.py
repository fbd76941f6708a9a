"""From method and path segments to a route, by the precedence of path templates.

Every template that fits is found by one walk over a trie; each trie node is visited at most once, so a
match costs O(path length + templates on the way), however many slashes the path has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from services.gateway.transcoder.template import Segment, Template, Wildcard

T = TypeVar("T")

ANY_METHOD = "*"


@dataclass(slots=True)
class Terminal(Generic[T]):
    """The routes of all HTTP methods whose templates have one shape and verb."""

    shape: tuple[Segment, ...]
    methods: dict[str, T] = field(default_factory=dict)

    def get(self, method: str) -> T | None:
        found = self.methods.get(method)
        return found if found is not None else self.methods.get(ANY_METHOD)


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: dict[str, "_Node[T]"] = field(default_factory=dict)
    one: "_Node[T] | None" = None
    ends: dict[str, Terminal[T]] = field(default_factory=dict)  # by verb
    # `**` at this place: by verb, then by number of literals after it, then by those literals.
    tails: dict[str, dict[int, dict[tuple[str, ...], Terminal[T]]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate(Generic[T]):
    """A terminal that fits the path; ``taken`` is what ``**`` took, None without ``**``."""

    terminal: Terminal[T]
    taken: int | None

    def rank(self) -> tuple[bool, list[int], bool, int]:
        """Sort key: the smallest wins (rules in the order of google/api/http.proto readers).

        A ``**`` before other segments that took nothing is last; then segment by segment
        a literal before ``*`` before ``**``; then a ``**`` that took something; then a later ``**``.
        """
        shape = self.terminal.shape
        if self.taken is None:
            return False, [_weight(segment) for segment in shape], False, -len(shape)
        at = shape.index(Wildcard.MANY)
        tail = len(shape) - at - 1
        kinds = [_weight(segment) for segment in shape[:at]]
        kinds += [int(Wildcard.MANY)] * self.taken + [0] * tail
        nothing = self.taken == 0
        return nothing and tail > 0, kinds, nothing, -at


def _weight(segment: Segment) -> int:
    return int(segment) if isinstance(segment, Wildcard) else 0


class Router(Generic[T]):
    """Route table; all templates are added before the first match."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self.has_verbs = False

    def add(self, method: str, template: Template, value: T) -> T | None:
        """Register *value*; return the route already there if the two conflict."""
        terminal = self._terminal(template)
        self.has_verbs = self.has_verbs or bool(template.verb)
        known = terminal.methods.setdefault(method, value)
        return None if known is value else known

    def _terminal(self, template: Template) -> Terminal[T]:
        node = self._root
        for index, segment in enumerate(template.segments):
            if segment is Wildcard.MANY:
                tail = tuple(str(literal) for literal in template.segments[index + 1 :])
                lengths = node.tails.setdefault(template.verb, {})
                return lengths.setdefault(len(tail), {}).setdefault(tail, Terminal(template.segments))
            if segment is Wildcard.ONE:
                node.one = node.one or _Node()
                node = node.one
            else:
                node = node.literals.setdefault(str(segment), _Node())
        return node.ends.setdefault(template.verb, Terminal(template.segments))

    def fitting(self, segments: Sequence[str], verb: str) -> list[Candidate[T]]:
        """Return every template that fits decoded *segments* under *verb*, whatever the method."""
        return list(self._walk(self._root, segments, 0, verb))

    def _walk(self, node: _Node[T], segments: Sequence[str], at: int, verb: str) -> Iterator[Candidate[T]]:
        left = len(segments) - at
        for length, tails in node.tails.get(verb, {}).items():
            if length <= left:
                found = tails.get(tuple(segments[len(segments) - length :]))
                if found is not None:
                    yield Candidate(found, left - length)
        if not left:
            end = node.ends.get(verb)
            if end is not None:
                yield Candidate(end, None)
            return
        child = node.literals.get(segments[at])
        if child is not None:
            yield from self._walk(child, segments, at + 1, verb)
        if node.one is not None and segments[at]:
            yield from self._walk(node.one, segments, at + 1, verb)


def best(candidates: Sequence[Candidate[T]], method: str) -> T | None:
    """Return the route of *method* that precedence picks, or None."""
    routes = [(found, item) for item in candidates if (found := item.terminal.get(method))]
    if len(routes) > 1:
        routes.sort(key=lambda pair: pair[1].rank())
    return routes[0][0] if routes else None


def allowed_methods(candidates: Sequence[Candidate[T]]) -> dict[str, list[T]]:
    """Return the methods of all *candidates* with their routes."""
    methods: dict[str, list[T]] = {}
    for candidate in candidates:
        for method, route in candidate.terminal.methods.items():
            methods.setdefault(method, []).append(route)
    return methods
