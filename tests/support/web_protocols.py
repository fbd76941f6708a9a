"""A service for gRPC-Web and Connect, and their bytes written by hand from the specifications."""

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.gateway.transcoder import Transcoder
from tests.support.transcoder_contract import message_class

SONGS = """
syntax = "proto3";
package songs.v1;
import "google/api/annotations.proto";
message Song { string title = 1; int64 plays = 2; string etag = 3; }
message Songs { repeated string titles = 1; }
service Jukebox {
  rpc Play(Song) returns (Song) { option (google.api.http) = {post: "/songs:play" body: "*"}; }
  rpc Look(Song) returns (Song) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = {get: "/songs/{title}"};
  }
  rpc Repeat(Song) returns (stream Song) { option (google.api.http) = {get: "/songs/{title}:repeat"}; }
  rpc Gather(stream Song) returns (Songs) { option (google.api.http) = {post: "/songs:gather" body: "*"}; }
  rpc Echo(stream Song) returns (stream Song) { option (google.api.http) = {post: "/songs:echo" body: "*"}; }
  rpc Hidden(Song) returns (Song);
}
"""
JUKEBOX = "/songs.v1.Jukebox"
INITIAL = [("etag", '"e"'), ("x-secret", "s")]


def envelope(data: bytes, flags: int = 0) -> bytes:
    """Return a flag byte, the length in four bytes, and *data*."""
    return struct.pack(">BI", flags, len(data)) + data


def envelopes(body: bytes) -> list[tuple[int, bytes]]:
    """Return flags and data of all envelopes in *body*, which holds nothing else."""
    found = []
    while body:
        flags, length = struct.unpack(">BI", body[:5])
        assert len(body) >= 5 + length, "the last envelope is cut short"
        found.append((flags, body[5 : 5 + length]))
        body = body[5 + length :]
    return found


def grpc_web(body: bytes) -> tuple[list[bytes], dict[str, str]]:
    """Return messages and trailers of a gRPC-Web answer."""
    *messages, (flags, last) = envelopes(body)
    assert flags == 0x80
    assert all(flag == 0 for flag, _ in messages)
    assert last.endswith(b"\r\n")
    lines = last.decode("ascii").removesuffix("\r\n").split("\r\n")
    return [data for _, data in messages], dict(line.split(": ", 1) for line in lines)


@dataclass
class Jukebox:
    """A backend that does what the title of a song says: ``code-5``, ``slow``, ``boom``, ``huge``, ``meta``, or an echo."""

    transcoder: Transcoder
    metadata: dict[str, str | bytes] = field(default_factory=dict)
    time_left: float = 0.0
    requests: list[Any] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.song = message_class(self.transcoder.descriptors, "songs.v1.Song")
        self.songs = message_class(self.transcoder.descriptors, "songs.v1.Songs")

    @property
    def handlers(self) -> dict[str, Any]:
        """What serves each method."""
        return {
            "Play": self.play,
            "Look": self.play,
            "Hidden": self.play,
            "Repeat": self.repeat,
            "Gather": self.gather,
            "Echo": self.echo,
        }

    async def play(self, request: Any, context: Any) -> Any:
        """Answer one song."""
        await context.send_initial_metadata(INITIAL if request.title == "meta" else [])
        await self._behave(request, context)
        if request.title == "huge":
            return self.song(title="la" * 50_000)
        return self.song(title=request.title, plays=request.plays + 1, etag=request.etag)

    async def repeat(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Answer as many songs as asked, then do what the title says."""
        await context.send_initial_metadata(INITIAL if request.title == "meta" else [])
        for number in range(request.plays):
            yield self.song(title=request.title, plays=number)
        await self._behave(request, context)

    async def gather(self, requests: AsyncIterator[Any], context: Any) -> Any:
        """Answer all titles."""
        titles = []
        async for request in requests:
            await self._behave(request, context)
            titles.append(request.title)
        return self.songs(titles=titles)

    async def echo(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Answer each song at once."""
        async for request in requests:
            await self._behave(request, context)
            yield request

    async def _behave(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        self.time_left = context.time_remaining()
        word, _, number = request.title.partition("-")
        if word == "code":
            await context.abort_with_status(rpc_status.to_status(status_of(int(number))))
        if word == "boom":
            raise ValueError("secret")
        if word == "meta":
            context.set_trailing_metadata([("x-cost", "5"), ("x-cost-bin", b"\x00\xff"), ("x-other", "6")])
        if word == "slow":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise


def status_of(code: int) -> status_pb2.Status:
    """Return the status that the title ``code-N`` brings: a text that needs escapes, and one detail."""
    status = status_pb2.Status(code=code, message=f"100% wrong: {code} ü\n")
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2)))
    return status
