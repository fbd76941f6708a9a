"""What requests may carry already and this version does not do yet."""

from services.mesh.errors import InvalidInput, Violation


def refuse_unbuilt(field: str, value: object, description: str) -> None:
    """Raise ``InvalidInput`` for a *field* that has a *value*; *description* says what would be right."""
    if value:
        raise InvalidInput(f"{field} {description}", violations=[Violation(field, description)])
