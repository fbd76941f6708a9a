"""What the analyst's database keeps of one person."""

from collections.abc import Mapping

import apsw
import orjson

from services.analyst.domain.subject_data import SubjectRecord
from services.analyst.stores.database import Database, us_time

_COUNTS = {
    "semantic_models": "SELECT count(*) FROM models WHERE owner_user = ?",
    "answers": "SELECT count(*) FROM answers WHERE owner_user = ?",
    "feedback": "SELECT count(*) FROM feedback WHERE owner_user = ?",
}
_MODELS = """
  SELECT m.name, v.version, m.access_level, m.reader_roles, v.yaml, v.created_at
  FROM models m JOIN model_versions v USING (model_id) WHERE m.owner_user = ? ORDER BY m.name, v.version
"""


class EmbeddedSubjectData:
    """Counts, hands out, erases, makes anonymous."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, owner: str) -> Mapping[str, int]:
        """Return how many things of each kind are kept."""
        return await self._database.read(lambda connection: _count(connection, owner))

    async def records(self, owner: str) -> list[SubjectRecord]:
        """Return everything."""

        def work(connection: apsw.Connection) -> list[SubjectRecord]:
            found = []
            for name, version, access, roles, yaml, at in connection.execute(_MODELS, (owner,)):
                record = {
                    "name": name,
                    "version": version,
                    "access_level": access,
                    "reader_roles": orjson.loads(roles),
                    "yaml": yaml,
                }
                found.append(SubjectRecord("semantic_model", record | {"created_at": us_time(at).isoformat()}))
            for row in connection.execute("SELECT * FROM answers WHERE owner_user = ? ORDER BY asked_at", (owner,)):
                record = {"answer_id": row[0], "conversation_id": row[2], "question": row[4], "statement": row[5]}
                found.append(SubjectRecord("answer", record | {"asked_at": us_time(row[7]).isoformat()}))
            for row in connection.execute("SELECT * FROM feedback WHERE owner_user = ? ORDER BY given_at", (owner,)):
                record = {"answer_id": row[0], "positive": bool(row[3]), "comment": row[4]}
                found.append(SubjectRecord("feedback", record | {"given_at": us_time(row[5]).isoformat()}))
            return found

        return await self._database.read(work)

    async def erase(self, owner: str) -> Mapping[str, int]:
        """Erase everything; return how much it was."""

        def work(connection: apsw.Connection) -> Mapping[str, int]:
            counts = _count(connection, owner)
            for table in ("models", "answers", "feedback"):
                connection.execute(f"DELETE FROM {table} WHERE owner_user = ?", (owner,))  # noqa: S608
            return counts

        counts = await self._database.write(work)
        await self._database.scrub()
        return counts

    async def anonymize(self, owner: str, nobody: str) -> Mapping[str, int]:
        """Erase what only *owner* could see; give the rest to *nobody*."""

        def work(connection: apsw.Connection) -> Mapping[str, int]:
            counts = _count(connection, owner)
            connection.execute("DELETE FROM models WHERE owner_user = ? AND access_level = 'PRIVATE'", (owner,))
            connection.execute("UPDATE models SET owner_user = ? WHERE owner_user = ?", (nobody, owner))
            connection.execute(
                "UPDATE model_versions SET yaml = replace(yaml, :was, :is) WHERE model_id IN (SELECT model_id FROM models WHERE owner_user = :nobody)",
                {"was": f"verified_by: {owner}\n", "is": f"verified_by: {nobody}\n", "nobody": nobody},
            )
            for table in ("answers", "feedback"):
                connection.execute(f"DELETE FROM {table} WHERE owner_user = ?", (owner,))  # noqa: S608
            return counts

        counts = await self._database.write(work)
        await self._database.scrub()
        return counts


def _count(connection: apsw.Connection, owner: str) -> Mapping[str, int]:
    return {kind: int(connection.execute(statement, (owner,)).get) for kind, statement in _COUNTS.items()}
