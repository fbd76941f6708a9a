"""What requests may carry already and this version does not do yet."""

from services.mesh.errors import InvalidInput, Violation


def refuse_filter(text: str) -> None:
    """Raise ``InvalidInput`` for a filter."""
    if text:
        description = "must be empty: the filter language is not built in this version"
        raise InvalidInput(f"filter {description}", violations=[Violation("filter", description)])
