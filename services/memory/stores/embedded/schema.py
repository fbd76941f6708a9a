"""The tables, as numbered migrations; a number once released is never edited."""

# Times are microseconds since 1970 UTC. JSON columns hold compact UTF-8.
_FIRST = """
CREATE TABLE settings (
  name  TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Who may see a row is decided by the one partition it lies in. reader_roles is the sorted set as JSON; owner_user is '' for PUBLIC.
CREATE TABLE partitions (
  partition_id INTEGER PRIMARY KEY,
  access_level TEXT NOT NULL,
  owner_user   TEXT NOT NULL,
  reader_roles TEXT NOT NULL,
  UNIQUE (access_level, owner_user, reader_roles)
) STRICT;
CREATE INDEX partitions_by_owner ON partitions (owner_user);
-- Stands in for the row of an absent id, so that absent and hidden ids cost the same.
INSERT INTO partitions VALUES (0, 'NOBODY', '', '[]');

CREATE TABLE partition_roles (
  role         TEXT NOT NULL,
  partition_id INTEGER NOT NULL,
  PRIMARY KEY (role, partition_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE spaces (
  space_id  INTEGER PRIMARY KEY,
  name      TEXT NOT NULL UNIQUE,
  dimension INTEGER NOT NULL
) STRICT;

-- doc is the number of the change that created the row. external_claim is external_id while it bars others from using it.
CREATE TABLE memories (
  doc             INTEGER PRIMARY KEY,
  memory_id       TEXT NOT NULL UNIQUE,
  partition_id    INTEGER NOT NULL,
  revision        INTEGER NOT NULL,
  size_bytes      INTEGER NOT NULL,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  event_time      INTEGER,
  valid_from      INTEGER,
  valid_until     INTEGER,
  expires_at      INTEGER,
  delete_time     INTEGER,
  owner_user      TEXT NOT NULL,
  access_level    TEXT NOT NULL,
  reader_roles    TEXT NOT NULL,
  bucket          TEXT NOT NULL,
  external_id     TEXT NOT NULL,
  external_claim  TEXT,
  superseded_by   TEXT NOT NULL,
  content_type    TEXT NOT NULL,
  embedding_space TEXT NOT NULL,
  request_hash    BLOB,
  tags            TEXT NOT NULL,
  source          TEXT,
  metadata        TEXT NOT NULL,
  content         TEXT NOT NULL
) STRICT;
CREATE INDEX memories_listed ON memories
  (partition_id, created_at DESC, memory_id DESC, bucket, expires_at, size_bytes) WHERE delete_time IS NULL;
CREATE UNIQUE INDEX memories_claimed ON memories (owner_user, external_claim) WHERE external_claim IS NOT NULL;

-- vector is float32, little-endian, unpadded; revision is the one that brought the content it was made from.
CREATE TABLE vectors (
  doc      INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  space_id INTEGER NOT NULL,
  vector   BLOB NOT NULL,
  PRIMARY KEY (doc, revision)
) STRICT;

-- What keyword.tokenize found: distinct terms joined by line feeds, and how often each occurs (uint32, little-endian).
CREATE TABLE terms (
  doc    INTEGER PRIMARY KEY,
  terms  TEXT NOT NULL,
  counts BLOB NOT NULL
) STRICT;

-- Every change in commit order; AUTOINCREMENT, so that a number is never given twice.
CREATE TABLE changes (
  seq       INTEGER PRIMARY KEY AUTOINCREMENT,
  memory_id TEXT NOT NULL,
  revision  INTEGER NOT NULL,
  kind      TEXT NOT NULL,
  at        INTEGER NOT NULL
) STRICT;
"""

# Decides who sees an id without touching its row, which an absent id does not have.
_ACCESS = "CREATE INDEX memories_access ON memories (memory_id, partition_id, delete_time, expires_at)"

