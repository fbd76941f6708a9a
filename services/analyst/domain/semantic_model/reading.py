"""Reads the YAML of a semantic model, either dialect, into the model and what there is to say about it."""

import re
from dataclasses import dataclass, replace

from services.analyst.domain.semantic_model.entries import Entries
from services.analyst.domain.semantic_model.finding import Finding, Severity
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
from services.analyst.domain.semantic_model.structure import check_structure
from services.analyst.domain.semantic_model.yaml_tree import Node, tree

_AGGREGATIONS = {"sum", "avg", "median", "min", "max", "count", "count_distinct", "aggregation_type_unknown"}


@dataclass(frozen=True, slots=True)
class Parsed:
    """The model, unless an error is among the findings that leaves none; findings in the order of the text."""

    model: SemanticModel | None
    findings: tuple[Finding, ...]


def parse(text: str) -> Parsed:
    """Read a semantic model of either dialect. Never raises: what cannot be read is a finding with its place.

    The model is None when the text is no YAML mapping or lacks a name or tables; other errors leave out the part that has them.
    """
    root = tree(text)
    if isinstance(root, Finding):
        return Parsed(None, (root,))
    reading = _Reading()
    model = reading.model(root)
    findings = reading.findings
    if model is not None:
        findings = [*findings, *check_structure(model, reading.places)]
    return Parsed(model, tuple(sorted(findings, key=lambda finding: (finding.line, finding.column))))


