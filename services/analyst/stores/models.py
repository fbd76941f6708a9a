"""Semantic models in the analyst's database; who may see one is decided in the query."""

from typing import Any

import apsw
import orjson

from services.analyst.domain.ports import KeptModel
from services.analyst.stores.database import Database, time_us, us_time
from services.mesh.caller import Caller

_COLUMNS = "m.model_id, m.name, {version}, m.owner_user, m.access_level, m.reader_roles, {yaml}, m.description, m.created_at, {updated_at}"
_VISIBLE = """
  (m.owner_user = :user OR m.access_level = 'PUBLIC' OR (m.access_level = 'ROLE' AND EXISTS (
    SELECT 1 FROM json_each(m.reader_roles) r JOIN json_each(:roles) h ON h.value = r.value)))
"""
_FIND = f"""
  SELECT {_COLUMNS.format(version="v.version", yaml="v.yaml", updated_at="v.created_at")}
  FROM models m JOIN model_versions v ON v.model_id = m.model_id AND v.version = iif(:version, :version, m.version)
  WHERE m.name = :name AND (:owner = '' OR m.owner_user = :owner) AND {_VISIBLE}
  ORDER BY m.owner_user = :user DESC, m.created_at, m.model_id LIMIT 1
"""  # noqa: S608  # built of constants
_PAGE = f"""
  SELECT {_COLUMNS.format(version="m.version", yaml="''", updated_at="m.updated_at")} FROM models m
  WHERE (m.name, m.owner_user) > (:name, :owner) AND {_VISIBLE}
  ORDER BY m.name, m.owner_user LIMIT :limit
"""  # noqa: S608  # built of constants
_UPSERT = """
  INSERT INTO models VALUES (:model_id, :owner, :name, :version, :access, :roles, :description, :created_at, :updated_at)
  ON CONFLICT (model_id) DO UPDATE SET version = :version, access_level = :access, reader_roles = :roles,
    description = :description, updated_at = :updated_at
"""


class EmbeddedModelStore:
    """Keeps every version."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, caller: Caller, name: str, owner_user: str, version: int = 0) -> KeptModel | None:
        """Return the caller's own model of that name, else the oldest that they may see."""
        bindings = _of(caller) | {"name": name, "owner": owner_user, "version": version}
        row = await self._database.read(lambda connection: connection.execute(_FIND, bindings).fetchone())
        return None if row is None else _model(row)

    async def page(self, caller: Caller, after: tuple[str, str], limit: int) -> list[KeptModel]:
        """Return models with a greater (name, owner) than *after*, without YAML."""
        bindings = _of(caller) | {"name": after[0], "owner": after[1], "limit": limit}
        rows = await self._database.read(lambda connection: connection.execute(_PAGE, bindings).fetchall())
        return [_model(row) for row in rows]

    async def put(self, model: KeptModel) -> bool:
        """Keep a version; False when there is a newer one, or another first one, already."""
        bindings = {
            "model_id": model.model_id,
            "owner": model.owner_user,
            "name": model.name,
            "version": model.version,
            "access": model.access_level,
            "roles": orjson.dumps(model.reader_roles).decode(),
            "description": model.description,
            "created_at": time_us(model.created_at),
            "updated_at": time_us(model.updated_at),
        }

        def work(connection: apsw.Connection) -> bool:
            present = connection.execute(
                "SELECT model_id, version FROM models WHERE owner_user = :owner AND name = :name", bindings
            ).fetchone()
            if present != (None if model.version == 1 else (model.model_id, model.version - 1)):
                return False
            connection.execute(_UPSERT, bindings)
            connection.execute(
                "INSERT INTO model_versions VALUES (?, ?, ?, ?)",
                (model.model_id, model.version, model.yaml, time_us(model.updated_at)),
            )
            return True

        return await self._database.write(work)

    async def delete(self, model_id: str) -> None:
        """Delete all versions."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM models WHERE model_id = ?", (model_id,)).fetchall()
        )


def _of(caller: Caller) -> dict[str, Any]:
    return {"user": caller.user, "roles": orjson.dumps(sorted(caller.roles)).decode()}


def _model(row: tuple[Any, ...]) -> KeptModel:
    return KeptModel(
        model_id=row[0],
        name=row[1],
        version=row[2],
        owner_user=row[3],
        access_level=row[4],
        reader_roles=tuple(orjson.loads(row[5])),
        yaml=row[6],
        description=row[7],
        created_at=us_time(row[8]),
        updated_at=us_time(row[9]),
    )
