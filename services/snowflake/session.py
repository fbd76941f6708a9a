"""One session of the connector, as our adapters use it: rows for statements, each tagged and bounded in time."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import snowflake.connector
from snowflake.connector import SnowflakeConnection

from services.snowflake.login import Options

Row = tuple[Any, ...]
Connect = Callable[..., SnowflakeConnection]
MAX_TAG_LENGTH = 2000  # of QUERY_TAG, in characters

# Neither version knows all of them, and warns of a stranger.
_ONLY_4 = {"network_timeout", "client_session_keep_alive_heartbeat_frequency"}
_ONLY_5 = {"enable_server_session_keep_alive_auto_detection", "request_timeout", "client_store_temporary_credential"}


@dataclass(frozen=True, slots=True)
class Tag:
    """Who caused a statement, as Snowflake's query history shows it in QUERY_TAG."""

    service: str
    rpc: str
    trace_id: str = ""

    def __str__(self) -> str:
        named = {"svc": self.service, "rpc": self.rpc, "trace_id": self.trace_id}
        return json.dumps({name: value for name, value in named.items() if value}, separators=(",", ":"))[
            :MAX_TAG_LENGTH
        ]


class Session:
    """An open session, used by one thread at a time."""

    def __init__(self, connection: SnowflakeConnection) -> None:
        self._connection = connection
        self._parameters: dict[str, Any] = {}
        self.session_id = str(self.rows("SELECT CURRENT_SESSION()")[0][0])
        self.used = False  # since it was last taken from a pool

    @classmethod
    def open(cls, options: Options, timeout_s: float, connect: Connect = snowflake.connector.connect) -> "Session":
        """Log in. Raises the connector's own errors."""
        return cls(connect(**_for_this_version({**options, **_defaults(timeout_s)})))

    def bound(self, tag: Tag, timeout_s: float) -> None:
        """Set what the statements of one piece of work carry: *tag*, and the time after which Snowflake ends each."""
        self._parameters = {"QUERY_TAG": str(tag), "STATEMENT_TIMEOUT_IN_SECONDS": max(1, math.ceil(timeout_s))}

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run *statement* with ``?`` for each of *parameters*, and return its rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, tuple(parameters) or None, _statement_params=self._parameters)
            return [tuple(row) for row in cursor.fetchall()]

    def changed(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement that changes rows, and return how many it did."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, tuple(parameters) or None, _statement_params=self._parameters)
            return int(cursor.rowcount or 0)

    def close(self) -> None:
        """Log out; never raises, since the session is given up either way."""
        try:
            self._connection.close()
        except snowflake.connector.Error:
            return


def _defaults(timeout_s: float) -> Options:
    whole = math.ceil(timeout_s)
    return {
        "paramstyle": "qmark",
        "autocommit": True,
        "timezone": "UTC",
        "application": "MemoryBox",
        "login_timeout": whole,
        "network_timeout": whole * 3,
        "request_timeout": whole * 3,
        "client_session_keep_alive": True,
        "enable_server_session_keep_alive_auto_detection": False,
        "client_store_temporary_credential": False,
        "session_parameters": {"TIMEZONE": "UTC", "JSON_INDENT": 0},
    }


def _for_this_version(options: Options) -> Options:
    strange = _ONLY_5 if snowflake.connector.__version__.startswith("4.") else _ONLY_4
    return {name: value for name, value in options.items() if name not in strange}