class _Reading(Entries):
    def model(self, root: Node) -> SemanticModel | None:
        if root.pairs is None:
            self._say(Severity.ERROR, "a semantic model is a mapping with name and tables", "", root)
            return None
        top = self._mapping(root, "", "model")
        name = self._text(top, "name", "", required=root)
        tables = tuple(self._each(top, "tables", "", self._table))
        if "tables" not in top:
            self._say(Severity.ERROR, "tables is missing", "", root)
        if not name or not tables:
            return None
        module = self._mapping(top.get("module_custom_instructions"), "module_custom_instructions", "")
        return SemanticModel(
            name=name,
            tables=tables,
            description=self._text(top, "description", ""),
            relationships=tuple(self._each(top, "relationships", "", self._relationship)),
            metrics=tuple(self._each(top, "metrics", "", self._metric)),
            verified_queries=tuple(self._each(top, "verified_queries", "", self._verified_query)),
            custom_instructions=self._text(top, "custom_instructions", ""),
            sql_generation=self._text(module, "sql_generation", "module_custom_instructions"),
            question_categorization=self._text(module, "question_categorization", "module_custom_instructions"),
        )

    def _table(self, node: Node, path: str) -> LogicalTable | None:
        entry = self._mapping(node, path, "table")
        name = self._text(entry, "name", path, required=node)
        base = self._base_table(entry.get("base_table"), f"{path}.base_table", node)
        if not name or base is None:
            return None
        flat = self._each(entry, "columns", path, self._flat)
        keys = self._list(entry.get("unique_keys"), f"{path}.unique_keys")
        return LogicalTable(
            name=name,
            base_table=base,
            description=self._text(entry, "description", path),
            synonyms=self._synonyms(entry, path),
            primary_key=self._key(entry.get("primary_key"), f"{path}.primary_key"),
            unique_keys=tuple(self._key(key, f"{path}.unique_keys[{at}]") for at, key in enumerate(keys)),
            dimensions=(*self._columns(entry, "dimensions", path, Kind.DIMENSION), *_of(flat, Kind.DIMENSION)),
            time_dimensions=(*self._columns(entry, "time_dimensions", path, Kind.TIME), *_of(flat, Kind.TIME)),
            facts=(
                *self._columns(entry, "facts", path, Kind.FACT),
                *self._columns(entry, "measures", path, Kind.FACT),
                *_of(flat, Kind.FACT),
            ),
            metrics=tuple(self._each(entry, "metrics", path, self._metric)),
            filters=tuple(self._each(entry, "filters", path, self._filter)),
        )

    def _base_table(self, node: Node | None, path: str, table: Node) -> BaseTable | None:
        if node is None:
            self._say(Severity.ERROR, "base_table is missing: give database, schema and table", path, table)
            return None
        entry = self._mapping(node, path, "base_table")
        parts = {key: self._text(entry, key, path) for key in ("table", "database", "schema", "definition")}
        if not parts["table"] and not parts["definition"]:
            self._say(Severity.ERROR, "base_table names no table", path, node)
            return None
        return BaseTable(**parts)

    def _columns(self, entry: dict[str, Node], key: str, path: str, kind: Kind) -> tuple[Column, ...]:
        return tuple(self._each(entry, key, path, lambda node, at: self._column(node, at, kind)))

    def _flat(self, node: Node, path: str) -> Column | None:
        """Read an entry of the internal flat form, which says by ``kind`` what it is."""
        kinds = {"dimension": Kind.DIMENSION, "time_dimension": Kind.TIME, "measure": Kind.FACT, "fact": Kind.FACT}
        written = next((value.text for key, value in node.pairs or [] if key.text == "kind"), None) or ""
        if written.lower() not in kinds:
            self._say(Severity.WARNING, f"kind {written!r} of a column is not read", path, node)
            return None
        trimmed = replace(node, pairs=[pair for pair in node.pairs or [] if pair[0].text != "kind"])
        return self._column(trimmed, path, kinds[written.lower()])

    def _column(self, node: Node, path: str, kind: Kind) -> Column | None:
        entry = self._mapping(node, path, kind.value)
        name = self._text(entry, "name", path, required=node)
        if not name:
            return None
        if "expr" not in entry:
            self._say(Severity.WARNING, f"{name} has no expr; its own name is taken for it", path, node)
        aggregation = self._text(entry, "default_aggregation", path).lower()
        if aggregation not in _AGGREGATIONS | {""}:
            self._say(
                Severity.WARNING,
                f"default_aggregation {aggregation!r} is not known",
                path,
                entry["default_aggregation"],
            )
        labels = self._strings(entry.get("labels"), f"{path}.labels")
        return Column(
            name=name,
            kind=kind,
            expr=self._text(entry, "expr", path) or name,
            data_type=self._text(entry, "data_type", path).upper(),
            description=self._text(entry, "description", path),
            synonyms=self._synonyms(entry, path),
            sample_values=tuple(
                v for v in self._strings(entry.get("sample_values"), f"{path}.sample_values") if v.strip()
            ),
            is_enum=self._flag(entry, "is_enum", path),
            unique=self._flag(entry, "unique", path),
            default_aggregation=aggregation if aggregation in _AGGREGATIONS - {"aggregation_type_unknown"} else "",
            private=self._text(entry, "access_modifier", path).lower() == "private_access",
            is_filter="filter" in [label.lower() for label in labels],
        )

    def _metric(self, node: Node, path: str) -> Metric | None:
        entry = self._mapping(node, path, "metric")
        name, expr = self._text(entry, "name", path, required=node), self._text(entry, "expr", path, required=node)
        dimensions = self._list(entry.get("non_additive_dimensions"), f"{path}.non_additive_dimensions")
        if not name or not expr:
            return None
        return Metric(
            name=name,
            expr=expr,
            description=self._text(entry, "description", path),
            synonyms=self._synonyms(entry, path),
            private=self._text(entry, "access_modifier", path).lower() == "private_access",
            non_additive_dimensions=tuple(
                self._text(self._mapping(each, path, ""), "dimension", path)
                if each.pairs is not None
                else each.text or ""
                for each in dimensions
            ),
            using_relationships=tuple(self._strings(entry.get("using_relationships"), f"{path}.using_relationships")),
        )

    def _filter(self, node: Node, path: str) -> Filter | None:
        entry = self._mapping(node, path, "filter")
        name, expr = self._text(entry, "name", path, required=node), self._text(entry, "expr", path, required=node)
        if not name or not expr:
            return None
        return Filter(name, expr, self._text(entry, "description", path), self._synonyms(entry, path))

    def _relationship(self, node: Node, path: str) -> Relationship | None:
        entry = self._mapping(node, path, "relationship")
        name, left, right = (
            self._text(entry, key, path, required=node) for key in ("name", "left_table", "right_table")
        )
        pairs = []
        for at, each in enumerate(self._list(entry.get("relationship_columns"), f"{path}.relationship_columns")):
            pair = self._mapping(each, f"{path}.relationship_columns[{at}]", "")
            if (kind := self._text(pair, "type", path).lower()) and kind != "equal":
                self._say(
                    Severity.WARNING, f"a relationship by {kind} is not used: only equal columns join", path, each
                )
                return None
            pairs.append(
                (
                    self._text(pair, "left_column", path, required=each),
                    self._text(pair, "right_column", path, required=each),
                )
            )
        if not pairs:
            self._say(Severity.ERROR, "relationship_columns is missing", path, node)
        if not (name and left and right and pairs and all(one and other for one, other in pairs)):
            return None
        return Relationship(
            name,
            left,
            right,
            tuple(pairs),
            self._text(entry, "join_type", path).lower(),
            self._text(entry, "relationship_type", path).lower(),
            self._synonyms(entry, path),
        )

    def _verified_query(self, node: Node, path: str) -> VerifiedQuery | None:
        entry = self._mapping(node, path, "verified_query")
        name, question, sql = (self._text(entry, key, path, required=node) for key in ("name", "question", "sql"))
        at = self._text(entry, "verified_at", path)
        if at and not re.fullmatch(r"\d{1,12}", at):
            self._say(
                Severity.WARNING,
                f"verified_at is seconds since 1970, got {at[:40]!r}",
                f"{path}.verified_at",
                entry["verified_at"],
            )
        if not (name and question and sql):
            return None
        return VerifiedQuery(
            name,
            question,
            sql,
            int(at) if re.fullmatch(r"\d{1,12}", at) else None,
            self._text(entry, "verified_by", path),
            self._flag(entry, "use_as_onboarding_question", path),
        )


def _of(columns: list[Column], kind: Kind) -> tuple[Column, ...]:
    return tuple(column for column in columns if column.kind is kind)
