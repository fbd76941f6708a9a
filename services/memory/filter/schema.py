"""The fields that a filter may speak of, in both spellings, and what each takes."""

import difflib
from collections.abc import Mapping, Sequence
from enum import Enum, auto

from services.memory.filter.tree import Path

METADATA = "metadata"
SOURCE = "source"
CONTENT = "content"
MAX_KEYS = 8  # metadata is at most this deep
ACCESS_LEVELS = ("PRIVATE", "ROLE", "PUBLIC")


class FieldKind(Enum):
    """What a field holds."""

    TEXT = auto()  # '' when unset
    ACCESS_LEVEL = auto()
    TEXTS = auto()
    TIME = auto()
    INTEGER = auto()
    MESSAGE = auto()
    METADATA = auto()


FIELDS: dict[str, FieldKind] = {
    "memory_id": FieldKind.TEXT,
    "external_id": FieldKind.TEXT,
    CONTENT: FieldKind.TEXT,
    "content_type": FieldKind.TEXT,
    "owner_user": FieldKind.TEXT,
    "bucket": FieldKind.TEXT,
    "access_level": FieldKind.ACCESS_LEVEL,
    "reader_roles": FieldKind.TEXTS,
    "created_at": FieldKind.TIME,
    "updated_at": FieldKind.TIME,
    "event_time": FieldKind.TIME,
    "valid_from": FieldKind.TIME,
    "valid_until": FieldKind.TIME,
    "superseded_by": FieldKind.TEXT,
    "expires_at": FieldKind.TIME,
    "tags": FieldKind.TEXTS,
    SOURCE: FieldKind.MESSAGE,
    "source.uri": FieldKind.TEXT,
    "source.kind": FieldKind.TEXT,
    "source.parent_memory_ids": FieldKind.TEXTS,
    "revision": FieldKind.INTEGER,
    "embedding_space": FieldKind.TEXT,
    METADATA: FieldKind.METADATA,
}


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Schema:
    """The fields of one kind of thing; *searchable* says whether a text that stands alone is looked for in a content."""

    def __init__(self, fields: Mapping[str, FieldKind], *, searchable: bool) -> None:
        self.fields = fields
        self.searchable = searchable
        self._spellings = {
            spelling: name for name in fields for spelling in (name, ".".join(map(_camel_case, name.split("."))))
        }

    def resolve(self, segments: Sequence[str]) -> Path | None:
        """Return the path that *segments* (what stands between the dots) name, or None."""
        if segments[0] == METADATA and METADATA in self.fields:
            return Path(METADATA, tuple(segments[1:]))
        name = self._spellings.get(".".join(segments))
        return None if name is None else Path(name)

    def suggestion(self, segments: Sequence[str]) -> str:
        """Return what a caller who wrote *segments* should do, knowing that ``resolve`` knows no such field."""
        for length in range(min(len(segments) - 1, 2), 0, -1):  # no field's name has more than two parts
            known = self.resolve(segments[:length])
            if known is not None and self.fields[known.field] is not FieldKind.MESSAGE:
                return f"{known.field} has no fields of its own"
        name = ".".join(segments)
        camel = "_" not in name and not name.islower()
        spellings = [spelling for spelling in self._spellings if camel or self._spellings[spelling] == spelling]
        near = difflib.get_close_matches(name, spellings, 1)
        if near:
            return f"did you mean {near[0]}?"
        return _ELSEWHERE if self.searchable else f"there are {', '.join(self.fields)}"


_ELSEWHERE = (
    "keys of your own stand under metadata, as in metadata.topic; a text to be found in the content goes in quotes"
)
MEMORIES = Schema(FIELDS, searchable=True)
