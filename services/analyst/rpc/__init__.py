"""AnalystService on the wire: wire -> domain -> wire; no rule, no query."""
