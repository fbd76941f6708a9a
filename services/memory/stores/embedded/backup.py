"""Making a backup of what one read transaction sees, and reading it back."""

from datetime import datetime

import apsw

from services.memory.domain.jobs import Meter
from services.memory.stores.embedded.backup_file import BackupReader, BackupWriter, BoxFiller, Manifest, Table
from services.memory.stores.embedded.database import schema_version
from services.memory.stores.embedded.ownership import OWNERS, tables
from services.memory.stores.embedded.rows import last_seq


def dump(connection: apsw.Connection, writer: BackupWriter, now: datetime, meter: Meter) -> Manifest:
    """Write what *connection*'s transaction sees; all of it is durable when this returns."""
    names = tables(connection)
    meter.total = 2 * sum(int(connection.execute(f"SELECT count(*) FROM {name}").get) for name in names)  # noqa: S608
    dumped = tuple(_dump_table(connection, writer, number, name, meter) for number, name in enumerate(names))
    schema, seq = schema_version(connection), last_seq(connection)
    return writer.finish(Manifest(writer.backup_id, now.isoformat(), schema, seq, dumped, ()))


def _dump_table(connection: apsw.Connection, writer: BackupWriter, number: int, name: str, meter: Meter) -> Table:
    columns = tuple(row[1] for row in connection.execute(f"PRAGMA table_info({name})"))
    statement = f"SELECT coalesce({OWNERS[name]}, ''), {', '.join(f't.{column}' for column in columns)} FROM {name} t"  # noqa: S608
    filler = BoxFiller(writer, number)
    for owner, *row in connection.execute(statement):
        written = filler.add(owner, tuple(row))
        if written:
            meter.advance(written)
    meter.advance(filler.flush())
    return Table(name, columns, filler.count)


def read_back(reader: BackupReader, meter: Meter) -> tuple[int, int]:
    """Check every byte of a backup; return how many rows, and of how many owners, cannot be read since their keys were shredded."""
    rows, owners = 0, set()
    for box in reader.boxes():
        if box.rows is None:
            rows += box.row_count
            owners.add(box.key_id)
        meter.advance(box.row_count)
    return rows, len(owners)
