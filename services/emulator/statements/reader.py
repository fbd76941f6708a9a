"""Reads a statement word by word, for everything that is not a query or DML."""

from sqlglot.tokenizer_core import Token, TokenType

from services.emulator import errors
from services.emulator.sql.dialect import Dialect

_DIALECT = Dialect()
_STRINGS = {TokenType.STRING, TokenType.RAW_STRING, TokenType.HEREDOC_STRING}


class Reader:
    """A place in a statement; ``accept`` moves it on, ``expect`` refuses what does not fit."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[Token] = [
            token for token in _DIALECT.tokenize(text) if token.token_type != TokenType.SEMICOLON
        ]
        self.at = 0

    @property
    def done(self) -> bool:
        return self.at >= len(self.tokens)

    def peek(self, ahead: int = 0) -> str:
        """Return the word in sight in upper case; empty at the end and for quoted names and strings."""
        if self.at + ahead >= len(self.tokens):
            return ""
        token = self.tokens[self.at + ahead]
        if token.token_type in _STRINGS or token.token_type == TokenType.IDENTIFIER:
            return ""
        return token.text.upper()

    def accept(self, *words: str) -> bool:
        """Step over *words* if all of them come next."""
        if all(self.peek(index) == word for index, word in enumerate(words)):
            self.at += len(words)
            return True
        return False

    def accept_any(self, *words: str) -> str:
        """Step over the one of *words* that comes next and return it."""
        word = self.peek()
        if word in words:
            self.at += 1
            return word
        return ""

    def expect(self, *words: str) -> None:
        for word in words:
            if not self.accept(word):
                raise self.wrong()

    def wrong(self) -> errors.SqlError:
        """Return the refusal of what stands here."""
        if self.done:
            line, column = self.end()
            return errors.syntax(line, column, "<EOF>")
        token = self.tokens[self.at]
        return errors.syntax(token.line, max(0, token.col - len(token.text)), token.text)

    def end(self) -> tuple[int, int]:
        return (self.tokens[-1].line, self.tokens[-1].col) if self.tokens else (1, 0)

    def finish(self) -> None:
        """Refuse anything that is left."""
        if not self.done:
            raise self.wrong()

    def name(self) -> str:
        """Return one identifier, folded."""
        if self.done:
            raise self.wrong()
        token = self.tokens[self.at]
        if token.token_type == TokenType.IDENTIFIER:
            self.at += 1
            return token.text
        if token.token_type in _STRINGS or not (token.text[:1].isalpha() or token.text[:1] == "_"):
            raise self.wrong()
        self.at += 1
        return token.text.upper()

    def path(self) -> tuple[str, ...]:
        """Return a dotted name; IDENTIFIER('...') too."""
        if self.peek() == "IDENTIFIER" and self.peek(1) == "(":
            self.at += 2
            text = self.string()
            self.expect(")")
            return Reader(text).path()
        parts = [self.name()]
        while self.accept("."):
            if self.peek() == ".":
                self.at += 1
                parts.append("PUBLIC")
            parts.append(self.name())
        return tuple(parts)

    def string(self) -> str:
        """Return a quoted text."""
        if self.done or self.tokens[self.at].token_type not in _STRINGS:
            raise self.wrong()
        self.at += 1
        return self.tokens[self.at - 1].text

    def is_string(self) -> bool:
        return not self.done and self.tokens[self.at].token_type in _STRINGS

    def integer(self) -> int:
        sign = -1 if self.accept("-") else 1
        if self.done or not self.tokens[self.at].text.isdigit():
            raise self.wrong()
        self.at += 1
        return sign * int(self.tokens[self.at - 1].text)

    def value(self) -> object:
        """Return a string, number, truth value or bare word."""
        if self.is_string():
            return self.string()
        if self.peek() == "-" or self.peek().isdigit():
            return self.integer()
        word = self.peek()
        if word in {"TRUE", "FALSE"}:
            self.at += 1
            return word == "TRUE"
        self.at += 1
        if not word:
            raise self.wrong()
        return word

    def rest(self) -> str:
        """Return the text from here to the end."""
        if self.done:
            return ""
        start = self.tokens[self.at].start
        self.at = len(self.tokens)
        return self.text[start:].strip().rstrip(";").strip()

    def parenthesised(self) -> str:
        """Return the text between a pair of parentheses, which may nest."""
        self.expect("(")
        start, depth = self.tokens[self.at].start if not self.done else 0, 1
        while not self.done:
            word = self.peek()
            depth += (word == "(") - (word == ")")
            self.at += 1
            if depth == 0:
                return self.text[start : self.tokens[self.at - 1].start].strip()
        raise self.wrong()

    def between(self, first: int) -> str:
        """Return the text from token *first* to the one before here."""
        return self.text[self.tokens[first].start : self.tokens[self.at - 1].end + 1]

    def options(self) -> dict[str, object]:
        """Return ``NAME = value`` pairs up to the end or to what is none."""
        found: dict[str, object] = {}
        while self.peek() and self.peek(1) == "=":
            key = self.name()
            self.at += 1
            if self.peek() == "(":
                found[key] = self.parenthesised()
            else:
                found[key] = self.value()
            self.accept(",")
        return found