# partition_before and partition_after say who could read the memory up to a change and from it on: 0 nobody (absent or deleted),
# NULL not known (changes of schema 2 and older). next_index of an import counts its items that are decided, kept or refused.
_MOVING = """
ALTER TABLE changes ADD COLUMN partition_before INTEGER;
ALTER TABLE changes ADD COLUMN partition_after INTEGER;
CREATE INDEX memories_owned ON memories (owner_user) WHERE delete_time IS NULL;
CREATE TABLE imports (
  owner_user     TEXT NOT NULL,
  import_id      TEXT NOT NULL,
  next_index     INTEGER NOT NULL,
  imported_count INTEGER NOT NULL,
  refusals       TEXT NOT NULL,
  updated_at     INTEGER NOT NULL,
  PRIMARY KEY (owner_user, import_id)
) STRICT, WITHOUT ROWID;
"""

# A person stands in events as a pseudonym made with a key of their own; without their row of audit_people it leads nowhere, and the
# chains hold as before. owner_usage is kept by triggers, so that no way of writing can pass it by; bytes are of content and metadata.
# starter and request_key of operations are keyed digests: who started one finds it, also after their name was erased.
_GOVERNING = """
CREATE TABLE audit_people (
  user      TEXT PRIMARY KEY,
  pseudonym TEXT NOT NULL UNIQUE,
  key       BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_events (
  event_no     INTEGER PRIMARY KEY AUTOINCREMENT,
  writer_id    TEXT NOT NULL,
  seq          INTEGER NOT NULL,
  prev_hash    BLOB NOT NULL,
  hash         BLOB NOT NULL,
  event_time   INTEGER NOT NULL,
  actor        TEXT NOT NULL,
  method       TEXT NOT NULL,
  outcome      TEXT NOT NULL,
  trace_id     TEXT NOT NULL,
  resource_ids TEXT NOT NULL,
  owners       TEXT NOT NULL,
  UNIQUE (writer_id, seq)
) STRICT;

CREATE TABLE audit_subjects (
  pseudonym TEXT NOT NULL,
  event_no  INTEGER NOT NULL,
  PRIMARY KEY (pseudonym, event_no)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_chains (
  writer_id TEXT PRIMARY KEY,
  seq       INTEGER NOT NULL,
  hash      BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE operations (
  operation_no INTEGER PRIMARY KEY AUTOINCREMENT,
  operation_id TEXT NOT NULL UNIQUE,
  kind         TEXT NOT NULL,
  starter      TEXT NOT NULL,
  request_key  TEXT UNIQUE,
  state        TEXT NOT NULL,
  cancelling   INTEGER NOT NULL,
  request      TEXT NOT NULL,
  cursor       TEXT NOT NULL,
  done_count   INTEGER NOT NULL,
  total_count  INTEGER NOT NULL,
  note         TEXT NOT NULL,
  result       TEXT,
  error        TEXT,
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL,
  due_at       INTEGER NOT NULL,
  attempts     INTEGER NOT NULL,
  lease_holder TEXT NOT NULL,
  lease_until  INTEGER NOT NULL
) STRICT;
CREATE INDEX operations_due ON operations (due_at) WHERE state IN ('PENDING', 'RUNNING');
CREATE INDEX operations_started ON operations (starter, operation_no);

CREATE TABLE owner_quotas (
  owner_user        TEXT PRIMARY KEY,
  max_memories      INTEGER NOT NULL,
  max_content_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE owner_usage (
  owner_user    TEXT PRIMARY KEY,
  memory_count  INTEGER NOT NULL,
  content_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO owner_usage
  SELECT owner_user, count(*), sum(octet_length(content) + octet_length(metadata)) FROM memories GROUP BY owner_user;
CREATE TRIGGER memory_usage_grows AFTER INSERT ON memories BEGIN
  INSERT INTO owner_usage VALUES (NEW.owner_user, 1, octet_length(NEW.content) + octet_length(NEW.metadata))
    ON CONFLICT (owner_user) DO UPDATE SET
      memory_count = memory_count + 1, content_bytes = content_bytes + excluded.content_bytes;
END;
CREATE TRIGGER memory_usage_shrinks AFTER DELETE ON memories BEGIN
  UPDATE owner_usage SET memory_count = memory_count - 1,
    content_bytes = content_bytes - octet_length(OLD.content) - octet_length(OLD.metadata) WHERE owner_user = OLD.owner_user;
END;
CREATE TRIGGER memory_usage_changes AFTER UPDATE OF content, metadata ON memories BEGIN
  UPDATE owner_usage SET content_bytes = content_bytes + octet_length(NEW.content) + octet_length(NEW.metadata)
    - octet_length(OLD.content) - octet_length(OLD.metadata) WHERE owner_user = OLD.owner_user;
END;
CREATE INDEX memories_of_owner ON memories (owner_user);
"""

