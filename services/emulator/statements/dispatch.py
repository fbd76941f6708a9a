"""From the first words of a statement to what runs it; a statement that begins like none is a syntax error."""

from collections.abc import Callable
from dataclasses import dataclass, field

from services.emulator.engine.results import Result
from services.emulator.engine.session import LiveSession
from services.emulator.sql.compiler import Bind
from services.emulator.statements.reader import Reader


@dataclass(slots=True)
class Run:
    """One statement under way."""

    session: LiveSession
    text: str
    reader: Reader
    binds: list[Bind] = field(default_factory=list)
    describe_only: bool = False

    @property
    def account(self) -> object:
        return self.session.account


Statement = Callable[[Run], Result]
_STATEMENTS: dict[tuple[str, ...], Statement] = {}
_LONGEST = 6


def statement(*beginnings: str) -> Callable[[Statement], Statement]:
    """Register what runs statements that begin with any of these words."""

    def register(run: Statement) -> Statement:
        for words in beginnings:
            _STATEMENTS[tuple(words.split())] = run
        return run

    return register


def find(reader: Reader) -> Statement:
    """Return what runs the statement, the longest beginning first, with the reader after it."""
    words = tuple(reader.peek(index) for index in range(_LONGEST))
    for length in range(_LONGEST, 0, -1):
        if (found := _STATEMENTS.get(words[:length])) is not None:
            reader.at += length
            return found
    raise reader.wrong()
