"""What the data say against a semantic model, each finding at its line."""

import re
from collections.abc import Iterable
from dataclasses import replace

from sqlglot import exp

from services.analyst.domain.language import Values
from services.analyst.domain.ports import LoadedModel
from services.analyst.domain.semantic_model import Finding, check_data, check_verified_queries
from services.analyst.domain.semantic_model.yaml_tree import Node, tree
from services.analyst.domain.statements import Statements
from services.mesh.errors import MemoryBoxError

_STEP = re.compile(r"\w+")  # of a path such as tables[0].primary_key


def against_data(model: LoadedModel, values: Values, statements: Statements) -> list[Finding]:
    """Return keys that repeat, joins that multiply rows, verified queries that do not run. Blocks; run it on a thread."""

    def run(query: exp.Query) -> str | None:
        try:
            statements.run_blocking(query, model.allowed, 1)
        except MemoryBoxError as error:
            return error.message
        return None

    return [*check_data(model.model, values), *check_verified_queries(model.model, run)]


def located(findings: Iterable[Finding], text: str) -> list[Finding]:
    """Return *findings* that know only their path with the place in *text* where that is, or the nearest thing around it."""
    root = tree(text)
    if isinstance(root, Finding):
        return list(findings)
    return [item if item.line else _at(item, root) for item in findings]


def _at(finding: Finding, node: Node) -> Finding:
    for step in _STEP.findall(finding.path):
        following = _child(node, step)
        if following is None:
            break
        node = following
    return replace(finding, line=node.line, column=node.column)


def _child(node: Node, step: str) -> Node | None:
    if step.isdigit():
        items = node.items or []
        return items[int(step)] if int(step) < len(items) else None
    return next((value for key, value in node.pairs or [] if key.text == step), None)
