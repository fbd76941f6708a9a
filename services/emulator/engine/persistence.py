"""The catalogue as text, so that it lies in the same file as the rows."""

import dataclasses
import json
from datetime import datetime
from typing import Any

from services.emulator.engine import objects
from services.emulator.engine.catalog import Catalog
from services.emulator.sql.types import SqlType

_CLASSES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        objects.Column,
        objects.Table,
        objects.Thing,
        objects.Schema,
        objects.Database,
        objects.Role,
        objects.User,
        objects.Warehouse,
        objects.Grant,
        SqlType,
    )
}
_KEPT = ("databases", "dropped", "roles", "users", "warehouses", "grants", "account_things", "next_table")


def dumped(catalog: Catalog) -> str:
    with catalog.lock:
        return json.dumps({name: _plain(getattr(catalog, name)) for name in _KEPT})


def loaded(text: str) -> Catalog:
    """Return the catalogue that *text* holds, without the temporary tables of sessions that ended."""
    catalog = Catalog()
    for name, value in json.loads(text).items():
        setattr(catalog, name, _value(value))
    return catalog


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one line a kind
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        facts = {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
        return {"!": type(value).__name__, **facts}
    if isinstance(value, datetime):
        return {"!": "at", "v": value.isoformat()}
    if isinstance(value, dict):
        return {"!": "map", "v": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, set | frozenset):
        return {"!": "set", "v": [_plain(item) for item in value]}
    if isinstance(value, tuple):
        return {"!": "row", "v": [_plain(item) for item in value]}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _value(value: Any) -> Any:  # noqa: PLR0911 - one line a kind
    if isinstance(value, list):
        return [_value(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value["!"]:
        case "at":
            return datetime.fromisoformat(value["v"])
        case "map":
            return {_value(key): _value(item) for key, item in value["v"]}
        case "set":
            return {_value(item) for item in value["v"]}
        case "row":
            return tuple(_value(item) for item in value["v"])
    cls = _CLASSES[value["!"]]
    return cls(**{name: _value(item) for name, item in value.items() if name != "!"})
