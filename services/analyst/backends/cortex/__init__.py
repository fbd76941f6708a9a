"""Reads questions with Cortex Analyst, over REST."""

from services.analyst.backends.cortex.analyst import CortexAnalyst
from services.analyst.backends.cortex.answer import CortexAnalystFailed, CortexAnswerUnusable
from services.analyst.backends.cortex.sources import inline, source_of, staged, view

__all__ = ["CortexAnalyst", "CortexAnalystFailed", "CortexAnswerUnusable", "inline", "source_of", "staged", "view"]
