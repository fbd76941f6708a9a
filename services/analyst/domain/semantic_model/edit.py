"""Adds a verified query to a model's text, leaving every other byte as it was."""

import io

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from services.analyst.domain.semantic_model.finding import Finding
from services.analyst.domain.semantic_model.model import VerifiedQuery
from services.analyst.domain.semantic_model.yaml_tree import Node, tree
from services.mesh.errors import InvalidInput


def with_verified_query(text: str, query: VerifiedQuery) -> str:
    """Return *text* with *query* as the last of its verified queries. Raises ``InvalidInput`` when *text* is no YAML mapping."""
    if not text.endswith("\n"):
        text += "\n"
    root = tree(text)
    if isinstance(root, Finding) or root.pairs is None:
        raise InvalidInput("the semantic model is not a YAML mapping")
    present = next(((key, value) for key, value in root.pairs if key.text == "verified_queries"), None)
    if root.flow or (present and (present[1].flow or not present[1].items)):
        return _rewritten(text, query)
    lines = text.splitlines(keepends=True)
    if present is None:
        indent = " " * (root.column - 1)
        return "".join(lines) + f"{indent}verified_queries:\n{_block(query, indent + '  ')}"
    sequence = present[1]
    at = _end(sequence, lines)
    return "".join(lines[:at]) + _block(query, " " * (sequence.column - 1)) + "".join(lines[at:])


def _end(sequence: Node, lines: list[str]) -> int:
    """Return the index of the line after the sequence; blank lines and comments of what follows stay behind the new entry."""
    at = min(sequence.end_line - 1, len(lines))
    while at > 0 and _is_between(lines[at - 1], sequence.column - 1):
        at -= 1
    return at


def _is_between(line: str, indent: int) -> bool:
    """Tell whether a line is blank, or a comment too far left to be text inside a block scalar of the sequence."""
    bare = line.lstrip()
    return not bare or (bare.startswith("#") and len(line) - len(bare) <= indent)


def _entry(query: VerifiedQuery) -> dict[str, object]:
    entry: dict[str, object] = {"name": query.name, "question": query.question}
    if query.verified_at is not None:
        entry["verified_at"] = query.verified_at
    if query.verified_by:
        entry["verified_by"] = query.verified_by
    if query.use_as_onboarding_question:
        entry["use_as_onboarding_question"] = True
    return entry | {"sql": LiteralScalarString(query.sql) if "\n" in query.sql else query.sql}


def _block(query: VerifiedQuery, indent: str) -> str:
    yaml, out = YAML(), io.StringIO()
    yaml.width, yaml.allow_unicode = 1 << 16, True
    yaml.dump([_entry(query)], out)
    return "".join(indent + line if line.strip() else line for line in out.getvalue().splitlines(keepends=True))


def _rewritten(text: str, query: VerifiedQuery) -> str:
    """Return the text written anew, for a list that stands in brackets or is empty; comments and order stay."""
    yaml, out = YAML(), io.StringIO()
    yaml.preserve_quotes, yaml.width, yaml.allow_duplicate_keys = True, 1 << 16, True
    model = yaml.load(text)
    model["verified_queries"] = [*(model.get("verified_queries") or []), _entry(query)]
    yaml.dump(model, out)
    return out.getvalue()
