"""The embedded store: durable rows in SQLite, search indexes in memory derived from them."""

from services.memory.stores.embedded.database import IntegrityCheck, SchemaTooNew
from services.memory.stores.embedded.lock import StoreLocked
from services.memory.stores.embedded.store import EmbeddedMemoryStore
from services.mesh.files import FolderUnusable

__all__ = ["EmbeddedMemoryStore", "FolderUnusable", "IntegrityCheck", "SchemaTooNew", "StoreLocked"]
