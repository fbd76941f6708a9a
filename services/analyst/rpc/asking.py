"""Questions and statements on the wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from google.api import httpbody_pb2
from google.protobuf import json_format

from memorybox.analyst.v1 import analyst_service_pb2 as pb
from services.analyst.domain.asking import Asking
from services.analyst.domain.conversations import Asked, Conversations
from services.analyst.domain.events import Result
from services.analyst.domain.executing import Executing
from services.analyst.domain.language import Turn
from services.analyst.domain.rendering import Rendering
from services.analyst.domain.warehouse import Rows
from services.analyst.wire import event_to_proto, image_format_of, pages
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    from memorybox.analyst.v1 import analyst_pb2

    Context = grpc.aio.ServicerContext[Any, Any]


class AskingRpcs:
    """Ask, draw, run, judge."""

    _asking: Asking
    _rendering: Rendering
    _executing: Executing
    _conversations: Conversations

    async def Ask(self, request: pb.AskRequest, context: "Context") -> AsyncIterator[pb.AskResponse]:
        asked = Asked(
            question=request.question,
            semantic_model=request.semantic_model,
            owner_user=request.owner_user,
            as_of=request.as_of,
            conversation_id=request.conversation_id,
            history=[Turn(turn.question) for turn in request.history],
        )
        sequence = 0
        async with aclosing(self._asking.ask(caller(context), asked)) as events:
            async for event in events:
                if isinstance(event, Result):
                    messages = [pb.AskResponse(result=page) async for page in _pages(event.rows)]
                else:
                    messages = [event_to_proto(event)]
                for message in messages:
                    sequence += 1
                    message.sequence = sequence
                    yield message

    async def RenderChart(self, request: pb.RenderChartRequest, context: "Context") -> pb.RenderChartResponse:
        image = image_format_of(request)
        spec = await asyncio.to_thread(json_format.MessageToDict, request.spec)
        drawn = await self._rendering.render(spec, image, request.scale)
        return pb.RenderChartResponse(image=httpbody_pb2.HttpBody(content_type=image, data=drawn))

    async def ExecuteQuery(
        self, request: pb.ExecuteQueryRequest, context: "Context"
    ) -> AsyncIterator[pb.ExecuteQueryResponse]:
        executed = await self._executing.execute(
            caller(context), request.semantic_model, request.owner_user, request.statement, request.dialect
        )
        sequence = 0
        async for page in _pages(executed.rows):
            sequence += 1
            yield pb.ExecuteQueryResponse(sequence=sequence, result=page)
        done = pb.ExecuteQueryResponse.Done(
            row_count=len(executed.rows.rows), truncated=executed.rows.truncated, statement=executed.statement
        )
        yield pb.ExecuteQueryResponse(sequence=sequence + 1, done=done)

    async def SubmitFeedback(self, request: pb.SubmitFeedbackRequest, context: "Context") -> pb.SubmitFeedbackResponse:
        await self._conversations.judge(caller(context), request.answer_id, request.comment, positive=request.positive)
        return pb.SubmitFeedbackResponse()


async def _pages(rows: Rows) -> AsyncIterator["analyst_pb2.Result"]:
    """Yield pages, each made on a thread."""
    source = pages(rows)
    while (page := await asyncio.to_thread(next, source, None)) is not None:
        yield page