# Former states of memories, whole and under the same names as in memories, which holds the current state; partition_id says who
# could read the state. parents is source.parent_memory_ids the other way round.
_RECORD = """
CREATE TABLE revisions (
  doc             INTEGER NOT NULL,
  revision        INTEGER NOT NULL,
  memory_id       TEXT NOT NULL,
  partition_id    INTEGER NOT NULL,
  size_bytes      INTEGER NOT NULL,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  event_time      INTEGER,
  valid_from      INTEGER,
  valid_until     INTEGER,
  expires_at      INTEGER,
  delete_time     INTEGER,
  owner_user      TEXT NOT NULL,
  access_level    TEXT NOT NULL,
  reader_roles    TEXT NOT NULL,
  bucket          TEXT NOT NULL,
  external_id     TEXT NOT NULL,
  superseded_by   TEXT NOT NULL,
  content_type    TEXT NOT NULL,
  embedding_space TEXT NOT NULL,
  request_hash    BLOB,
  tags            TEXT NOT NULL,
  source          TEXT,
  metadata        TEXT NOT NULL,
  content         TEXT NOT NULL,
  PRIMARY KEY (doc, revision)
) STRICT;
CREATE TABLE parents (
  parent_id TEXT NOT NULL,
  doc       INTEGER NOT NULL,
  PRIMARY KEY (parent_id, doc)
) STRICT, WITHOUT ROWID;
INSERT INTO parents SELECT DISTINCT p.value, m.doc FROM memories m, json_each(m.source, '$.parent_memory_ids') p;
CREATE INDEX memories_superseded ON memories (superseded_by) WHERE superseded_by <> '';
DROP INDEX memories_listed;
CREATE INDEX memories_listed ON memories
  (partition_id, created_at DESC, memory_id DESC, bucket, expires_at, valid_from, valid_until, size_bytes) WHERE delete_time IS NULL;
"""

# Vectors of the parts of contents that were split, as those in vectors, with the code points that each was made from. They go with
# the content's pooled vector, whatever deletes it.
_PARTS = """
CREATE TABLE parts (
  doc        INTEGER NOT NULL,
  revision   INTEGER NOT NULL,
  space_id   INTEGER NOT NULL,
  part_no    INTEGER NOT NULL,
  first_char INTEGER NOT NULL,
  end_char   INTEGER NOT NULL,
  vector     BLOB NOT NULL,
  PRIMARY KEY (doc, space_id, part_no)
) STRICT;
CREATE TRIGGER parts_follow_vectors AFTER DELETE ON vectors BEGIN
  DELETE FROM parts WHERE doc = OLD.doc AND space_id = OLD.space_id;
END;
"""

# What a search leaves out because it does not hold at the time: few rows have bounds at all.
_VALIDITY = """
CREATE INDEX memories_bounded ON memories (partition_id, valid_until, valid_from)
  WHERE valid_from IS NOT NULL OR valid_until IS NOT NULL
"""

# A content may have a vector in each of several spaces: in the active one, named by settings.active_space, by which it is found, and in
# settings.target_space while that is filled. unsplit holds contents that may be long and were written before contents had parts.
_SPACES = """
CREATE TABLE vectors_by_space (
  doc      INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  space_id INTEGER NOT NULL,
  vector   BLOB NOT NULL,
  PRIMARY KEY (doc, space_id)
) STRICT;
INSERT OR REPLACE INTO vectors_by_space SELECT doc, revision, space_id, vector FROM vectors ORDER BY doc, revision;
DROP TABLE vectors;
ALTER TABLE vectors_by_space RENAME TO vectors;
CREATE TABLE unsplit (
  doc      INTEGER PRIMARY KEY,
  space_id INTEGER NOT NULL
) STRICT;
INSERT INTO unsplit SELECT v.doc, v.space_id FROM vectors v JOIN memories m USING (doc)
  WHERE octet_length(m.content) > 250 AND NOT EXISTS (SELECT 1 FROM parts p WHERE p.doc = v.doc AND p.space_id = v.space_id);
CREATE TRIGGER parts_follow_vectors AFTER DELETE ON vectors BEGIN
  DELETE FROM parts WHERE doc = OLD.doc AND space_id = OLD.space_id;
  DELETE FROM unsplit WHERE doc = OLD.doc AND space_id = OLD.space_id;
END;
INSERT INTO settings SELECT 'active_space', s.name FROM vectors v JOIN spaces s USING (space_id)
  GROUP BY v.space_id ORDER BY count(*) DESC LIMIT 1;
"""

