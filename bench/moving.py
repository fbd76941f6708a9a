"""What moving takes: memories go out of one memory service and into another, are compared byte for byte, and the memory of both processes is watched.

The services are real processes with real gRPC between them and this one; vectors are made up and travel along, so that no model runs.
What an import adds to a process is mostly the search index over the new rows, which it would hold however they came: a process that opens
the same folder afterwards tells how much that is, and what the import takes is what it had beyond that.
"""

import argparse
import asyncio
import hashlib
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from memorybox.memory.v1 import memory_pb2, memory_service_pb2_grpc
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.cli.grants import standard_keys
from services.memory.app import service
from services.memory.domain.memory import Embedding
from services.memory.domain.ports import EmbeddingSpace, InputKind
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.mesh import server
from services.mesh.config import MeshSettings, load
from services.mesh.identity import HopSigner
from services.mesh.keys import KeyFolder
from services.mesh.server import Mesh, Service
from tests.support.mesh import free_ports

LIMIT_MIB = 50
READY_S = 300.0
WORDS = [f"word{number}" for number in range(5000)]


class NoEmbedder:
    """Names a space and makes no vectors: here all come along."""

    def __init__(self, dimension: int) -> None:
        self._space = EmbeddingSpace(f"bench@1/{dimension}/none/none", dimension, 0.5)

    async def spaces(self, *, fresh: bool = False) -> Sequence[EmbeddingSpace]:
        """Return the one space."""
        return (self._space,)

    async def embed(
        self, texts: Sequence[str], kind: InputKind, space: str = ""
    ) -> tuple[EmbeddingSpace, list[Embedding]]:
        """Refuse: a vector was not taken over."""
        raise AssertionError(f"{len(texts)} contents came without a {kind} vector")


async def build(mesh: Mesh, dimension: int) -> Service:
    """Wire a memory service over the embedded store."""
    store = await EmbeddedMemoryStore.open(mesh.settings.data_dir / "memory")
    mesh.stack.push_async_callback(store.close)
    return service(store, NoEmbedder(dimension), leaving=mesh.leaving)


def memory(number: int, dimension: int) -> memory_pb2.Memory:
    """Return memory *number*: some 200 characters, metadata, tags, a vector of length 1."""
    random = np.random.default_rng(number)
    vector = random.standard_normal(dimension)
    made = memory_pb2.Memory(
        content=" ".join(WORDS[place] for place in random.integers(0, len(WORDS), 25)),
        external_id=f"bench/{number}",
        tags=["bench", f"t{number % 10}"],
        embedding=(vector / np.linalg.norm(vector)).astype(np.float32).tolist(),
        embedding_space=f"bench@1/{dimension}/none/none",
    )
    made.metadata["number"] = number
    return made


@dataclass
class Process:
    """A memory service as a process, called as one user. ``peak_mib`` is the most it had since ``rest``."""

    pid: int
    channel: grpc.aio.Channel
    signer: HopSigner
    peak_mib: float = 0.0
    watching: "asyncio.Task[None] | None" = field(default=None)

    def stub(self) -> Any:
        """Return the service's stub."""
        made: Any = memory_service_pb2_grpc.MemoryServiceStub
        return made(self.channel)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return proof of who calls."""
        return (("authorization", f"Bearer {self.signer.token('memory', 'ann', ())}"),)

    def rss_mib(self) -> float:
        """Return the memory that the process has now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * 4096 / (1 << 20)

    async def watch(self) -> None:
        """Keep ``peak_mib`` up to date."""
        while True:
            self.peak_mib = max(self.peak_mib, self.rss_mib())
            await asyncio.sleep(0.1)

    def rest(self) -> float:
        """Begin a new measurement and return what the process has."""
        self.peak_mib = self.rss_mib()
        return self.peak_mib


@asynccontextmanager
async def running(folder: Path, dimension: int) -> AsyncIterator[Process]:
    """Run a memory service over *folder* until left."""
    base = free_ports((0, 1, 2, 3))
    environ = {"MEMORYBOX_DATA_DIR": str(folder), "MEMORYBOX_PORT_BASE": str(base), "MEMORYBOX_LOG_LEVEL": "WARNING"}
    keys = KeyFolder(load(MeshSettings, environ).keys_dir)
    keys.ensure(standard_keys("ann"))
    arguments = [__file__, "--serve", str(folder), str(base), "--dimension", str(dimension)]
    child = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{base}")
    try:
        async with asyncio.timeout(READY_S):
            await channel.channel_ready()
        process = Process(child.pid, channel, HopSigner(keys, "gateway"))
        process.watching = asyncio.create_task(process.watch())
        yield process
        process.watching.cancel()
    finally:
        await channel.close()
        child.send_signal(signal.SIGTERM)
        await child.wait()


