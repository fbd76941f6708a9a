"""A question in plain English, read by a grammar over a semantic model's own words, becomes SQL or an honest refusal."""

from services.analyst.domain.language.answer import (
    Answer,
    Distinct,
    OutputColumn,
    Refusal,
    Similarities,
    Turn,
    Values,
)
from services.analyst.domain.language.reader import Reader, read

__all__ = ["Answer", "Distinct", "OutputColumn", "Reader", "Refusal", "Similarities", "Turn", "Values", "read"]
