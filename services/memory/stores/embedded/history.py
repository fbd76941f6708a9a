"""Former states of memories as rows; who may see one is part of every statement."""

import apsw

_STATE = (
    "doc, revision, memory_id, partition_id, size_bytes, created_at, updated_at, event_time, valid_from, valid_until, expires_at,"
    " delete_time, owner_user, access_level, reader_roles, bucket, external_id, superseded_by, content_type, embedding_space,"
    " request_hash, tags, source, metadata, content"
)
_KEEP = f"INSERT INTO revisions ({_STATE}) SELECT {_STATE} FROM memories WHERE doc = ?"  # noqa: S608  # built of constants


def keep_state(connection: apsw.Connection, doc: int) -> None:
    """Keep the current state of row *doc*, which is about to be replaced."""
    connection.execute(_KEEP, (doc,))
