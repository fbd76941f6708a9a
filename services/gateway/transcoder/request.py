"""From the parts of an HTTP request to the protobuf request of one method."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import Message
from multidict import MultiMapping

from services.gateway.transcoder import negotiation, patch
from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.errors import (
    RESOURCE_EXHAUSTED,
    HttpError,
    Violation,
    bad_request,
    refusal,
)
from services.gateway.transcoder.fields import (
    HTTP_BODY,
    WELL_KNOWN,
    BadFieldPath,
    FieldPath,
    Tree,
    holder,
    is_id_field,
    message_name,
    oneof_rival,
    resolve,
)
from services.gateway.transcoder.json_text import BadJson
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.paths import decode_variable
from services.gateway.transcoder.query import BadQuery, QueryBinder, split_query
from services.gateway.transcoder.rules import SERVER_STREAM, Binding
from services.gateway.transcoder.text import TextReader, text_reader
from services.gateway.transcoder.values import JsonRefused

Values = list[tuple[FieldPath, Any]]


@dataclass(slots=True)
class BoundValues:
    """Field values from outside the body; ``by_if_match`` tells that an etag came by header."""

    path: Values = field(default_factory=list)
    query: Values = field(default_factory=list)
    headers: Values = field(default_factory=list)
    by_if_match: bool = False
    resume: Values = field(default_factory=list)
    """Last-Event-ID, for a field that nothing else sets."""
    alt: str = ""
    """Stream type that the query asks for."""

    def __bool__(self) -> bool:
        return bool(self.path or self.query or self.headers or self.resume)


@dataclass(frozen=True, slots=True)
class _HeaderField:
    header: str
    path: FieldPath
    read: TextReader


class RequestReader:
    """Reads the requests of one binding."""

    def __init__(self, binding: Binding, codec: JsonCodec, options: Options) -> None:
        self._binding = binding
        self._codec = codec
        self._options = options
        message = binding.method.input_type
        self._descriptor = message
        self._class: type[Message] = message_factory.GetMessageClass(message)
        self._query = QueryBinder(message, binding.body, codec, options)
        self._variables = [(variable, path, text_reader(path.leaf, codec)) for variable, path in binding.variables]
        self._headers = self._header_fields()
        self._streams = binding.route.kind == SERVER_STREAM
        self._resume = self._resume_field() if self._streams else None
        self.takes_body = bool(binding.route.body)
        body = binding.body
        self.takes_http_body = self.takes_body and (
            (message.full_name if body is None else message_name(body.leaf)) == HTTP_BODY
        )
        self._read_field = codec.field_reader(body.leaf) if body is not None else None
        codec.compile(message)
        self._validate = codec.validators.of(message)
        self._mask = patch.mask_field(binding) if options.auto_update_mask else None

    def _header_fields(self) -> list[_HeaderField]:
        """Return the header fields that this request message has, the first path of each header."""
        found: dict[str, _HeaderField] = {}
        for header, text in self._options.header_fields:
            try:
                path = resolve(self._descriptor, text)
            except BadFieldPath:
                continue
            if not path.leaf.is_repeated:
                read = text_reader(path.leaf, self._codec)
                found.setdefault(header.lower(), _HeaderField(header.lower(), path, read))
        return list(found.values())

    def _resume_field(self) -> _HeaderField | None:
        field = self._descriptor.fields_by_name.get(self._options.sse_id_field)
        if field is None or not is_id_field(field):
            return None
        path = FieldPath(field.name, (field,))
        return _HeaderField("last-event-id", path, text_reader(field, self._codec))

    def bind(self, segments: Sequence[str], raw_query: str, headers: MultiMapping[str]) -> BoundValues:
        """Convert path, query and header values, or raise one 400 that names all that is wrong."""
        violations: list[Violation] = []
        bound = BoundValues(path=self._bind_path(segments, violations))
        if raw_query and not (self._binding.whole_body and self.takes_http_body):
            try:
                pairs = split_query(raw_query, self._options)
            except BadQuery as error:
                violations.append(error.violation)
            else:
                if self._streams:
                    pairs = self._take_alt(pairs, bound, violations)
                bound.query = self._bind_query(pairs, violations)
        self._bind_headers(bound, headers, violations)
        if self._resume is not None and "Last-Event-ID" in headers:
            self._bind_resume(self._resume, bound, headers["Last-Event-ID"], violations)
        if violations:
            raise bad_request(violations)
        return bound

    @staticmethod
    def _take_alt(
        pairs: list[tuple[str, str]], bound: BoundValues, violations: list[Violation]
    ) -> list[tuple[str, str]]:
        """Take ``$alt`` out of the query of a stream."""
        for name, value in pairs:
            if name == "$alt":
                bound.alt = negotiation.ALTERNATIVES.get(value, "")
                if not bound.alt:
                    violations.append((name, f"must be one of {', '.join(negotiation.ALTERNATIVES)}"))
        return [pair for pair in pairs if pair[0] != "$alt"]

    @staticmethod
    def _bind_resume(resume: _HeaderField, bound: BoundValues, text: str, violations: list[Violation]) -> None:
        """Bind Last-Event-ID; it wins over the query, as EventSource repeats the old URL."""
        try:
            value = resume.read(_header_text(text))
        except ValueError as error:
            violations.append((resume.path.text, f"{error} (header {resume.header})"))
            return
        bound.query = [pair for pair in bound.query if pair[0].text != resume.path.text]
        bound.resume.append((resume.path, value))

    def _bind_path(self, segments: Sequence[str], violations: list[Violation]) -> Values:
        values: Values = []
        for variable, path, read in self._variables:
            start, end = self._binding.template.span(variable, len(segments))
            raw = decode_variable(
                "/".join(segments[start:end]),
                several=variable.several,
                decoding=self._options.path_decoding,
            )
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                violations.append((path.text, "is not UTF-8"))
                continue
            try:
                values.append((path, read(text)))
            except ValueError as error:
                violations.append((path.text, f"{error}, got {text[:64]!r}"))
        return values

    def _bind_query(self, pairs: list[tuple[str, str]], violations: list[Violation]) -> Values:
        if not self._binding.whole_body:
            return self._query.bind(pairs, violations)
        if self._options.unknown_query == "reject":
            ignored = self._options.ignored_query_parameters
            for name, _ in pairs:
                if name not in ignored:
                    text = "unknown query parameter; all fields are read from the body"
                    violations.append((name, text))
        return []

    def _bind_headers(self, bound: BoundValues, headers: MultiMapping[str], violations: list[Violation]) -> None:
        for item in self._headers:
            texts = dict.fromkeys(headers.getall(item.header, []))
            if len(texts) > 1:
                violations.append((item.path.text, f"header {item.header} is given twice, with different values"))
                continue
            text = next(iter(texts), None)
            if text is None or (item.header == "if-match" and text.strip() == "*"):
                continue
            try:
                value = item.read(_unquoted(_header_text(text)))
            except ValueError as error:
                violations.append((item.path.text, f"{error} (header {item.header})"))
                continue
            bound.headers.append((item.path, value))
            bound.by_if_match = bound.by_if_match or item.header == "if-match"

    def message(self, body: bytes, content_type: str, bound: BoundValues) -> bytes:
        """Return the wire form of one request message; raises ``HttpError`` (400, 413)."""
        try:
            tree, json = self._body(body, content_type)
            self._complete(tree, json, bound)
            message, data = self._codec.build(self._class, tree)
            self._codec.check_depth(self._class, body, data)
            if self._validate is not None and (broken := self._validate(message)):
                raise bad_request(broken)
        except BadJson as error:
            raise bad_request([("", str(error))]) from None
        except JsonRefused as error:
            raise bad_request([(error.field, error.description)]) from None
        if len(data) > self._options.max_message:
            raise too_large("request message", self._options.max_message)
        return data

    def _complete(self, tree: Tree | Message, json: Any, bound: BoundValues) -> None:
        """Add to the body's *tree* what comes from outside of it."""
        if not isinstance(tree, dict):
            if bound:
                raise JsonRefused("holds extensions, so no path, query or header value can be added")
            return
        violations: list[Violation] = []
        self._merge(tree, bound, violations)
        if violations:
            raise bad_request(violations)
        if self._mask is not None:
            patch.fill_mask(self._mask, tree, json, [path.text for path, _ in bound.path])

    def _body(self, body: bytes, content_type: str) -> tuple[Any, Any]:
        """Return the tree that the body gives, and its parsed JSON (None without)."""
        binding = self._binding
        if not self.takes_body:
            return {}, None
        if self.takes_http_body:
            try:
                content = {"content_type": _header_text(content_type), "data": body}
            except ValueError as error:
                raise JsonRefused(str(error)).within("content_type") from None
            if binding.body is None:
                return content, None
            return _at(binding.body, content), None
        if binding.body is None:
            if not body:
                return {}, None
            json = self._codec.parse(body)
            return self._codec.read_message(self._descriptor, json), json
        return self._field_body(binding.body, body)

    def _field_body(self, path: FieldPath, body: bytes) -> tuple[Tree, Any]:
        leaf = path.leaf
        if not body:
            plain = leaf.message_type is not None and not leaf.is_repeated
            plain = plain and message_name(leaf) not in WELL_KNOWN
            return (_at(path, {}) if plain else {}), None
        json = self._codec.parse(body)
        value = self._read_field(json) if self._read_field is not None else None
        return ({} if value is None else _at(path, value)), json

    def _merge(self, tree: Tree, bound: BoundValues, violations: list[Violation]) -> None:
        wins = self._options.body_conflict == "path_wins"
        for path, value in bound.path:
            self._put(tree, path, value, violations, overwrite=wins)
        for path, value in bound.query:
            if wins and any(path.text == other.text for other, _ in bound.path):
                continue
            self._put(tree, path, value, violations, overwrite=False)
        for path, value in bound.headers:
            self._put(tree, path, value, violations, overwrite=False)
        for path, value in bound.resume:
            tree.setdefault(path.leaf.name, value)

    @staticmethod
    def _put(tree: Tree, path: FieldPath, value: Any, violations: list[Violation], *, overwrite: bool) -> None:
        rival = oneof_rival(tree, path)
        if rival:
            violations.append((path.text, f"excludes {rival!r}: same oneof"))
            return
        inside = holder(tree, path)
        if inside is None:
            violations.append((path.text, "lies inside a value that is no plain message"))
            return
        known = inside.setdefault(path.leaf.name, value)
        if overwrite:
            inside[path.leaf.name] = value
        elif known is not value and known != value:
            text = "is given twice, by path, query, header or body, with different values"
            violations.append((path.text, text))


def _at(path: FieldPath, value: Any) -> Tree:
    tree: Tree = {}
    inside = holder(tree, path)
    if inside is not None:
        inside[path.leaf.name] = value
    return tree


def _header_text(text: str) -> str:
    """Return a header value; aiohttp hands over bytes that are no UTF-8 as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8") from None
    return text.strip()


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    return text


def too_large(what: str, limit: int) -> HttpError:
    """Return the 413 of something longer than *limit* bytes."""
    return refusal(RESOURCE_EXHAUSTED, f"{what} is larger than {limit} bytes", http_status=413, reason="TOO_LARGE")
