"""Policies, users, roles, warehouses and grants."""

import secrets
import time

from services.emulator import errors
from services.emulator.engine.objects import Grant, Role, Thing, User, Warehouse
from services.emulator.engine.results import Result, listed, status
from services.emulator.sql import types as t
from services.emulator.sql.names import shown
from services.emulator.statements.creating import ABSENT, ALREADY, DONE, add_thing
from services.emulator.statements.dispatch import Run, statement
from services.emulator.statements.views import arguments, type_of

_REPLACED = ("", "OR REPLACE ")


@statement(*[f"CREATE {replaced}{kind} POLICY" for replaced in _REPLACED for kind in ("ROW ACCESS", "MASKING")])
def create_policy(run: Run) -> Result:
    words = [token.text.upper() for token in run.reader.tokens[: run.reader.at]]
    kind = "MASKING POLICY" if "MASKING" in words else "ROW ACCESS POLICY"
    reader = run.reader
    missing_only = reader.accept("IF", "NOT", "EXISTS")
    path = run.session.qualify(reader.path(), "CREATE POLICY")
    reader.expect("AS")
    signature = arguments(reader.parenthesised())
    reader.expect("RETURNS")
    first = reader.at
    while reader.peek() not in {"->", ""}:
        reader.at += 1
    returns = type_of(reader.between(first))
    if kind == "ROW ACCESS POLICY" and returns.name != "BOOLEAN":
        raise errors.compilation(1008, "22023", "a row access policy returns BOOLEAN")
    if kind == "MASKING POLICY" and returns.name != signature[0][1].name:
        raise errors.compilation(
            3003, "42601", "the return type of a masking policy must be the type of its first argument"
        )
    reader.expect("->")
    body = reader.rest()
    thing = Thing(kind, *path, facts={"signature": signature, "returns": returns, "body": body})
    return add_thing(
        run.session,
        thing,
        replace="REPLACE" in words,
        missing_only=missing_only,
        word="Policy",
    )


@statement("ALTER ROW ACCESS POLICY", "ALTER MASKING POLICY")
def alter_policy(run: Run) -> Result:
    kind = "MASKING POLICY" if run.reader.tokens[1].text.upper() == "MASKING" else "ROW ACCESS POLICY"
    run.reader.accept("IF", "EXISTS")
    thing = run.session.find_thing(kind, run.reader.path())
    run.reader.expect("SET", "BODY", "->")
    thing.facts["body"] = run.reader.rest()
    run.session.account.save()
    return status(DONE)


@statement(*[f"CREATE {replaced}{kind}" for replaced in _REPLACED for kind in ("ROLE", "USER", "WAREHOUSE")])
def create_account_object(run: Run) -> Result:
    reader, catalog = run.reader, run.session.catalog
    kind = reader.tokens[reader.at - 1].text.upper()
    replace = reader.tokens[1].text.upper() == "OR"
    missing_only = reader.accept("IF", "NOT", "EXISTS")
    name = reader.name()
    reader.accept("WITH")
    facts = reader.options()
    reader.finish()
    if not run.session.roles() & {
        "ACCOUNTADMIN",
        "SECURITYADMIN",
        "USERADMIN" if kind != "WAREHOUSE" else "SYSADMIN",
    } and not run.session.allowed(f"CREATE {kind}", "ACCOUNT", ""):
        raise errors.privileges("account", run.session.account.name)
    home: dict[str, object] = {"ROLE": catalog.roles, "USER": catalog.users, "WAREHOUSE": catalog.warehouses}[kind]  # type: ignore[assignment]
    if name in home and not replace:
        if missing_only:
            return status(ALREADY.format(name=shown(name)))
        raise errors.exists("Object", shown(name))
    run.session.commit_for_ddl()
    home[name] = _made(kind, name, run.session.role, facts)
    run.session.account.save()
    return status(f"{kind.title()} {shown(name)} successfully created.")


def _made(kind: str, name: str, owner: str, facts: dict[str, object]) -> object:
    text = {key: str(value) for key, value in facts.items()}
    if kind == "ROLE":
        return Role(name, owner, text.get("COMMENT", ""))
    if kind == "WAREHOUSE":
        return Warehouse(
            name,
            owner,
            text.get("WAREHOUSE_SIZE", "X-Small"),
            "SUSPENDED" if text.get("INITIALLY_SUSPENDED") == "True" else "STARTED",
            auto_resume=text.get("AUTO_RESUME") != "False",
        )
    user = User(
        name,
        text.get("PASSWORD", ""),
        text.get("DEFAULT_ROLE", "PUBLIC").upper(),
        text.get("DEFAULT_WAREHOUSE", "").upper(),
        text.get("DEFAULT_NAMESPACE", "").upper(),
        owner=owner,
        kind=text.get("TYPE", "PERSON"),
    )
    if "DEFAULT_SECONDARY_ROLES" in text:
        user.secondary_roles = "ALL" if "ALL" in text["DEFAULT_SECONDARY_ROLES"].upper() else "NONE"
    if "RSA_PUBLIC_KEY" in text:
        user.public_keys = [text["RSA_PUBLIC_KEY"]]
    return user


