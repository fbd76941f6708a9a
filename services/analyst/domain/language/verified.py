"""Verified queries: a question that says the same as one somebody approved gets that query, and the answer says so."""

from datetime import date

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.answer import Similarities
from services.analyst.domain.language.lexemes import NOUN, NUM, PERIOD, QUOTE, UNKNOWN, VALUE, WEEKDAYS, paths
from services.analyst.domain.language.vocabulary import Vocabulary
from services.analyst.domain.language.words import MAX_TOKENS, tokenize
from services.analyst.domain.semantic_model.model import SemanticModel, VerifiedQuery

_NEAR = 0.9  # cosine; only questions that also hold the same names, values, numbers and operators are compared
_SILENT = {lexicon.FILL, lexicon.ASK, lexicon.AUX, lexicon.PREP, lexicon.REL, "mark"}
_ORDERED = {VALUE, NUM, PERIOD, WEEKDAYS, QUOTE, UNKNOWN}


class VerifiedQueries:
    """The verified queries of one model, by what their questions say."""

    def __init__(self, model: SemanticModel, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._queries = model.verified_queries
        self._exact = {_normal(query.question): query for query in reversed(self._queries)}

    def match(self, question: str, today: date, similar: Similarities | None) -> VerifiedQuery | None:
        """Return the query for a question that is the same letter for letter, or means the same by all its words and its vector."""
        exact = self._exact.get(_normal(question))
        if exact is not None or similar is None:
            return exact
        best = max(self._queries, key=lambda query: similar.verified_queries.get(query.name, -1.0), default=None)
        if best is None or similar.verified_queries.get(best.name, -1.0) < _NEAR:
            return None
        return best if self._content(question, today) == self._content(best.question, today) else None

    def _content(self, question: str, today: date) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the meaningful words of a question: in any order, and those whose order matters in theirs."""
        tokens = tokenize(question)[:MAX_TOKENS]
        path = next(paths(tokens, self._vocabulary, today), None)
        lexemes = [lexeme for lexeme in path.lexemes if lexeme.kind not in _SILENT] if path else []
        said = []
        for lexeme in lexemes:
            if lexeme.kind == NOUN:
                lowest = min(meaning.cost for meaning in lexeme.meanings)
                said.append(
                    "|".join(sorted(f"{m.kind}.{m.table}.{m.name}" for m in lexeme.meanings if m.cost == lowest))
                )
            elif lexeme.kind in _ORDERED:
                said.append(lexeme.text.casefold())
            else:
                said.append(f"{lexeme.kind}:{lexeme.key}")
        ordered = tuple(lexeme.text.casefold() for lexeme in lexemes if lexeme.kind in _ORDERED)
        return tuple(sorted(said)), ordered


def _normal(question: str) -> str:
    return " ".join(
        token.text.casefold() for token in tokenize(question) if token.norm[:1].isalnum() or token.text in "<>=!=%"
    )
