"""The schema of the analyst's database, one migration after the other; append, never edit."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

    CREATE TABLE models (
      model_id TEXT PRIMARY KEY,
      owner_user TEXT NOT NULL,
      name TEXT NOT NULL,
      version INTEGER NOT NULL,
      access_level TEXT NOT NULL,
      reader_roles TEXT NOT NULL, -- a JSON array
      description TEXT NOT NULL,
      created_at INTEGER NOT NULL, -- microseconds since 1970, as all times here
      updated_at INTEGER NOT NULL,
      UNIQUE (owner_user, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX models_by_name ON models (name, owner_user);
    CREATE TABLE model_versions (
      model_id TEXT NOT NULL REFERENCES models ON DELETE CASCADE,
      version INTEGER NOT NULL,
      yaml TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      PRIMARY KEY (model_id, version)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE answers (
      answer_id TEXT PRIMARY KEY,
      owner_user TEXT NOT NULL,
      conversation_id TEXT NOT NULL,
      model_id TEXT NOT NULL,
      question TEXT NOT NULL,
      statement TEXT NOT NULL,
      dialect TEXT NOT NULL,
      asked_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX answers_by_conversation ON answers (owner_user, conversation_id, asked_at);
    CREATE INDEX answers_by_time ON answers (asked_at);
    CREATE TABLE feedback (
      answer_id TEXT PRIMARY KEY,
      owner_user TEXT NOT NULL,
      model_id TEXT NOT NULL,
      positive INTEGER NOT NULL,
      comment TEXT NOT NULL,
      given_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX feedback_by_owner ON feedback (owner_user);

    CREATE TABLE audit_outbox (
      seq INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, without gaps: rolled back numbers come again
      actor TEXT NOT NULL,
      method TEXT NOT NULL,
      outcome TEXT NOT NULL,
      resource_ids TEXT NOT NULL, -- a JSON array
      trace_id TEXT NOT NULL,
      happened_at INTEGER NOT NULL
    ) STRICT;
    """,
)
