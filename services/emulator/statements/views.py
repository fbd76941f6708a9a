"""Views, sequences and SQL functions: CREATE."""

from sqlglot import exp

from services.emulator import errors
from services.emulator.engine.objects import Table, Thing
from services.emulator.engine.results import Result, status
from services.emulator.sql.datatypes import read
from services.emulator.sql.dialect import parse
from services.emulator.sql.names import fold, shown
from services.emulator.sql.types import SqlType
from services.emulator.statements.creating import ALREADY, add_thing, place
from services.emulator.statements.dispatch import Run, statement
from services.emulator.statements.queries import new_compiler

_REPLACED = ("", "OR REPLACE ")


@statement(
    *[
        f"CREATE {replaced}{word}VIEW"
        for replaced in _REPLACED
        for word in ("", "SECURE ", "TEMPORARY ", "TEMP ", "RECURSIVE ", "MATERIALIZED ", "SECURE MATERIALIZED ")
    ]
)
def create_view(run: Run) -> Result:
    words = [token.text.upper() for token in run.reader.tokens[: run.reader.at]]
    reader = run.reader
    missing_only = reader.accept("IF", "NOT", "EXISTS")
    path = reader.path()
    names = [part.strip() for part in _columns(reader.parenthesised())] if reader.peek() == "(" else []
    comment = ""
    while not reader.accept("AS"):
        if reader.accept("COMMENT", "="):
            comment = reader.string()
        elif not reader.accept("COPY", "GRANTS"):
            raise reader.wrong()
    text = reader.rest()
    full, schema = place(run.session, path, "CREATE VIEW")
    query = new_compiler(run).query(parse(text))
    table = Table(
        run.session.catalog.new_id(),
        *full,
        kind="MATERIALIZED VIEW" if "MATERIALIZED" in words else "VIEW",
        owner=run.session.role,
        comment=comment,
        text=run.text,
        query=text,
        secure="SECURE" in words,
    )
    if names and len(names) != len(query.outputs):
        raise errors.compilation(2083, "42601", "Invalid number of columns in the view definition")
    for at, output in enumerate(query.outputs):
        name = names[at] if names else output.name
        if table.column(name):
            raise errors.compilation(2025, "42S21", f"duplicate column name '{name}'")
        table.add(name, output.type, nullable=output.nullable)
    run.session.commit_for_ddl()
    held = schema.tables.get(table.name)
    if held is not None and "REPLACE" not in words:
        if missing_only:
            return status(ALREADY.format(name=shown(table.name)))
        raise errors.exists("Object", shown(table.name))
    if held is not None and not held.is_view:
        raise errors.compilation(1998, "42710", "Object found is of type 'TABLE', not specified type 'VIEW'.")
    table.born = run.session.store.commit
    schema.tables[table.name] = table
    run.session.account.save()
    return status(f"View {shown(table.name)} successfully created.")


def _columns(text: str) -> list[str]:
    """Return the names of a view's column list, whatever is said beside them."""
    tree = parse(f"CREATE TABLE x ({', '.join(part.strip().split()[0] + ' INT' for part in text.split(','))})")
    return [fold(node.this) for node in tree.this.expressions]


@statement(*[f"CREATE {replaced}SEQUENCE" for replaced in _REPLACED])
def create_sequence(run: Run) -> Result:
    replace = "REPLACE" in [token.text.upper() for token in run.reader.tokens[:3]]
    reader = run.reader
    missing_only = reader.accept("IF", "NOT", "EXISTS")
    path = run.session.qualify(reader.path(), "CREATE SEQUENCE")
    facts: dict[str, object] = {"start": 1, "increment": 1}
    comment = ""
    while not reader.done:
        word = reader.accept_any("START", "INCREMENT", "ORDER", "NOORDER", "COMMENT", "WITH")
        if not word:
            raise reader.wrong()
        if word in {"START", "INCREMENT"}:
            reader.accept_any("WITH", "BY")
            reader.accept("=")
            facts[word.lower()] = reader.integer()
        elif word == "COMMENT":
            reader.expect("=")
            comment = reader.string()
    if facts["increment"] == 0:
        raise errors.compilation(1008, "22023", "invalid value [0] for parameter 'INCREMENT'")
    facts["next"] = facts["start"]
    return add_thing(
        run.session,
        Thing("SEQUENCE", *path, comment=comment, facts=facts),
        replace=replace,
        missing_only=missing_only,
        word="Sequence",
    )


@statement(*[f"CREATE {replaced}{secure}FUNCTION" for replaced in _REPLACED for secure in ("", "SECURE ")])
def create_function(run: Run) -> Result:
    words = [token.text.upper() for token in run.reader.tokens[: run.reader.at]]
    reader = run.reader
    missing_only = reader.accept("IF", "NOT", "EXISTS")
    path = run.session.qualify(reader.path(), "CREATE FUNCTION")
    signature = arguments(reader.parenthesised())
    reader.expect("RETURNS")
    if reader.peek() == "TABLE":
        raise errors.unsupported("table functions of users")
    first = reader.at
    while reader.peek() not in {
        "AS",
        "LANGUAGE",
        "IMMUTABLE",
        "VOLATILE",
        "MEMOIZABLE",
        "COMMENT",
        "NOT",
        "CALLED",
        "STRICT",
        "",
    }:
        reader.at += 1
    returns = type_of(reader.between(first))
    while not reader.accept("AS"):
        if reader.accept("LANGUAGE"):
            if not reader.accept("SQL"):
                raise errors.unsupported(f"LANGUAGE {reader.peek()}")
        elif reader.accept("COMMENT", "="):
            reader.string()
        elif not reader.accept_any("IMMUTABLE", "VOLATILE", "MEMOIZABLE", "NOT", "NULL"):
            raise reader.wrong()
    body = reader.string().strip().rstrip(";")
    reader.finish()
    thing = Thing("FUNCTION", *path, facts={"signature": signature, "returns": returns, "body": body})
    return add_thing(run.session, thing, replace="REPLACE" in words, missing_only=missing_only, word="Function")


def type_of(text: str) -> SqlType:
    """Return the type that *text* names."""
    node = parse(f"SELECT CAST(NULL AS {text})").find(exp.Cast)
    if node is None:
        raise errors.syntax(1, 0, text)
    return read(node.to)


def arguments(text: str) -> list[tuple[str, SqlType]]:
    """Return names and types of a signature such as ``a VARCHAR, b NUMBER(10,2)``."""
    if not text.strip():
        return []
    tree = parse(f"CREATE TABLE x ({text})")
    return [(fold(node.this), read(node.args["kind"])) for node in tree.this.expressions]
