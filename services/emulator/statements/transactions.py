"""BEGIN, COMMIT, ROLLBACK, docs: sql-reference/transactions."""

from services.emulator.engine.results import TRANSACTION, Result, status
from services.emulator.statements.dispatch import Run, statement

DONE = "Statement executed successfully."


@statement("BEGIN", "BEGIN TRANSACTION", "BEGIN WORK", "START TRANSACTION")
def begin(run: Run) -> Result:
    name = run.reader.name() if run.reader.accept("NAME") else ""
    run.reader.finish()
    if run.session.transaction is not None and run.session.implicit:
        run.session.finish(keep=True)
    run.session.begin(name)
    return status(DONE, TRANSACTION)


@statement("COMMIT", "COMMIT WORK")
def commit(run: Run) -> Result:
    run.reader.finish()
    run.session.finish(keep=True)
    return status(DONE, TRANSACTION)


@statement("ROLLBACK", "ROLLBACK WORK")
def rollback(run: Run) -> Result:
    run.reader.finish()
    run.session.finish(keep=False)
    return status(DONE, TRANSACTION)
