"""Reads questions with Cortex Analyst, over REST."""

from services.analyst.backends.cortex.analyst import CortexAnalyst
from services.analyst.backends.cortex.answer import AnalystAnswerUnusable, CortexAnalystFailed
from services.analyst.backends.cortex.sources import inline, source_of, staged, view

__all__ = ["AnalystAnswerUnusable", "CortexAnalyst", "CortexAnalystFailed", "inline", "source_of", "staged", "view"]
