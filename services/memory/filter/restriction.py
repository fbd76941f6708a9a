"""What one condition means: the field decides how its value is read and which comparators it takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.memory.filter import values
from services.memory.filter.fault import InvalidFilter, shown
from services.memory.filter.lexer import Star, Token, TokenKind
from services.memory.filter.schema import (
    ACCESS_LEVELS,
    CONTENT,
    FIELDS,
    MAX_KEYS,
    MEMORIES,
    SOURCE,
    FieldKind,
    Schema,
)
from services.memory.filter.tree import (
    Boolean,
    Comparator,
    Compare,
    Expression,
    Has,
    Integer,
    Match,
    Null,
    Number,
    Path,
    Pattern,
    Present,
    Text,
    Time,
    negation,
)

_COMPARATORS = {
    TokenKind.EQUAL: Comparator.EQUAL,
    TokenKind.NOT_EQUAL: Comparator.EQUAL,
    TokenKind.HAS: Comparator.EQUAL,
    TokenKind.LESS: Comparator.LESS,
    TokenKind.LESS_EQUAL: Comparator.LESS_EQUAL,
    TokenKind.GREATER: Comparator.GREATER,
    TokenKind.GREATER_EQUAL: Comparator.GREATER_EQUAL,
}
_ORDERING = frozenset((TokenKind.LESS, TokenKind.LESS_EQUAL, TokenKind.GREATER, TokenKind.GREATER_EQUAL))
_TAKE_HAS = {
    FieldKind.TEXTS: "it is a list: ask what it has, as in tags:x",
    FieldKind.MESSAGE: "compare its fields, as in source.kind = note",
    FieldKind.METADATA: "name a key, as in metadata.topic = tea",
}
_CONSTANTS: dict[str, Boolean | Null] = {"true": Boolean(value=True), "false": Boolean(value=False), "null": Null()}


@dataclass(frozen=True, slots=True)
class Value:
    """What stands right of a comparator, or alone; *stars* are its wildcards."""

    text: str
    start: int
    stars: tuple[Star, ...] = ()
    quoted: bool = False

    @classmethod
    def joined(cls, pieces: Sequence[Token]) -> "Value":
        """Return the value that tokens make which touch each other, none of them quoted."""
        text = "".join(piece.text or piece.kind.value[1:-1] for piece in pieces)
        start = pieces[0].start
        stars = tuple(Star(star.position - start, star.position) for piece in pieces for star in piece.stars)
        return cls(text, start, stars)

    def is_bare(self, word: str) -> bool:
        """Whether this is *word* without quotes."""
        return not self.quoted and self.text == word

    @property
    def is_star(self) -> bool:
        """Whether this is the wildcard alone."""
        return len(self.stars) == len(self.text) == 1


@dataclass(frozen=True, slots=True)
class Member:
    """What stands left of a comparator: names with dots between them, of fields of *schema*."""

    segments: tuple[Token, ...]
    schema: Schema

    @property
    def start(self) -> int:
        return self.segments[0].start

    @property
    def text(self) -> str:
        return ".".join(segment.text for segment in self.segments)

    @property
    def names(self) -> list[str]:
        return [segment.text for segment in self.segments]

    def path(self) -> Path:
        """Return the field that is meant."""
        names = self.names
        path = self.schema.resolve(names)
        if path is None:
            raise InvalidFilter(self.start, f"unknown field {shown(self.text)}", self.schema.suggestion(names))
        if len(path.keys) > MAX_KEYS:
            position = self.segments[MAX_KEYS + 1].start
            raise InvalidFilter(position, "too many keys", f"metadata is at most {MAX_KEYS} levels deep")
        for segment in self.segments:
            if segment.kind is TokenKind.WORD and segment.stars:
                raise InvalidFilter(segment.stars[0].position, "wildcard in a name", "put a key that has a * in quotes")
            if "\0" in segment.text:  # SQLite, for one, takes it for the end of a key
                raise InvalidFilter(segment.start, "U+0000 in a key", "such keys cannot be filtered by")
        return path


def anywhere(text: Value | Member) -> Expression:
    """Return the condition of a text that stands alone: the content has it."""
    if isinstance(text, Member):
        if len(text.segments) > 1 and text.schema.resolve(text.names) is not None:
            raise InvalidFilter(
                text.start,
                f"field {shown(text.text)} without a comparison",
                "compare it, or ask whether it is set with :*",
            )
        for segment in text.segments:
            if segment.kind is TokenKind.QUOTED:
                raise InvalidFilter(segment.start, "quote within a text", "quote all of the text")
        text = Value.joined(_with_dots(text.segments))
    if text.stars:
        raise InvalidFilter(
            text.stars[0].position,
            "wildcard in a text that stands alone",
            'it is found anywhere in the content; write content = "begin*" to say where',
        )
    if not text.text:
        raise InvalidFilter(text.start, "empty text", "say what the content should have")
    return Match(Path(CONTENT), Pattern(text.text, open_start=True, open_end=True), ignore_case=True)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field and the comparator after it, which go together; what *negated* says is left to whoever joins the conditions."""

    path: Path
    field: FieldKind
    kind: TokenKind
    negated: bool

    @classmethod
    def of(cls, member: Member, comparator: Token) -> "Comparison":
        """Return the comparison, or raise ``InvalidFilter`` when there is no such field or it does not take *comparator*."""
        path = member.path()
        field = member.schema.fields[path.field]
        _check_comparator(path, field, comparator)
        negated = comparator.kind is TokenKind.NOT_EQUAL
        return cls(path, field, TokenKind.EQUAL if negated else comparator.kind, negated)

    def condition(self, value: Value) -> Expression:
        """Return the condition with *value*, not yet negated. Raises ``InvalidFilter``."""
        if not value.is_star:
            return _READERS[self.field](self.path, self.kind, value)
        if self.kind is TokenKind.HAS:
            return Present(self.path)
        raise InvalidFilter(value.start, "wildcard without a text", "write :* to ask whether a field is set")