async def made_up(count: int, dimension: int) -> AsyncIterator[memory_pb2.Memory]:
    """Yield *count* memories."""
    for number in range(count):
        yield memory(number, dimension)


class Digest:
    """What went through, as a hash over every memory's bytes."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    async def of(self, memories: AsyncIterator[memory_pb2.Memory]) -> AsyncIterator[memory_pb2.Memory]:
        """Pass *memories* on."""
        async for one in memories:
            self._hash.update(one.SerializeToString(deterministic=True))
            self.count += 1
            yield one

    def __str__(self) -> str:
        return self._hash.hexdigest()


async def exported(process: Process) -> AsyncIterator[memory_pb2.Memory]:
    """Yield everything, vectors included; a stream that ends after its 15 minutes is gone on with."""
    token = ""
    while True:
        request = pb.ExportMemoriesRequest(include_embeddings=True, resume_token=token)
        try:
            async for message in process.stub().ExportMemories(request, metadata=process.metadata()):
                token = message.resume_token
                yield message.memory
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
        else:
            return


async def take_in(process: Process, memories: AsyncIterator[memory_pb2.Memory]) -> pb.ImportMemoriesResponse:
    """Import *memories*."""

    async def messages() -> AsyncIterator[pb.ImportMemoriesRequest]:
        yield pb.ImportMemoriesRequest(config=pb.ImportMemoriesRequest.Config(import_id="bench"))
        async for one in memories:
            yield pb.ImportMemoriesRequest(memory=one)

    answer: pb.ImportMemoriesResponse
    answer = await process.stub().ImportMemories(messages(), metadata=process.metadata())
    return answer


async def drain(memories: AsyncIterator[memory_pb2.Memory]) -> None:
    """Take all *memories*."""
    async for _ in memories:
        pass


def report(what: str, count: int, seconds: float, mib: float) -> None:
    """Print one row."""
    print(f"| {what} | {count / seconds:,.0f} | {mib:.1f} |", flush=True)


async def main(count: int, dimension: int, folder: Path) -> int:
    """Measure; the exit code tells whether both promises hold."""
    print(f"{count:,} memories, vectors of {dimension} dimensions\n")
    print("| | memories a second | MiB beyond what the rows take |\n|---|---|---|")
    took: list[float] = []
    async with running(folder / "a", dimension) as source:
        begin = time.perf_counter()
        await take_in(source, made_up(count, dimension))
        print(f"| (filling) | {count / (time.perf_counter() - begin):,.0f} | |", flush=True)
    async with running(folder / "a", dimension) as source, running(folder / "b", dimension) as target:
        await drain(exported(source))  # so that what is loaded at first use is there
        rest, empty, out = source.rest(), target.rest(), Digest()
        begin = time.perf_counter()
        answer = await take_in(target, out.of(exported(source)))
        moving_s = time.perf_counter() - begin
        took.append(source.peak_mib - rest)
        report("export, straight into the import", count, moving_s, took[-1])
        assert (answer.imported_count, answer.failed_count) == (count, 0), answer
        full = target.peak_mib
    async with running(folder / "b", dimension) as target:
        await drain(exported(target))
        rows = target.rest()
        again, begin = Digest(), time.perf_counter()
        await drain(again.of(exported(target)))
        seconds = time.perf_counter() - begin
        took += [full - rows, target.peak_mib - rows]
        report(
            f"import ({empty:.0f} MiB empty, {full:.0f} at most, {rows:.0f} when opened anew)", count, seconds, took[1]
        )
        report("export of the copy", count, seconds, took[2])
    equal = str(out) == str(again) and out.count == again.count == count
    print(f"\nequal byte for byte: {'yes' if equal else 'NO'}; within {LIMIT_MIB} MiB: {max(took) <= LIMIT_MIB}")
    return 0 if equal and max(took) <= LIMIT_MIB else 1


def run() -> int:
    """Read the arguments and measure, or serve."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--memories", type=int, default=200_000)
    arguments.add_argument("--dimension", type=int, default=384)
    arguments.add_argument("--serve", nargs=2, metavar=("DIR", "PORT"), help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.serve:
        folder, base = chosen.serve
        environ = {"MEMORYBOX_DATA_DIR": folder, "MEMORYBOX_PORT_BASE": base, "MEMORYBOX_LOG_LEVEL": "WARNING"}
        settings = load(MeshSettings, environ)
        asyncio.run(server.run("memory", settings, lambda mesh: build(mesh, chosen.dimension)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(main(chosen.memories, chosen.dimension, Path(folder)))


if __name__ == "__main__":
    sys.exit(run())