# What neighbours share, and their order. The names in an index's expressions have no table before them, those in statements do.
PLACE = "iif(coalesce(m.source ->> '$.uri', '') <> '', 'uri:' || (m.source ->> '$.uri'), 'bucket:' || m.bucket)"
MOMENT = "coalesce(m.event_time, m.created_at)"
_PLACES = f"""
CREATE INDEX memories_placed ON memories (partition_id, owner_user, {PLACE.replace("m.", "")}, {MOMENT.replace("m.", "")}, memory_id)
  WHERE delete_time IS NULL
"""

_EXPIRY_TRIGGERS = """
CREATE TRIGGER expiry_begins AFTER INSERT ON memories WHEN NEW.expires_at IS NOT NULL BEGIN
  INSERT INTO expiries VALUES (NEW.doc, NEW.expires_at);
END;
CREATE TRIGGER expiry_changes AFTER UPDATE OF expires_at, delete_time ON memories
  WHEN OLD.expires_at IS NOT NEW.expires_at OR OLD.delete_time IS NOT NEW.delete_time BEGIN
  DELETE FROM expiries WHERE doc = NEW.doc;
  INSERT INTO expiries SELECT NEW.doc, NEW.expires_at WHERE NEW.expires_at IS NOT NULL AND NEW.delete_time IS NULL;
END;
CREATE TRIGGER expiry_ends AFTER DELETE ON memories BEGIN
  DELETE FROM expiries WHERE doc = OLD.doc;
END;
"""
# What will expire and was not told to watchers yet; what had expired at the upgrade is long known.
_EXPIRIES = f"""
CREATE TABLE expiries (
  doc        INTEGER PRIMARY KEY,
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX expiries_due ON expiries (expires_at);
INSERT INTO expiries SELECT doc, expires_at FROM memories
  WHERE delete_time IS NULL AND expires_at > CAST(unixepoch('subsec') * 1000000 AS INTEGER);
{_EXPIRY_TRIGGERS}
"""  # noqa: S608  # built of constants

