"""Semantic models: YAML in either dialect, read into one model with findings that name their line, and checked against data."""

from services.analyst.domain.semantic_model.edit import with_verified_query
from services.analyst.domain.semantic_model.finding import Finding, Severity
from services.analyst.domain.semantic_model.logical import expand
from services.analyst.domain.semantic_model.model import (
    BaseTable,
    Column,
    Filter,
    Kind,
    LogicalTable,
    Metric,
    Relationship,
    SemanticModel,
    VerifiedQuery,
)
from services.analyst.domain.semantic_model.reading import Parsed, parse
from services.analyst.domain.semantic_model.validation import check_data, check_verified_queries

__all__ = [
    "BaseTable",
    "Column",
    "Filter",
    "Finding",
    "Kind",
    "LogicalTable",
    "Metric",
    "Parsed",
    "Relationship",
    "SemanticModel",
    "Severity",
    "VerifiedQuery",
    "check_data",
    "check_verified_queries",
    "expand",
    "parse",
    "with_verified_query",
]
