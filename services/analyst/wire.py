"""Conversions between the analyst's messages and its domain."""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from memorybox.analyst.v1 import analyst_pb2
from memorybox.analyst.v1 import analyst_service_pb2 as pb
from services.analyst.domain.events import (
    Chart,
    Done,
    Event,
    Explanation,
    Interpretation,
    Result,
    Sql,
    Status,
    Suggestions,
    Warnings,
)
from services.analyst.domain.ports import KeptModel
from services.analyst.domain.rendering import ImageFormat
from services.analyst.domain.semantic_model import Finding, Severity
from services.analyst.domain.warehouse import ColumnType, Rows, Table
from services.mesh.errors import InvalidInput, Violation

PAGE_ROWS = 500
PAGE_BYTES = 1 << 20
EXACT = 1 << 53  # beyond it a double does not have every whole number
_SEVERITIES = {
    Severity.ERROR: analyst_pb2.Finding.ERROR,
    Severity.WARNING: analyst_pb2.Finding.WARNING,
}


def event_to_proto(event: Event) -> pb.AskResponse:  # noqa: PLR0911  # one kind a line
    """Return an event other than a result, without its sequence."""
    match event:
        case Status(step):
            return pb.AskResponse(status=pb.AskResponse.Status(step=pb.AskResponse.Status.Step.Value(step)))
        case Interpretation(text):
            return pb.AskResponse(interpretation=pb.AskResponse.Interpretation(text=text))
        case Sql(statement, verified_query, dialect):
            sql = analyst_pb2.Sql(statement=statement, verified_query=verified_query, dialect=dialect)
            return pb.AskResponse(sql=sql)
        case Suggestions(reason, questions):
            return pb.AskResponse(suggestions=analyst_pb2.Suggestions(reason=reason, questions=questions))
        case Chart(spec):
            return pb.AskResponse(chart=pb.AskResponse.Chart(spec=json_to_struct(spec)))
        case Explanation(text, generated):
            return pb.AskResponse(explanation=pb.AskResponse.Explanation(text=text, generated=generated))
        case Warnings(messages):
            return pb.AskResponse(warnings=pb.AskResponse.Warnings(messages=messages))
        case Done(answer_id, conversation_id, row_count, truncated):
            done = pb.AskResponse.Done(
                answer_id=answer_id, conversation_id=conversation_id, row_count=row_count, truncated=truncated
            )
            return pb.AskResponse(done=done)
        case Result():
            raise ValueError("a result goes out in pages")


def pages(rows: Rows) -> Iterator[analyst_pb2.Result]:
    """Yield a result in pages that fit a message; one without rows when there are none."""
    columns = [column_to_proto(column) for column in rows.columns]
    page = analyst_pb2.Result(columns=columns)
    size, sent = 0, False
    for row in rows.rows:
        page.rows.append(row_to_proto(row))
        size += page.rows[-1].ByteSize()
        if len(page.rows) == PAGE_ROWS or size >= PAGE_BYTES:
            yield page
            page, size, sent = analyst_pb2.Result(columns=columns), 0, True
    if page.rows or not sent:
        yield page


def row_to_proto(row: Sequence[Any]) -> ListValue:
    """Return a row as JSON would have it."""
    return ListValue(values=[value_to_proto(value) for value in row])


def value_to_proto(value: Any) -> Value:  # noqa: C901, PLR0911  # one kind a line
    """Return a value of the warehouse as JSON would have it."""
    match value:
        case None:
            return Value(null_value=NullValue.NULL_VALUE)
        case bool():
            return Value(bool_value=value)
        case int():
            return Value(number_value=value) if abs(value) <= EXACT else Value(string_value=str(value))
        case float():
            return Value(number_value=value) if math.isfinite(value) else Value(string_value=str(value))
        case Decimal():
            as_float = float(value)
            exact = math.isfinite(as_float) and abs(value) <= EXACT
            return Value(number_value=as_float) if exact else Value(string_value=str(value))
        case datetime() | date() | time():
            return Value(string_value=value.isoformat())
        case timedelta():
            return Value(string_value=str(value))
        case bytes() | bytearray() | memoryview():
            return Value(string_value=base64.b64encode(value).decode())
        case list() | tuple():
            return Value(list_value=row_to_proto(value))
        case dict():
            return Value(struct_value=json_to_struct(value))
        case _:
            return Value(string_value=str(value))


def json_to_struct(document: Mapping[str, Any]) -> Struct:
    """Return a JSON object."""
    return Struct(fields={str(key): value_to_proto(value) for key, value in document.items()})


def column_to_proto(column: ColumnType) -> analyst_pb2.Column:
    """Return a column."""
    return analyst_pb2.Column(name=column.name, type=column.type)


def model_to_proto(kept: KeptModel, findings: Sequence[Finding] = ()) -> analyst_pb2.SemanticModel:
    """Return a semantic model."""
    return analyst_pb2.SemanticModel(
        name=kept.name,
        version=kept.version,
        owner_user=kept.owner_user,
        access_level=analyst_pb2.SemanticModel.AccessLevel.Value(kept.access_level),
        reader_roles=kept.reader_roles,
        yaml=kept.yaml,
        description=kept.description,
        created_at=time_to_proto(kept.created_at),
        updated_at=time_to_proto(kept.updated_at),
        etag=kept.etag,
        findings=[finding_to_proto(finding) for finding in findings],
    )


def finding_to_proto(finding: Finding) -> analyst_pb2.Finding:
    """Return a finding."""
    return analyst_pb2.Finding(
        severity=_SEVERITIES[finding.severity],
        message=finding.message,
        path=finding.path,
        line=finding.line,
        column=finding.column,
    )


def table_to_proto(table: Table) -> analyst_pb2.Table:
    """Return a table."""
    return analyst_pb2.Table(
        name=table.name,
        owner_user=table.owner_user,
        row_count=table.row_count,
        columns=[column_to_proto(column) for column in table.columns],
        loaded_at=time_to_proto(table.loaded_at),
    )


def time_to_proto(moment: datetime) -> Timestamp:
    """Return a time."""
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def image_format_of(request: pb.RenderChartRequest) -> ImageFormat:
    """Return what to draw. Raises ``InvalidInput`` when that is not known."""
    match request.format:
        case pb.RenderChartRequest.FORMAT_UNSPECIFIED | pb.RenderChartRequest.SVG:
            return ImageFormat.SVG
        case pb.RenderChartRequest.PNG:
            return ImageFormat.PNG
    description = "must be SVG or PNG"
    raise InvalidInput(f"format {description}", violations=[Violation("format", description)])


def access_level_of(request: pb.PutSemanticModelRequest) -> str:
    """Return the name of an access level, '' when it is not said; of one that is not known the number."""
    number = request.access_level
    if number == analyst_pb2.SemanticModel.ACCESS_LEVEL_UNSPECIFIED:
        return ""
    return (
        analyst_pb2.SemanticModel.AccessLevel.Name(number)
        if number in analyst_pb2.SemanticModel.AccessLevel.values()
        else str(number)
    )