@statement("DROP ROLE", "DROP USER", "DROP WAREHOUSE")
def drop_account_object(run: Run) -> Result:
    catalog, kind = run.session.catalog, run.reader.tokens[1].text.upper()
    missing_ok = run.reader.accept("IF", "EXISTS")
    name = run.reader.name()
    run.reader.finish()
    home: dict[str, object] = {"ROLE": catalog.roles, "USER": catalog.users, "WAREHOUSE": catalog.warehouses}[kind]  # type: ignore[assignment]
    if name not in home:
        if missing_ok:
            return status(ABSENT.format(name=shown(name)))
        raise errors.missing(kind.title(), shown(name))
    del home[name]
    if kind == "ROLE":
        catalog.grants = {grant for grant in catalog.grants if grant.role != name}
    run.session.account.save()
    return status(f"{shown(name)} successfully dropped.")


@statement("ALTER WAREHOUSE")
def alter_warehouse(run: Run) -> Result:
    reader = run.reader
    reader.accept("IF", "EXISTS")
    name = reader.name()
    warehouse = run.session.catalog.warehouses.get(name)
    if warehouse is None:
        raise errors.missing("Warehouse", shown(name))
    if reader.accept("SUSPEND"):
        if warehouse.state == "SUSPENDED":
            raise errors.SqlError(90064, "22000", f"Invalid state. Warehouse '{name}' cannot be suspended.")
        warehouse.state = "SUSPENDED"
    elif reader.accept("RESUME"):
        reader.accept("IF", "SUSPENDED")
        warehouse.state = "STARTED"
    elif reader.accept("SET"):
        facts = reader.options()
        warehouse.size = str(facts.get("WAREHOUSE_SIZE", warehouse.size))
        warehouse.auto_resume = bool(facts.get("AUTO_RESUME", warehouse.auto_resume))
    else:
        raise reader.wrong()
    reader.finish()
    return status(DONE)


@statement("ALTER USER")
def alter_user(run: Run) -> Result:
    reader = run.reader
    reader.accept("IF", "EXISTS")
    name = reader.name()
    user = run.session.catalog.users.get(name)
    if user is None:
        raise errors.missing("User", shown(name))
    if reader.accept("ADD", "PROGRAMMATIC", "ACCESS", "TOKEN") or reader.accept("ADD", "PAT"):
        token = reader.name()
        facts = reader.options()
        secret = secrets.token_urlsafe(48)
        user.tokens[token] = {
            "secret": secret,
            "role": str(facts.get("ROLE_RESTRICTION", "")).upper(),
            "expires": time.time() + 86_400 * int(str(facts.get("DAYS_TO_EXPIRY", 15))),
        }
        run.session.account.save()
        return listed(
            {"token_name": t.VARCHAR, "token_secret": t.VARCHAR}, [{"token_name": token, "token_secret": secret}]
        )
    if reader.accept("REMOVE", "PROGRAMMATIC", "ACCESS", "TOKEN") or reader.accept("REMOVE", "PAT"):
        user.tokens.pop(reader.name(), None)
    else:
        reader.expect("SET")
        wanted = {key: str(value) for key, value in reader.options().items()}
        user.password = wanted.get("PASSWORD", user.password)
        user.default_role = wanted.get("DEFAULT_ROLE", user.default_role).upper()
        user.default_warehouse = wanted.get("DEFAULT_WAREHOUSE", user.default_warehouse).upper()
        user.disabled = wanted.get("DISABLED", str(user.disabled)) == "True"
        if "RSA_PUBLIC_KEY" in wanted:
            user.public_keys = [wanted["RSA_PUBLIC_KEY"], *user.public_keys[1:]]
        if "DEFAULT_SECONDARY_ROLES" in wanted:
            user.secondary_roles = "ALL" if "ALL" in wanted["DEFAULT_SECONDARY_ROLES"].upper() else "NONE"
    run.session.account.save()
    return status(DONE)


