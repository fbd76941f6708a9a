"""Embeds with Cortex: over REST, or by SQL where only that is granted."""

from services.embedding.backends.cortex.calls import Calls, CortexAnswerUnusable, RestCalls, SqlCalls
from services.embedding.backends.cortex.embedder import CortexEmbedder, Cost
from services.embedding.backends.cortex.models import MODEL_NAMES

__all__ = ["MODEL_NAMES", "Calls", "CortexAnswerUnusable", "CortexEmbedder", "Cost", "RestCalls", "SqlCalls"]
