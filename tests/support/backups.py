"""What tests of backups share: a deployment that may back up, the rows of a database, and a search for bytes."""

import base64
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
from google.longrunning.operations_pb2 import Operation
from google.protobuf.message import Message

from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import governance_service_pb2 as pb
from memorybox.memory.v1 import memory_service_pb2
from services.memory.stores.embedded.ownership import tables
from services.mesh.keys import ANY, Grant
from tests.support.clients import Deployment
from tests.support.governed import Office

EVERYTHING = Grant((ANY,), (ANY,), ("memory",), (ANY,))
CALLS_ON = Grant((ANY,), (ANY,), ("embedding", "chat"), (ANY,))


def deployment_in(folder: Path) -> Deployment:
    """Return a deployment with the keys that these tests call with."""
    return Deployment(folder, (("gateway", "gateway", EVERYTHING), ("memory", "service", CALLS_ON)))


def rows_of(database: Path, *without: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table but *without*."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        names = [name for name in tables(connection) if name not in without]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in names}  # noqa: S608
    finally:
        connection.close()


def forms_of(word: str) -> list[bytes]:
    """Return *word* as it may stand in a file that does not hide it: encodings, and base64 at each of its three offsets."""
    plain = [word.encode(), word.lower().encode(), word.encode("utf-16-le"), word.encode().hex().encode()]
    coded = [base64.b64encode(bytes(shift) + word.encode()).rstrip(b"=")[4:-2] for shift in (0, 1, 2)]
    return [*plain, *(form for form in coded if len(form) > 6), *(form.translate(_URL_SAFE) for form in coded if len(form) > 6)]  # fmt: skip


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def readable_parts(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, and what any zlib or gzip stream in it unpacks to."""
    data = path.read_bytes()
    yield data
    for head in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b\x08"):
        place = data.find(head)
        while place >= 0:
            with suppress(zlib.error):
                yield zlib.decompressobj(wbits=47).decompress(data[place:], 1 << 20)
            place = data.find(head, place + 1)


def places_of(word: str, *folders: Path) -> list[str]:
    """Return the files below *folders* in which *word* can be read in one of its forms."""
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    forms = forms_of(word)
    return [path.name for path in files if any(form in part for part in readable_parts(path) for form in forms)]


def result_of(operation: Operation, kind: type[Message]) -> Any:
    """Return the result of an operation that succeeded."""
    result = kind()
    assert operation.response.Unpack(result), operation
    return result


async def backed_up(office: Office, **fields: str) -> governance_pb2.Backup:
    """Return a backup that was just made."""
    started = await office.CreateBackup(pb.CreateBackupRequest(**fields))
    made: governance_pb2.Backup = result_of(await office.operation(started.name, within_s=30), governance_pb2.Backup)
    return made


async def restored(office: Office, backup_id: str, **fields: Any) -> governance_pb2.RestoredBackup:
    """Return what was restored aside."""
    started = await office.RestoreBackup(pb.RestoreBackupRequest(backup_id=backup_id, **fields))
    operation = await office.operation(started.name, within_s=30)
    found: governance_pb2.RestoredBackup = result_of(operation, governance_pb2.RestoredBackup)
    return found


async def taken_out(client: Any) -> list[bytes]:
    """Return everything that a user keeps, sealed."""
    stream = client.ExportMemories(memory_service_pb2.ExportMemoriesRequest(sealed=True, include_embeddings=True))
    return [message.sealed async for message in stream]


async def brought_back(
    client: Any, sealed: Sequence[bytes], import_id: str
) -> memory_service_pb2.ImportMemoriesResponse:
    """Return what came of importing what was sealed."""
    config = memory_service_pb2.ImportMemoriesRequest.Config(import_id=import_id)
    messages = [memory_service_pb2.ImportMemoriesRequest(config=config)]
    messages += [memory_service_pb2.ImportMemoriesRequest(sealed=item) for item in sealed]
    answer: memory_service_pb2.ImportMemoriesResponse = await client.ImportMemories(iter(messages))
    return answer
