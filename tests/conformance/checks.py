"""What a case expects against what happened; every difference is one line of text."""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from multidict import CIMultiDict

from tests.conformance.backend import Seen
from tests.conformance.contract import Contract, grpc_path
from tests.conformance.wire import Answer, events, frames, grpc_web_trailers

# google.rpc.Code of a gateway's own refusal, by HTTP status (T-261).
CODES = {
    400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 406: 3, 408: 4, 411: 3, 413: 8, 414: 3, 415: 3, 426: 12, 429: 8, 431: 8, 500: 13, 501: 12,
    503: 14, 504: 4,
}  # fmt: skip
_END = 2
_TRAILERS = 0x80
_SHOWN = 300


def same(wanted: Any, got: Any) -> bool:
    """Return whether two JSON values mean the same; 1 is 1.0 but not true."""
    if isinstance(wanted, bool) or isinstance(got, bool):
        return wanted is got
    if isinstance(wanted, dict) and isinstance(got, dict):
        return wanted.keys() == got.keys() and all(same(value, got[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(same(*pair) for pair in zip(wanted, got, strict=True))
    if isinstance(wanted, float) and isinstance(got, float):
        return str(wanted) == str(got)
    return bool(wanted == got)


def holds(wanted: Any, got: Any) -> bool:
    """Return whether *got* has at least what *wanted* has; lists must have as many items."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        return all(name in got and holds(value, got[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(holds(*pair) for pair in zip(wanted, got, strict=True))
    return same(wanted, got)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


class Checker:
    """Compares by the types of one contract."""

    def __init__(self, contract: Contract) -> None:
        """Compare messages of *contract*."""
        self._contract = contract

    def failures(self, data: Mapping[str, Any], answer: Answer, seen: Sequence[Seen]) -> list[str]:
        """Return all that differs from what the case *data* expects."""
        found: list[str] = []
        if "refused" in data:
            found += self._refusal(data["refused"], answer)
        found += self.of_calls(data, seen)
        if "answer" in data or "refused" not in data:
            found += self._answer(data, data.get("answer", 200), answer)
        return found

    def of_calls(self, data: Mapping[str, Any], seen: Sequence[Seen]) -> list[str]:
        """Return what differs in the calls that reached the backend."""
        if "refused" in data or data.get("uncalled"):
            return [f"the backend was called: {call.method}" for call in seen]
        return list(self._call(data, seen)) if self._wants_call(data) else []

    @staticmethod
    def _wants_call(data: Mapping[str, Any]) -> bool:
        return any(key in data for key in ("message", "messages", "method", "metadata", "deadline"))

    def _refusal(self, wanted: Any, answer: Answer) -> Iterator[str]:
        """Yield differences of a refusal; its body counts only where it is JSON, as T-262 has cases of its own."""
        wanted = wanted if isinstance(wanted, dict) else {"status": wanted}
        status = wanted["status"]
        allowed = status if isinstance(status, list) else [status]
        if answer.status not in allowed:
            yield f"status {answer.status} {_short(answer.body.decode(errors='replace'))}, not {status}"
            return
        yield from self._headers(wanted.get("headers", {}), answer.headers)
        if "allow" in wanted:
            got = {name.strip() for name in answer.headers.get("Allow", "").split(",")}
            if got != set(wanted["allow"]):
                yield f"Allow: {sorted(got)}, not {sorted(wanted['allow'])}"
        if not answer.body or answer.media_type != "application/json":
            if wanted.get("strict"):
                yield f"no google.rpc.Status but {answer.media_type!r}"
            return
        yield from self._status(wanted, answer, CODES.get(answer.status))

    @staticmethod
    def _status(wanted: Mapping[str, Any], answer: Answer, code: int | None) -> Iterator[str]:
        try:
            body = answer.json()
        except ValueError:
            yield f"the body is no JSON: {_short(answer.body.decode(errors='replace'))}"
            return
        if not isinstance(body, dict) or not isinstance(body.get("message"), str):
            yield f"the body is no google.rpc.Status: {_short(body)}"
            return
        if body.get("code") != wanted.get("code", code):
            yield f"code {body.get('code')}, not {wanted.get('code', code)}"
        if "field" in wanted:
            fields = _violated(body)
            if wanted["field"] not in fields:
                yield f"violations of {fields}, not of {wanted['field']!r}"
        if "says" in wanted and not re.search(wanted["says"], answer.body.decode()):
            yield f"{_short(body)} does not say {wanted['says']!r}"

    def _call(self, data: Mapping[str, Any], seen: Sequence[Seen]) -> Iterator[str]:
        if len(seen) != 1:
            yield f"{len(seen)} calls reached the backend, not one"
            return
        call = seen[0]
        if "method" in data and call.method != grpc_path(data["method"]):
            yield f"called {call.method}, not {data['method']}"
            return
        if "message" in data or "messages" in data:
            yield from self._messages(data.get("messages", [data.get("message")]), call)
        for name, wanted in data.get("metadata", {}).items():
            got = [_shown(value) for key, value in call.metadata if key == name]
            want = [] if wanted is None else wanted if isinstance(wanted, list) else [wanted]
            if not _fit(want, got):
                yield f"metadata {name}: {got}, not {want}"
        if "deadline" in data:
            low, high = data["deadline"]
            left = call.time_left_s
            if left is None or not low <= left <= high:
                yield f"time left {left}, not {low} to {high} s"

    def _messages(self, wanted: Sequence[Any], call: Seen) -> Iterator[str]:
        descriptor = self._contract.methods[call.method].input_type
        got = [self._canonical(descriptor, data) for data in call.messages]
        want = [self._contract.message(descriptor, value).SerializeToString(deterministic=True) for value in wanted]
        if got != want:
            shown = [self._contract.shown(descriptor, data) for data in call.messages]
            yield f"the backend got {_short(', '.join(shown))}, not {_short(json.dumps(wanted, default=str))}"

    def _canonical(self, descriptor: Any, data: bytes) -> bytes:
        return self._contract.message(descriptor, {"$hex": data.hex()}).SerializeToString(deterministic=True)

    def _answer(self, data: Mapping[str, Any], wanted: Any, answer: Answer) -> Iterator[str]:
        wanted = wanted if isinstance(wanted, dict) else {"status": wanted}
        status = wanted.get("status", 200)
        if answer.status not in (status if isinstance(status, list) else [status]):
            yield f"status {answer.status} {_short(answer.body.decode(errors='replace'))}, not {status}"
            return
        if answer.complete == bool(wanted.get("cut")):
            yield "the answer is whole, not cut" if wanted.get("cut") else "the answer is cut"
        yield from self._headers(wanted.get("headers", {}), answer.headers)
        if "interim" in wanted and answer.interim != wanted["interim"]:
            yield f"interim answers {answer.interim}"
        if "code" in wanted:
            yield from self._status(wanted, answer, None)
        for key, check in self._BODIES.items():
            if key in wanted:
                try:
                    yield from check(self, wanted[key], answer, data)
                except (ValueError, LookupError, TypeError) as error:
                    yield f"{key}: {error!r}; got {_short(answer.body.decode(errors='replace'))}"

    @staticmethod
    def _headers(wanted: Mapping[str, Any], headers: CIMultiDict[str]) -> Iterator[str]:
        for name, value in wanted.items():
            got = headers.getall(name, [])
            want = [] if value is None else value if isinstance(value, list) else [value]
            if not _fit(want, got):
                yield f"{name}: {got}, not {want}"

    def _json(self, wanted: Any, answer: Answer, _data: Mapping[str, Any]) -> Iterator[str]:
        if not same(wanted, answer.json()):
            yield f"got {_short(answer.body.decode())}, not {_short(json.dumps(wanted, default=str))}"

    def _json_has(self, wanted: Any, answer: Answer, _data: Mapping[str, Any]) -> Iterator[str]:
        if not holds(wanted, answer.json()):
            yield f"got {_short(answer.body.decode())} without {_short(json.dumps(wanted, default=str))}"

    def _violations(self, wanted: Any, answer: Answer, _data: Mapping[str, Any]) -> Iterator[str]:
        got = _violated(answer.json())
        if got != list(wanted):
            yield f"violations of {got}, not of {list(wanted)}"

    def _text(self, wanted: Any, answer: Answer, _data: Mapping[str, Any]) -> Iterator[str]:
        if answer.body != str(wanted).encode("utf-8", "surrogateescape"):
            yield f"got {_short(answer.body.decode(errors='replace'))!r}, not {_short(wanted)!r}"

    def _hex(self, wanted: Any, answer: Answer, _data: Mapping[str, Any]) -> Iterator[str]:
        if answer.body != bytes.fromhex(str(wanted).replace(" ", "")):
            yield f"got {_short(answer.body.hex())}"

    def _match(self, wanted: Any, answer: Answer, _data: Mapping[str, Any]) -> Iterator[str]:
        if not re.search(wanted, answer.body.decode(errors="replace")):
            yield f"{_short(answer.body.decode(errors='replace'))!r} does not match {wanted!r}"

    def _absent(self, wanted: Sequence[str], answer: Answer, _data: Mapping[str, Any]) -> Iterator[str]:
        everything = answer.body.decode(errors="replace") + str(dict(answer.headers))
        for text in wanted:
            if text in everything:
                yield f"shows {text!r}"

    def _lines(self, wanted: Sequence[Any], answer: Answer, _data: Mapping[str, Any]) -> Iterator[str]:
        text = answer.body.decode()
        if text and not text.endswith("\n"):
            yield "the last line has no end"
        got = [json.loads(line) for line in text.splitlines()]
        if not holds(list(wanted), got):
            yield f"lines {_short(got)}, not {_short(list(wanted))}"

    def _events(self, wanted: Sequence[Any], answer: Answer, _data: Mapping[str, Any]) -> Iterator[str]:
        got = [
            {name: json.loads(value) if name == "data" else value for name, value in event.items()}
            for event in events(answer.body)
        ]
        plain = [
            {name: value for name, value in event.items() if name in want}
            for want, event in zip(wanted, got, strict=False)
        ]
        extra = [set(event) - set(want) for want, event in zip(wanted, got, strict=False)]
        if len(got) != len(wanted) or not all(holds(*pair) for pair in zip(wanted, plain, strict=True)) or any(extra):
            yield f"events {_short(got)}, not {_short(list(wanted))}"

    def _frames(self, wanted: Sequence[Any], answer: Answer, data: Mapping[str, Any]) -> Iterator[str]:
        body = answer.body
        if "-text" in answer.media_type:
            body = b"".join(base64.b64decode(part + b"=" * (-len(part) % 4)) for part in re.findall(rb"[^=]+=*", body))
        got = frames(body)
        if [flag for flag, _ in got] != [item.get("flag", 0) for item in wanted]:
            yield f"frames {_short([(flag, _short(payload.decode(errors='replace'))) for flag, payload in got])}, not {_short(list(wanted))}"
            return
        for (_, payload), want in zip(got, wanted, strict=True):
            yield from self._frame(want, payload, data)

    def _frame(self, wanted: Mapping[str, Any], payload: bytes, data: Mapping[str, Any]) -> Iterator[str]:
        if "message" in wanted:
            descriptor = self._contract.method(data["method"]).output_type
            if self._canonical(descriptor, payload) != self._contract.wire(descriptor, wanted["message"]):
                yield f"message {self._contract.shown(descriptor, payload)}, not {wanted['message']}"
        if "json" in wanted and not holds(wanted["json"], json.loads(payload)):
            yield f"{_short(payload.decode())}, not {wanted['json']}"
        for name, value in wanted.get("trailers", {}).items():
            got = grpc_web_trailers(payload).get(name)
            if not _fit([] if value is None else [value], [] if got is None else [got]):
                yield f"trailer {name}: {got!r}, not {value!r}"

    def _message(self, wanted: Any, answer: Answer, data: Mapping[str, Any]) -> Iterator[str]:
        """Compare a binary protobuf body."""
        descriptor = self._contract.method(data["method"]).output_type
        if self._canonical(descriptor, answer.body) != self._contract.wire(descriptor, wanted):
            yield f"message {self._contract.shown(descriptor, answer.body)}, not {wanted}"

    _BODIES: Mapping[str, Callable[..., Iterator[str]]] = {
        "json": _json, "json_has": _json_has, "text": _text, "hex": _hex, "match": _match, "absent": _absent, "lines": _lines,
        "events": _events, "frames": _frames, "protobuf": _message, "violations": _violations,
    }  # fmt: skip


def _violated(status: Mapping[str, Any]) -> list[str]:
    """Return the fields of all BadRequest details, which may stand beside others."""
    details = status.get("details", [])
    return [str(violation.get("field")) for detail in details for violation in detail.get("fieldViolations", [])]


def _fit(wanted: Sequence[Any], got: Sequence[str]) -> bool:
    """Return whether values are as wanted; ``~...`` is a regular expression."""
    return len(wanted) == len(got) and all(
        re.fullmatch(want[1:], have) is not None if str(want).startswith("~") else str(want) == have
        for want, have in zip(map(str, wanted), got, strict=True)
    )


def _shown(value: str | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else value
