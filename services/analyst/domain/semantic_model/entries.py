"""The entries of a YAML mapping, read by key with findings about what is missing, unknown or of the wrong shape."""

from collections.abc import Callable
from typing import TypeVar

from services.analyst.domain.semantic_model.finding import Finding, Places, Severity
from services.analyst.domain.semantic_model.yaml_tree import Node

_COMMON = ("name", "synonyms", "description", "tags")
_COLUMN = (*_COMMON, "expr", "data_type", "unique", "sample_values", "access_modifier", "labels")
_KEYS = {
    "model": "name description tables relationships metrics verified_queries custom_instructions module_custom_instructions "
    "variables max_staleness tags comments",
    "table": "name synonyms description base_table primary_key unique_keys foreign_keys dimensions time_dimensions facts measures "
    "metrics filters columns tags",
    "relationship": "name left_table right_table relationship_columns join_type relationship_type description synonyms",
    "verified_query": "name question sql verified_at verified_by use_as_onboarding_question semantic_model_name",
    "metric": " ".join(
        (*_COMMON, "expr", "access_modifier", "non_additive_dimensions", "using_relationships", "filter", "data_type")
    ),
    "filter": " ".join((*_COMMON, "expr")),
    "base_table": "database schema table definition",
    "dimension": " ".join((*_COLUMN, "is_enum", "cortex_search_service", "cortex_search_service_name")),
    "time_dimension": " ".join((*_COLUMN, "is_enum")),
    "fact": " ".join((*_COLUMN, "default_aggregation", "is_enum")),
}


T = TypeVar("T")


class Entries:
    """What is read of one text: its findings, and where each thing of the model stands."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.places = Places()

    def _each(self, entry: dict[str, Node], key: str, path: str, read: Callable[[Node, str], T | None]) -> list[T]:
        here = f"{path}.{key}" if path else key
        found = []
        for at, node in enumerate(self._list(entry.get(key), here)):
            if node.pairs is None:
                self._say(Severity.ERROR, "a mapping is expected", f"{here}[{at}]", node)
            elif (thing := read(node, f"{here}[{at}]")) is not None:
                self.places.stand(thing, f"{here}[{at}]")
                found.append(thing)
        return found

    def _mapping(self, node: Node | None, path: str, kind: str) -> dict[str, Node]:
        """Return a mapping's entries; of a key written twice the last counts, as everywhere in YAML loaders."""
        if node is None or node.is_null:
            return {}
        if node.pairs is None:
            self._say(Severity.ERROR, "a mapping is expected", path, node)
            return {}
        self.places.put(path, node.line, node.column)
        known, entries = set(_KEYS.get(kind, "").split()), dict[str, Node]()
        for key, value in node.pairs:
            name = key.text or ""
            if name in entries:
                self._say(Severity.WARNING, f"{name[:80]} is given twice; the last one counts", path, key)
            elif known and name not in known:
                self._say(Severity.WARNING, f"{name[:80]!r} is not known here and is ignored", path, key)
            entries[name] = value
            self.places.put(f"{path}.{name}" if path else name, value.line, value.column)
        return entries

    def _list(self, node: Node | None, path: str) -> list[Node]:
        if node is None or node.is_null:
            return []
        if node.items is None:
            self._say(Severity.ERROR, "a list is expected", path, node)
            return []
        return node.items

    def _strings(self, node: Node | None, path: str) -> list[str]:
        strings = []
        for each in self._list(node, path):
            if each.text is None:
                self._say(Severity.WARNING, "a plain value is expected", path, each)
            elif not each.is_null:
                strings.append(each.text)
        return strings

    def _synonyms(self, entry: dict[str, Node], path: str) -> tuple[str, ...]:
        return tuple(word for word in self._strings(entry.get("synonyms"), f"{path}.synonyms") if word.strip())

    def _key(self, node: Node | None, path: str) -> tuple[str, ...]:
        return tuple(self._strings(self._mapping(node, path, "").get("columns"), f"{path}.columns"))

    def _flag(self, entry: dict[str, Node], key: str, path: str) -> bool:
        text = self._text(entry, key, path).lower()
        if text not in {"", "true", "false", "yes", "no", "on", "off"}:
            self._say(Severity.WARNING, f"{key} is true or false, got {text[:40]!r}", f"{path}.{key}", entry[key])
        return text in {"true", "yes", "on"}

    def _text(self, entry: dict[str, Node], key: str, path: str, required: Node | None = None) -> str:
        node = entry.get(key)
        here = f"{path}.{key}" if path else key
        if node is None or node.is_null:
            if required is not None:
                self._say(Severity.ERROR, f"{key} is missing", path, required)
            return ""
        if node.text is None:
            self._say(
                Severity.ERROR,
                f"{key} is a plain value, not a {'list' if node.items is not None else 'mapping'}",
                here,
                node,
            )
            return ""
        text = node.text.strip()
        if required is not None and not text:
            self._say(Severity.ERROR, f"{key} is empty", here, node)
        return text

    def _say(self, severity: Severity, message: str, path: str, node: Node) -> None:
        self.findings.append(Finding(severity, message, path, node.line, node.column))