def _check_comparator(path: Path, kind: FieldKind, comparator: Token) -> None:
    if kind is FieldKind.ACCESS_LEVEL and comparator.kind in _ORDERING:
        raise InvalidFilter(comparator.start, "access levels have no order", "compare them with = or !=")
    takes_has = kind in _TAKE_HAS and not path.keys
    if takes_has and comparator.kind is not TokenKind.HAS:
        problem = f"unexpected {comparator.kind.value} after {path.field}"
        raise InvalidFilter(comparator.start, problem, _TAKE_HAS[kind])


def _text(path: Path, comparator: TokenKind, value: Value) -> Expression:
    if comparator is TokenKind.HAS:
        return Match(path, _found(value), ignore_case=True)
    if value.is_bare("null"):
        return _unset(path, comparator, value)
    return _text_comparison(path, comparator, value)


def _unset(path: Path, comparator: TokenKind, null: Value) -> Expression:
    if comparator is not TokenKind.EQUAL:
        raise InvalidFilter(null.start, "null has no order", f"{path.field} = null asks whether it is unset")
    return negation(Present(path))


def _text_comparison(path: Path, comparator: TokenKind, value: Value) -> Expression:
    if not value.stars:
        return Compare(path, _COMPARATORS[comparator], Text(value.text))
    if comparator is not TokenKind.EQUAL:
        raise _stray_star(value)
    return Match(path, _pattern(value))


def _found(value: Value) -> Pattern:
    if not value.text:
        raise InvalidFilter(value.start, "empty text", "every text has it; ask whether a field is set with :*")
    return _pattern(value) if value.stars else Pattern(value.text, open_start=True, open_end=True)


def _pattern(value: Value) -> Pattern:
    last = len(value.text) - 1
    indexes = {star.index for star in value.stars}
    open_start, open_end = 0 in indexes, last in indexes
    text = value.text[open_start : len(value.text) - open_end]
    inner = [star for star in value.stars if 0 < star.index < last or not text]
    if inner:
        remedy = r"it may stand at the beginning and the end of a text; write \* in quotes for a * itself"
        raise InvalidFilter(inner[0].position, "wildcard within a text", remedy)
    return Pattern(text, open_start, open_end)


