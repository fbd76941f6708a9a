"""What is compiled for message types: made once, complete before any thread sees it."""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Announce = Callable[[T], None]
"""Tells what a type will become before its fields are compiled, for types that hold themselves."""


class Compiled(Generic[T]):
    """Functions by message type.

    Large bodies are read in threads, so a type met for the first time is compiled under a lock and
    shown only when all that it refers to is complete.
    """

    def __init__(self, compile_type: Callable[[Any, Announce[T]], T]) -> None:
        self._compile = compile_type
        self._lock = threading.RLock()
        self._done: dict[str, T] = {}
        self._drafts: dict[str, T] = {}

    def get(self, descriptor: Any) -> T:
        """Return the function of a message type."""
        known = self._done.get(descriptor.full_name)
        return known if known is not None else self._make(descriptor)

    def _make(self, descriptor: Any) -> T:
        name: str = descriptor.full_name
        with self._lock:
            draft = self._drafts.get(name) or self._done.get(name)
            if draft is not None:
                return draft
            outermost = not self._drafts
            try:
                made = self._compile(descriptor, lambda early: self._drafts.__setitem__(name, early))
                self._drafts[name] = made
                if outermost:
                    self._done.update(self._drafts)
            finally:
                if outermost:
                    self._drafts.clear()
            return made
