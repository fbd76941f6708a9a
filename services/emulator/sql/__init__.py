"""Snowflake's SQL: parsed strictly, names and types resolved, then written again for the engine."""
