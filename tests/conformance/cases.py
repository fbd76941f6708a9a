"""Cases as data: what is sent, what the backend shall see, what the client shall get."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CASES = Path(__file__).parent / "cases"

_KEYS = {
    "id", "title", "options", "send", "headers", "json", "body", "hex", "frames", "pieces", "raw", "hang_up", "first", "method", "message",
    "messages", "metadata", "deadline", "cancelled", "uncalled", "backend", "answer", "socket", "base64", "refused", "startup", "config", "note",
}  # fmt: skip


# Settings that do not touch each other's cases share one gateway, as each one must be started.
SHARED: tuple[Mapping[str, str], ...] = (
    {
        "allowed_headers": "x-own,x-request-id",
        "compress": "all",
        "denied_metadata": "x-own,x-role",
        "expose_internal_errors": "on",
        "response_headers": "x-own,content-length",
        "response_trailers": "x-cost,x-cost-bin",
    },
    {
        "auto_update_mask": "off",
        "body_conflict": "path_wins",
        "default_timeout": "7s",
        "max_timeout": "20s",
        "query_maps": "on",
        "require_connect_version": "on",
        "sse_event_oneof": "",
        "strict_slash": "on",
    },
    {
        "cors_origins": "http://app.test",
        "form_fallback": "on",
        "header_fields": "If-Match=text,Idempotency-Key=opt_text",
        "sse_end_event": "on",
        "unexpected_body": "ignore",
        "unknown_json": "ignore",
    },
    {"default_routes": "off", "heartbeat": "100ms"},
    {"max_body": "1000", "max_message": "1000", "max_response": "10000"},
    {"max_header_size": "40", "max_headers": "5"},
)


class BadCase(ValueError):
    """A case file is not written as docs/conformance.md says."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case; ``data`` holds its keys as written."""

    chapter: str
    rule: str
    name: str
    data: Mapping[str, Any]

    @property
    def options(self) -> Mapping[str, str]:
        """Settings of the gateway that the case is run with; none means the defaults."""
        given = self.data.get("options", {})
        own = {name: {True: "on", False: "off"}.get(value, str(value)) for name, value in given.items()}
        return next((shared for shared in SHARED if own and own.items() <= shared.items()), own)

    @property
    def table(self) -> tuple[tuple[str, str], ...]:
        """The options in a form that tells route tables apart."""
        return tuple(sorted(self.options.items()))

    @property
    def is_startup(self) -> bool:
        """Whether the case asks what happens at start-up rather than at a request."""
        return "startup" in self.data


@dataclass(frozen=True, slots=True)
class Chapter:
    """One file of cases."""

    letter: str
    title: str
    cases: list[Case] = field(default_factory=list)


def load(folder: Path = CASES) -> list[Chapter]:
    """Return all chapters; a case that is not well written is a ``BadCase``."""
    chapters = [_chapter(path) for path in sorted(folder.glob("*.yaml"))]
    names = [case.name for chapter in chapters for case in chapter.cases]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise BadCase(f"cases of one name: {', '.join(sorted(twice))}")
    return chapters


def _chapter(path: Path) -> Chapter:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    letter = str(data["chapter"])
    return Chapter(letter, str(data["title"]), list(_cases(letter, data["cases"])))


def _cases(letter: str, entries: list[Mapping[str, Any]]) -> Iterator[Case]:
    for entry in entries:
        name = str(entry["id"])
        rule, _, rest = name.partition("/")
        unknown = set(entry) - _KEYS
        if not rest or not rule.startswith("T-") or unknown or not entry.get("title"):
            raise BadCase(f"{name}: needs an id such as T-7/name and a title; unknown keys {sorted(unknown)}")
        if "send" not in entry and "startup" not in entry and "raw" not in entry:
            raise BadCase(f"{name}: sends nothing")
        yield Case(letter, rule, name, _grown(entry))


def _grown(value: Any) -> Any:
    """Return *value* with each ``{repeat: text, times: N}`` in it written out."""
    if isinstance(value, list):
        return [_grown(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"repeat", "times"}:
        return str(value["repeat"]) * int(value["times"])
    return {name: _grown(item) for name, item in value.items()}
