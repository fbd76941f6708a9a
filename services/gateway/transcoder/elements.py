"""Cuts streamed request bodies into elements in constant memory: NDJSON lines, JSON array members."""

import re
from collections.abc import AsyncIterator, Iterator

from services.gateway.transcoder.errors import bad_request
from services.gateway.transcoder.request import too_large

_WHITESPACE = b" \t\r\n"
_BEFORE = 0  # nothing but whitespace so far
_VALUE = 1  # inside an element
_FIRST = 2  # after "[": an element or "]"
_NEXT = 3  # after ",": an element
_AFTER = 4  # after "]"

_SEPARATORS = (b",", b"]")
_DEPTH = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_MARK = re.compile(rb'["\\{}\[\],]')


async def ndjson_lines(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[tuple[str, bytes]]:
    """Yield each non-blank line with its name for errors; a last line needs no newline."""
    number = 0
    rest = bytearray()
    async for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            number += 1
            line = bytes(rest) + chunk[start:end] if rest else chunk[start:end]
            rest.clear()
            start = end + 1
            if len(line) > limit:
                raise too_large(f"line {number}", limit)
            if line.strip(_WHITESPACE):
                yield f"line {number}", line
        rest += chunk[start:]
        if len(rest) > limit:
            raise too_large(f"line {number + 1}", limit)
    if rest.strip(_WHITESPACE):
        yield f"line {number + 1}", bytes(rest)


async def array_elements(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[tuple[str, bytes]]:
    """Yield each member of one JSON array with its name for errors."""
    scanner = ArrayScanner(limit)
    async for chunk in chunks:
        for element in scanner.feed(chunk):
            yield f"element {scanner.count}", element
    scanner.finish()


class ArrayScanner:
    """Finds the members of a JSON array by depth, strings and escapes; their inside is not checked."""

    def __init__(self, limit: int) -> None:
        self.count = 0
        self._limit = limit
        self._state = _BEFORE
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._element = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the elements that end in *chunk*."""
        at = 0
        while at < len(chunk):
            if self._state == _VALUE:
                end, done = self._scan(chunk, at)
                self._element += chunk[at:end]
                if len(self._element) > self._limit:
                    raise too_large(f"element {self.count + 1}", self._limit)
                at = end
                if done:
                    yield self._take(chunk[at : at + 1])
                    at += 1
            else:
                at = self._between(chunk, at)

    def _between(self, chunk: bytes, at: int) -> int:
        """Read one byte outside of elements; return the next position."""
        byte = chunk[at : at + 1]
        if byte in (b" ", b"\t", b"\r", b"\n"):
            return at + 1
        if self._state == _BEFORE and byte == b"[":
            self._state = _FIRST
        elif self._state == _FIRST and byte == b"]":
            self._state = _AFTER
        elif self._state in {_FIRST, _NEXT} and byte not in _SEPARATORS:
            self._state = _VALUE
            return at
        else:
            raise _broken(f"unexpected {byte.decode('latin-1')!a} around element {self.count + 1}")
        return at + 1

    def _scan(self, chunk: bytes, at: int) -> tuple[int, bool]:
        """Return where the element stops in *chunk*, and whether a separator of the array stands there."""
        if self._escaped:
            self._escaped = False
            at += 1
        while (match := _MARK.search(chunk, at)) is not None:
            mark, at = match[0], match.end()
            if self._in_string:
                at = self._string_mark(mark, at, len(chunk))
            elif mark == b'"':
                self._in_string = True
            elif self._depth == 0 and mark in _SEPARATORS:
                return match.start(), True
            else:
                self._depth += _DEPTH.get(mark, 0)
        return len(chunk), False

    def _string_mark(self, mark: bytes, at: int, size: int) -> int:
        """Read a mark inside a string; return where to go on."""
        if mark == b'"':
            self._in_string = False
        elif mark == b"\\":
            self._escaped = at == size  # the escaped byte comes with the next chunk
            return at + 1
        return at

    def _take(self, separator: bytes) -> bytes:
        element = bytes(self._element).strip(_WHITESPACE)
        self._element.clear()
        self.count += 1
        self._state = _NEXT if separator == b"," else _AFTER
        return element

    def finish(self) -> None:
        """Refuse a body that is no complete array."""
        if self._state != _AFTER:
            raise _broken("the body must be one complete array")


def _broken(reason: str) -> Exception:
    return bad_request([("", f"invalid JSON array: {reason}")])