@statement("GRANT ROLE", "REVOKE ROLE")
def grant_role(run: Run) -> Result:
    reader, catalog = run.reader, run.session.catalog
    giving = reader.tokens[0].text.upper() == "GRANT"
    role = reader.name()
    if role not in catalog.roles:
        raise errors.missing("Role", shown(role))
    reader.expect("TO" if giving else "FROM")
    kind = reader.accept_any("ROLE", "USER")
    holder = reader.name()
    reader.finish()
    if (
        not run.session.roles() & {"ACCOUNTADMIN", "SECURITYADMIN", "USERADMIN"}
        and catalog.roles[role].owner not in run.session.roles()
    ):
        raise errors.privileges("role", shown(role))
    home = catalog.users if kind == "USER" else catalog.roles
    if holder not in home:
        raise errors.missing(kind.title(), shown(holder))
    held = catalog.users[holder].roles if kind == "USER" else catalog.roles[holder].granted
    (held.add if giving else held.discard)(role)
    run.session.account.save()
    return status("Statement executed successfully.")


@statement("GRANT", "REVOKE")
def grant(run: Run) -> Result:
    """``GRANT [INHERITED] [CALLER] p, q ON kind name | ALL kinds IN SCHEMA s TO ROLE r``, and REVOKE."""
    reader, session = run.reader, run.session
    giving = reader.tokens[0].text.upper() == "GRANT"
    reader.accept("GRANT", "OPTION", "FOR")
    reader.accept("INHERITED")
    caller = reader.accept("CALLER")
    privileges = []
    while not reader.accept("ON"):
        words = [reader.name()]
        while reader.peek() not in {",", "ON", ""}:
            words.append(reader.name())
        privileges.append(" ".join(words))
        reader.accept(",")
    if privileges in (["ALL PRIVILEGES"], ["ALL"], ["ALL CALLER PRIVILEGES"], ["ALL INHERITED CALLER PRIVILEGES"]):
        caller = caller or "CALLER" in privileges[0]
        privileges = ["ALL"]
    targets = _targets(run)
    reader.expect("TO" if giving else "FROM")
    reader.accept_any("ROLE", "USER", "DATABASE")
    role = reader.path()[-1]
    option = reader.accept("WITH", "GRANT", "OPTION")
    reader.accept_any("COPY", "REVOKE", "CASCADE", "RESTRICT")
    reader.rest()
    if role not in session.catalog.roles:
        raise errors.missing("Role", shown(role))
    for kind, name in targets:
        for privilege in privileges:
            wanted = Grant(privilege, kind, name, role, caller, option)
            if privilege == "OWNERSHIP" and giving:
                _own(run, kind, name, role)
            (session.catalog.grants.add if giving else session.catalog.grants.discard)(wanted)
    session.account.save()
    return status("Statement executed successfully.")


def _targets(run: Run) -> list[tuple[str, str]]:
    reader, session = run.reader, run.session
    if reader.accept("ACCOUNT"):
        return [("ACCOUNT", "")]
    if word := reader.accept_any("FUTURE", "ALL"):
        return _many_targets(run, future=word == "FUTURE")
    kind = reader.name()
    if kind in {"COMPUTE", "ROW", "MASKING", "IMAGE"}:
        kind += f" {reader.name()}" + (f" {reader.name()}" if kind == "ROW" else "")
    path = reader.path()
    match kind:
        case "DATABASE":
            name = session.catalog.database(path[-1]).name
        case "WAREHOUSE" | "INTEGRATION" | "COMPUTE POOL" | "USER" | "ROLE":
            name = path[-1]
        case "SCHEMA":
            database, schema = session.find_schema(path)
            name = f"{database}.{schema.name}"
        case "TABLE" | "VIEW":
            name = ".".join(session.find_table(path).path)
        case _:
            name = ".".join(session.qualify(path))
    return [(kind, name)]


def _many_targets(run: Run, *, future: bool) -> list[tuple[str, str]]:
    """Return what ``ALL kinds IN ...`` and ``FUTURE kinds IN ...`` stand for."""
    reader, session = run.reader, run.session
    kind = reader.name().removesuffix("S")
    reader.expect("IN")
    where = reader.accept_any("SCHEMA", "DATABASE")
    path = reader.path()
    if future:
        return [(f"FUTURE {kind}", ".".join(path))]
    database = path[0] if len(path) > 1 or where == "DATABASE" else session.database
    schemas = (
        [session.catalog.schema(database, path[-1])]
        if where == "SCHEMA"
        else list(session.catalog.databases[database].schemas.values())
    )
    if kind == "SCHEMA":
        return [("SCHEMA", f"{database}.{schema.name}") for schema in schemas]
    return [
        (kind, ".".join(table.path))
        for schema in schemas
        for table in schema.tables.values()
        if table.is_view == (kind == "VIEW")
    ]


def _own(run: Run, kind: str, name: str, role: str) -> None:
    parts, catalog = name.split("."), run.session.catalog
    if kind in {"TABLE", "VIEW"}:
        catalog.schema(parts[0], parts[1]).tables[parts[2]].owner = role
    elif kind == "SCHEMA":
        catalog.schema(parts[0], parts[1]).owner = role
    elif kind == "DATABASE":
        catalog.databases[name].owner = role
