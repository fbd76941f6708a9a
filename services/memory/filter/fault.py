"""What is wrong with a filter, where, and what would be right."""

from services.mesh.errors import InvalidInput, Violation

_SHOWN = 40  # code points of the caller's text that a message repeats


class InvalidFilter(InvalidInput):
    """The filter cannot be understood; ``context["position"]`` is the 0-based code point where that shows."""

    reason = "INVALID_FILTER"

    def __init__(self, position: int, problem: str, remedy: str) -> None:
        description = f"{problem} at position {position}; {remedy}"
        super().__init__(
            f"filter: {description}", violations=[Violation("filter", description)], position=str(position)
        )


def shown(text: str) -> str:
    """Return *text* quoted for a message, cut if it is long."""
    return f'"{text}"' if len(text) <= _SHOWN else f'"{text[:_SHOWN]}…"'