def _stray_star(value: Value) -> InvalidFilter:
    return InvalidFilter(
        value.stars[0].position,
        "wildcard where none may be",
        r"= and != and : take them; write \* in quotes for a * itself",
    )


def _access_level(path: Path, _: TokenKind, value: Value) -> Expression:
    if value.text not in ACCESS_LEVELS:
        problem = f"no access level {shown(value.text)}"
        raise InvalidFilter(value.start, problem, f"they are {', '.join(ACCESS_LEVELS)}")
    return Compare(path, Comparator.EQUAL, Text(value.text))


def _texts(path: Path, _: TokenKind, value: Value) -> Expression:
    return Has(path, _pattern(value) if value.stars else Text(value.text))


def _time(path: Path, comparator: TokenKind, value: Value) -> Expression:
    if value.is_bare("null") and comparator is not TokenKind.HAS:
        return _unset(path, comparator, value)
    if value.stars:
        raise _stray_star(value)
    try:
        time = values.time(value.text)
    except ValueError as error:
        raise InvalidFilter(
            value.start, f"{shown(value.text)} is no time that {path.field} can have", str(error)
        ) from None
    return Compare(path, _COMPARATORS[comparator], Time(time))


def _integer(path: Path, comparator: TokenKind, value: Value) -> Expression:
    integer = values.integer(value.text)
    if integer is None:
        problem = f"{shown(value.text)} where {path.field} takes a number"
        raise InvalidFilter(value.start, problem, "write a whole number of at most 64 bits")
    return Compare(path, _COMPARATORS[comparator], Integer(integer))


def _source(_: Path, __: TokenKind, value: Value) -> Expression:
    part = MEMORIES.resolve([SOURCE, value.text])
    if part is None:
        names = ", ".join(name for name in FIELDS if name.startswith(f"{SOURCE}."))
        raise InvalidFilter(value.start, f"source has no field {shown(value.text)}", f"its fields are {names}")
    return Present(part)


def _metadata(path: Path, comparator: TokenKind, value: Value) -> Expression:
    is_text = value.quoted or value.stars or not path.keys  # what metadata itself has are its keys
    literal = Text(value.text) if is_text else _bare_literal(value)
    if comparator is TokenKind.HAS:
        return Has(path, _pattern(value) if value.stars else literal)
    if isinstance(literal, Text):
        return _text_comparison(path, comparator, value)
    if comparator is not TokenKind.EQUAL and not isinstance(literal, Number):
        raise InvalidFilter(
            value.start, f"{value.text} has no order", "numbers and texts have one; = and != take any value"
        )
    return Compare(path, _COMPARATORS[comparator], literal)


def _bare_literal(value: Value) -> Text | Number | Boolean | Null:
    """Return what *value*, which has no quotes, is in JSON, or else as a text."""
    if value.text in _CONSTANTS:
        return _CONSTANTS[value.text]
    if values.is_duration(value.text):
        remedy = "durations are not supported; write a number, or quote the text"
        raise InvalidFilter(value.start, f"duration {shown(value.text)}", remedy)
    try:
        number = values.number(value.text)
    except ValueError as error:
        raise InvalidFilter(value.start, f"number {shown(value.text)}", str(error)) from None
    return Text(value.text) if number is None else Number(number)


def _with_dots(segments: Sequence[Token]) -> list[Token]:
    dotted = [segments[0]]
    for segment in segments[1:]:
        dotted += [Token(TokenKind.DOT, segment.start - 1, segment.start, spaced=False), segment]
    return dotted


_READERS: dict[FieldKind, Callable[[Path, TokenKind, Value], Expression]] = {
    FieldKind.TEXT: _text,
    FieldKind.ACCESS_LEVEL: _access_level,
    FieldKind.TEXTS: _texts,
    FieldKind.TIME: _time,
    FieldKind.INTEGER: _integer,
    FieldKind.MESSAGE: _source,
    FieldKind.METADATA: _metadata,
}
