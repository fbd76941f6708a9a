"""SELECT and what else answers with rows of a query."""

from dataclasses import replace

from services.emulator import errors
from services.emulator.engine.results import SELECT, Result
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import parse
from services.emulator.sql.rules import compiler
from services.emulator.sql.scope import Query
from services.emulator.statements.dispatch import Run, statement


def new_compiler(run: Run) -> Compiler:
    """Return a compiler that sees what is committed now and what this transaction did."""
    c = compiler(run.session, run.session.view(run.session.store.commit), run.binds)
    c.describing = run.describe_only
    return c


def remember(run: Run, c: Compiler) -> None:
    """Note which objects the statement read, for ACCESS_HISTORY."""
    run.session.record.objects = tuple({table.path: None for table in c.objects})


def require_warehouse(run: Run) -> None:
    """Refuse work without a running warehouse; one that resumes by itself is started."""
    warehouse = run.session.catalog.warehouses.get(run.session.warehouse)
    if warehouse is None:
        raise errors.no_warehouse()
    if warehouse.state == "SUSPENDED":
        if not warehouse.auto_resume:
            raise errors.SqlError(
                606,
                "57P03",
                f"Warehouse '{warehouse.name}' is suspended and cannot run statements until it is resumed.",
            )
        warehouse.state = "STARTED"


@statement("SELECT", "WITH", "(")
def select(run: Run) -> Result:
    c = new_compiler(run)
    query = c.query(parse(run.text))
    remember(run, c)
    if c.objects:
        require_warehouse(run)
    if run.describe_only:
        return Result(query.outputs, SELECT, rows=[], binds=c.next_bind)
    return fetched(run, query)


def fetched(run: Run, query: Query, kind: int = SELECT) -> Result:
    """Return the rows of a compiled query."""
    limit = int(run.session.parameter("ROWS_PER_RESULTSET"))
    sql = f"SELECT * FROM ({query.sql}) LIMIT {limit}" if limit else query.sql
    table = run.session.cursor.sql(sql).to_arrow_table()
    outputs = tuple(
        replace(output, nullable=output.nullable or table.column(at).null_count > 0)
        for at, output in enumerate(query.outputs)
    )
    return Result(outputs, kind, table=table)
