"""Arrays and objects kept as JSON text: search, change, order."""

import json
from typing import Any

from services.emulator.sql.runtime.refusals import refused
from services.emulator.sql.runtime.semi import dumps


def _key(value: Any) -> str:
    return dumps(value)


def typeof(text: str) -> str:  # noqa: PLR0911 - one line a kind
    value = json.loads(text)
    match value:
        case None:
            return "NULL_VALUE"
        case bool():
            return "BOOLEAN"
        case int():
            return "INTEGER"
        case float():
            return "DOUBLE" if "e" in text.lower() else "DECIMAL"
        case str():
            return "VARCHAR"
        case list():
            return "ARRAY"
    return "OBJECT"


def contains(value: str, array: str) -> bool:
    return dumps(json.loads(value)) in {_key(item) for item in json.loads(array)}


def position(value: str, array: str) -> int | None:
    keys = [_key(item) for item in json.loads(array)]
    wanted = dumps(json.loads(value))
    return keys.index(wanted) if wanted in keys else None


def cat(one: str, two: str) -> str:
    return dumps(json.loads(one) + json.loads(two))


def except_(one: str, two: str) -> str:
    gone = [_key(item) for item in json.loads(two)]
    kept = []
    for item in json.loads(one):
        if _key(item) in gone:
            gone.remove(_key(item))
        else:
            kept.append(item)
    return dumps(kept)


def intersection(one: str, two: str) -> str:
    others = [_key(item) for item in json.loads(two)]
    kept = []
    for item in json.loads(one):
        if _key(item) in others:
            others.remove(_key(item))
            kept.append(item)
    return dumps(kept)


def compact(text: str) -> str:
    return dumps([item for item in json.loads(text) if item is not None])


def distinct(text: str) -> str:
    return dumps(list({_key(item): item for item in json.loads(text)}.values()))


def flatten(text: str) -> str:
    return dumps([item for part in json.loads(text) for item in (part if isinstance(part, list) else [part])])


def reverse(text: str) -> str:
    return dumps(json.loads(text)[::-1])


def least(text: str, most: bool) -> str | None:
    items = [item for item in json.loads(text) if item is not None]
    return dumps((max if most else min)(items)) if items else None


def as_text(text: str, mark: str) -> str:
    return mark.join(
        "" if item is None else item if isinstance(item, str) else dumps(item) for item in json.loads(text)
    )


def slice_(text: str, start: int, stop: int) -> str:
    return dumps(json.loads(text)[int(start) : int(stop)])


def append(text: str, value: str) -> str:
    return dumps([*json.loads(text), json.loads(value)])


def prepend(text: str, value: str) -> str:
    return dumps([json.loads(value), *json.loads(text)])


def remove(text: str, value: str) -> str:
    wanted = dumps(json.loads(value))
    return dumps([item for item in json.loads(text) if _key(item) != wanted])


def insert(text: str, at: int, value: str) -> str:
    items = json.loads(text)
    if at > len(items):
        items += [None] * (int(at) - len(items))
    items.insert(int(at), json.loads(value))
    return dumps(items)


def sort(text: str, up: bool, nulls_first: bool) -> str:
    items = json.loads(text)
    known = sorted(
        (item for item in items if item is not None), key=lambda item: (str(type(item) is str), item), reverse=not up
    )
    nulls = [item for item in items if item is None]
    return dumps(nulls + known if nulls_first else known + nulls)


def object_insert(text: str, key: str, value: str, update: bool) -> str:
    held = json.loads(text)
    if key in held and not update:
        raise refused(100188, "22000", f"Duplicate object attribute '{key}'")
    return dumps({**held, key: json.loads(value)})


def object_delete(text: str, keys: str) -> str:
    gone = set(json.loads(keys))
    return dumps({key: value for key, value in json.loads(text).items() if key not in gone})


def object_pick(text: str, keys: str) -> str:
    kept = set(json.loads(keys))
    return dumps({key: value for key, value in json.loads(text).items() if key in kept})


def get_ignore_case(text: str, key: str) -> str | None:
    held = json.loads(text)
    found = (
        next((value for name, value in held.items() if name.lower() == key.lower()), None)
        if isinstance(held, dict)
        else None
    )
    return None if found is None else dumps(found)


def flattened(text: str, outer: bool, recursive: bool, mode: str, path: str) -> list[dict[str, Any]]:
    """Return the rows of FLATTEN: key, path, index, value and this."""
    value = json.loads(text)
    rows: list[dict[str, Any]] = []
    _walk(value, path, recursive, mode, rows)
    if not rows and outer:
        rows.append({"k": None, "p": path or None, "i": None, "v": None, "t": None if value is None else dumps(value)})
    return rows


def _walk(value: Any, path: str, recursive: bool, mode: str, rows: list[dict[str, Any]]) -> None:
    if isinstance(value, list) and mode in {"BOTH", "ARRAY"}:
        steps: list[tuple[str | None, int | None, str, Any]] = [
            (None, at, f"{path}[{at}]", item) for at, item in enumerate(value)
        ]
    elif isinstance(value, dict) and mode in {"BOTH", "OBJECT"}:
        steps = [
            (
                key,
                None,
                f"{path}.{key}" if path and key.isidentifier() else key if key.isidentifier() else f"{path}['{key}']",
                item,
            )
            for key, item in value.items()
        ]
    else:
        return
    this = dumps(value)
    for key, index, inner, item in steps:
        rows.append({"k": key, "p": inner, "i": index, "v": dumps(item), "t": this})
        if recursive:
            _walk(item, inner, recursive, mode, rows)


_T, _I, _B = "VARCHAR", "INTEGER", "BOOLEAN"
FUNCTIONS: dict[str, tuple[Any, list[str] | None, str]] = {
    "sf_typeof": (typeof, [_T], _T),
    "sf_array_contains": (contains, [_T, _T], _B),
    "sf_array_position": (position, [_T, _T], _I),
    "sf_array_cat": (cat, [_T, _T], _T),
    "sf_array_except": (except_, [_T, _T], _T),
    "sf_array_intersection": (intersection, [_T, _T], _T),
    "sf_array_compact": (compact, [_T], _T),
    "sf_array_distinct": (distinct, [_T], _T),
    "sf_array_flatten": (flatten, [_T], _T),
    "sf_array_reverse": (reverse, [_T], _T),
    "sf_array_least": (least, [_T, _B], _T),
    "sf_array_text": (as_text, [_T, _T], _T),
    "sf_array_slice": (slice_, [_T, _I, _I], _T),
    "sf_array_append": (append, [_T, _T], _T),
    "sf_array_prepend": (prepend, [_T, _T], _T),
    "sf_array_remove": (remove, [_T, _T], _T),
    "sf_array_insert": (insert, [_T, _I, _T], _T),
    "sf_array_sort": (sort, [_T, _B, _B], _T),
    "sf_object_insert": (object_insert, [_T, _T, _T, _B], _T),
    "sf_object_delete": (object_delete, [_T, _T], _T),
    "sf_object_pick": (object_pick, [_T, _T], _T),
    "sf_get_ignore_case": (get_ignore_case, [_T, _T], _T),
    "sf_flatten": (flattened, [_T, _B, _B, _T, _T], "STRUCT(k VARCHAR, p VARCHAR, i INTEGER, v VARCHAR, t VARCHAR)[]"),
}
