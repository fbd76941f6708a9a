"""What ran: one record a statement, for QUERY_HISTORY, for AT(STATEMENT => ...), and for results asked for later."""

import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field

from services.emulator.engine.results import Result
from services.emulator.errors import SqlError

KEPT = 20_000  # statements remembered
RESULTS_KEPT = 500  # of which this many with their rows


@dataclass(slots=True)
class Record:
    """One statement."""

    query_id: str
    text: str
    session_id: int
    user: str
    role: str
    warehouse: str
    database: str
    schema: str
    tag: str
    request_id: str = ""
    kind: str = ""
    started: float = field(default_factory=time.time)
    ended: float = 0.0
    status: str = "RUNNING"
    error: SqlError | None = None
    rows: int = 0
    commits: tuple[int, int] = (0, 0)
    result: Result | None = None
    objects: tuple[tuple[str, ...], ...] = ()
    modified: tuple[str, ...] = ()
    done: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    user_type: str = "PERSON"


class History:
    """The statements of the account, oldest forgotten first."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._by_request: dict[str, str] = {}
        self._lock = threading.Lock()
        self._count = 0

    def add(self, record: Record) -> None:
        with self._lock:
            self._records[record.query_id] = record
            if record.request_id:
                self._by_request[record.request_id] = record.query_id
            while len(self._records) > KEPT:
                _, gone = self._records.popitem(last=False)
                self._by_request.pop(gone.request_id, None)
            self._count += 1
            if len(self._records) > RESULTS_KEPT:
                old = list(self._records.values())[-RESULTS_KEPT - 1]
                old.result = None

    def get(self, query_id: str) -> Record | None:
        with self._lock:
            return self._records.get(query_id)

    def by_request(self, request_id: str) -> Record | None:
        with self._lock:
            return self._records.get(self._by_request.get(request_id, ""))

    def all(self) -> list[Record]:
        with self._lock:
            return list(self._records.values())


def new_query_id() -> str:
    """Return an id of Snowflake's form: hexadecimal groups that begin with the time."""
    return "01" + str(uuid.uuid4())[2:]