# An id is unique among its owner's memories alone, so that an import that keeps its ids never meets anyone else's; changes name their
# row. memories_owned is gone: memories_of_owner serves what it did.
_IDENTITY = f"""
ALTER TABLE changes ADD COLUMN doc INTEGER;
UPDATE changes SET doc = (SELECT m.doc FROM memories m WHERE m.memory_id = changes.memory_id);
CREATE TABLE memories_by_owner (
  doc             INTEGER PRIMARY KEY,
  memory_id       TEXT NOT NULL,
  partition_id    INTEGER NOT NULL,
  revision        INTEGER NOT NULL,
  size_bytes      INTEGER NOT NULL,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  event_time      INTEGER,
  valid_from      INTEGER,
  valid_until     INTEGER,
  expires_at      INTEGER,
  delete_time     INTEGER,
  owner_user      TEXT NOT NULL,
  access_level    TEXT NOT NULL,
  reader_roles    TEXT NOT NULL,
  bucket          TEXT NOT NULL,
  external_id     TEXT NOT NULL,
  external_claim  TEXT,
  superseded_by   TEXT NOT NULL,
  content_type    TEXT NOT NULL,
  embedding_space TEXT NOT NULL,
  request_hash    BLOB,
  tags            TEXT NOT NULL,
  source          TEXT,
  metadata        TEXT NOT NULL,
  content         TEXT NOT NULL
) STRICT;
INSERT INTO memories_by_owner SELECT * FROM memories ORDER BY doc;
DROP TABLE memories;
ALTER TABLE memories_by_owner RENAME TO memories;
CREATE UNIQUE INDEX memories_identity ON memories (owner_user, memory_id);
CREATE INDEX memories_access ON memories (memory_id, partition_id, delete_time, expires_at);
CREATE INDEX memories_listed ON memories
  (partition_id, created_at DESC, memory_id DESC, bucket, expires_at, valid_from, valid_until, size_bytes) WHERE delete_time IS NULL;
CREATE UNIQUE INDEX memories_claimed ON memories (owner_user, external_claim) WHERE external_claim IS NOT NULL;
CREATE INDEX memories_of_owner ON memories (owner_user);
CREATE INDEX memories_superseded ON memories (superseded_by) WHERE superseded_by <> '';
CREATE INDEX memories_bounded ON memories (partition_id, valid_until, valid_from)
  WHERE valid_from IS NOT NULL OR valid_until IS NOT NULL;
{_PLACES};
CREATE TRIGGER memory_usage_grows AFTER INSERT ON memories BEGIN
  INSERT INTO owner_usage VALUES (NEW.owner_user, 1, octet_length(NEW.content) + octet_length(NEW.metadata))
    ON CONFLICT (owner_user) DO UPDATE SET
      memory_count = memory_count + 1, content_bytes = content_bytes + excluded.content_bytes;
END;
CREATE TRIGGER memory_usage_shrinks AFTER DELETE ON memories BEGIN
  UPDATE owner_usage SET memory_count = memory_count - 1,
    content_bytes = content_bytes - octet_length(OLD.content) - octet_length(OLD.metadata) WHERE owner_user = OLD.owner_user;
END;
CREATE TRIGGER memory_usage_changes AFTER UPDATE OF content, metadata ON memories BEGIN
  UPDATE owner_usage SET content_bytes = content_bytes + octet_length(NEW.content) + octet_length(NEW.metadata)
    - octet_length(OLD.content) - octet_length(OLD.metadata) WHERE owner_user = OLD.owner_user;
END;
{_EXPIRY_TRIGGERS}
"""  # noqa: S608  # built of constants

# Former states take room too; revision_bytes is kept by triggers, as the rest of owner_usage. storage_samples has what the store held on
# each day, as last looked at.
_ACCOUNTING = """
ALTER TABLE owner_usage ADD COLUMN revision_bytes INTEGER NOT NULL DEFAULT 0;
INSERT INTO owner_usage (owner_user, memory_count, content_bytes, revision_bytes)
  SELECT owner_user, 0, 0, sum(octet_length(content) + octet_length(metadata)) FROM revisions WHERE true GROUP BY owner_user
  ON CONFLICT (owner_user) DO UPDATE SET revision_bytes = excluded.revision_bytes;
DROP TRIGGER memory_usage_grows;
CREATE TRIGGER memory_usage_grows AFTER INSERT ON memories BEGIN
  INSERT INTO owner_usage (owner_user, memory_count, content_bytes)
    VALUES (NEW.owner_user, 1, octet_length(NEW.content) + octet_length(NEW.metadata))
    ON CONFLICT (owner_user) DO UPDATE SET
      memory_count = memory_count + 1, content_bytes = content_bytes + excluded.content_bytes;
END;
CREATE TRIGGER revision_usage_grows AFTER INSERT ON revisions BEGIN
  INSERT INTO owner_usage (owner_user, memory_count, content_bytes, revision_bytes)
    VALUES (NEW.owner_user, 0, 0, octet_length(NEW.content) + octet_length(NEW.metadata))
    ON CONFLICT (owner_user) DO UPDATE SET revision_bytes = revision_bytes + excluded.revision_bytes;
END;
CREATE TRIGGER revision_usage_shrinks AFTER DELETE ON revisions BEGIN
  UPDATE owner_usage SET revision_bytes = revision_bytes - octet_length(OLD.content) - octet_length(OLD.metadata)
    WHERE owner_user = OLD.owner_user;
END;
CREATE TABLE storage_samples (
  day           TEXT PRIMARY KEY,
  memory_count  INTEGER NOT NULL,
  deleted_count INTEGER NOT NULL,
  size_bytes    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""

MIGRATIONS: tuple[str, ...] = (
    _FIRST,
    _ACCESS,
    _MOVING,
    _GOVERNING,
    _RECORD,
    _PARTS,
    _VALIDITY,
    _SPACES,
    _PLACES,
    _EXPIRIES,
    _IDENTITY,
    _ACCOUNTING,
)  # migration n is the n-th
