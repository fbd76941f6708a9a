"""The models of Cortex whose vectors have the width of the tables that keep them, and the spaces of these vectors."""

from dataclasses import dataclass
from typing import Final

from services.embedding.backends.cortex.pieces import PIECE_TOKENS
from services.embedding.domain.embedder import EmbeddingModel, InputKind

DIMENSION: Final = 768
THRESHOLD: Final = 0.7  # cosine from which a match is worth showing

_ARCTIC_QUERY = "Represent this sentence for searching relevant passages: "


@dataclass(frozen=True, slots=True)
class CortexModel:
    """A model, and what its authors put before texts of either kind when they run it themselves."""

    name: str
    query_prefix: str
    document_prefix: str = ""

    def space(self, *, prefixed: bool) -> str:
        """Return the name of the space; it tells apart all of ours that changes a vector, the model's revision being Snowflake's."""
        return f"{self.name}@cortex/{DIMENSION}/mean{PIECE_TOKENS}/{'own' if prefixed else 'none'}"

    def prefix(self, kind: InputKind) -> str:
        """Return what its authors put before a text."""
        return self.query_prefix if kind is InputKind.QUERY else self.document_prefix

    def described(self, *, prefixed: bool) -> EmbeddingModel:
        """Return the model in the words of the service."""
        return EmbeddingModel(
            space=self.space(prefixed=prefixed),
            model=self.name,
            dimension=DIMENSION,
            window_tokens=PIECE_TOKENS,
            threshold=THRESHOLD,
        )


MODELS: Final = (
    CortexModel("snowflake-arctic-embed-m-v1.5", _ARCTIC_QUERY),
    CortexModel("snowflake-arctic-embed-m", _ARCTIC_QUERY),
    CortexModel("e5-base-v2", "query: ", "passage: "),
)
MODEL_NAMES: Final = tuple(model.name for model in MODELS)
