"""Refusals as Snowflake words them: number, SQLSTATE and message. Numbers are those that the connector reports as ``errno``."""


class SqlError(Exception):
    """A statement was refused or failed."""

    def __init__(self, code: int, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.sqlstate = sqlstate
        self.message = message


def compilation(code: int, sqlstate: str, text: str) -> SqlError:
    """Return a refusal found while compiling."""
    return SqlError(code, sqlstate, f"SQL compilation error:\n{text}")


def syntax(line: int, position: int, token: str) -> SqlError:
    return compilation(1003, "42000", f"syntax error line {line} at position {position} unexpected '{token}'.")


def invalid_identifier(name: str, line: int = 1, position: int = 0) -> SqlError:
    text = f"SQL compilation error: error line {line} at position {position}\ninvalid identifier '{name}'"
    return SqlError(904, "42000", text)


def ambiguous_column(name: str, line: int = 1, position: int = 0) -> SqlError:
    text = f"SQL compilation error: error line {line} at position {position}\nambiguous column name '{name}'"
    return SqlError(2028, "42601", text)


def missing(kind: str, name: str) -> SqlError:
    """Return the refusal for what is not there or may not be seen: the two cannot be told apart, on purpose."""
    return compilation(2003, "42S02" if kind in {"Object", "Table", "View"} else "02000", _absent(kind, name))


def _absent(kind: str, name: str) -> str:
    return f"{kind} '{name}' does not exist or not authorized."


def missing_for_use() -> SqlError:
    """Return the refusal of USE, SHOW and DESCRIBE for what is not there."""
    return compilation(2043, "02000", "Object does not exist, or operation cannot be performed.")


def exists(kind: str, name: str) -> SqlError:
    return compilation(2002, "42710", f"{kind} '{name}' already exists.")


def unknown_function(name: str) -> SqlError:
    return compilation(2140, "42601", f"Unknown function {name}")


def invalid_types(name: str, types: str, line: int = 1, position: int = 0) -> SqlError:
    text = f"SQL compilation error: error line {line} at position {position}\nInvalid argument types for function '{name}': ({types})"
    return SqlError(1044, "42P13", text)


def too_few_arguments(call: str, expected: int, got: int, line: int = 1, position: int = 0) -> SqlError:
    text = f"error line {line} at position {position}\nnot enough arguments for function [{call}], expected {expected}, got {got}"
    return SqlError(938, "22023", f"SQL compilation error: {text}")


def too_many_arguments(call: str, expected: int, got: int, line: int = 1, position: int = 0) -> SqlError:
    text = f"error line {line} at position {position}\ntoo many arguments for function [{call}] expected {expected}, got {got}"
    return SqlError(939, "22023", f"SQL compilation error: {text}")


def unsupported(feature: str) -> SqlError:
    return compilation(2, "0A000", f"Unsupported feature '{feature}'.")


def privileges(kind: str, name: str) -> SqlError:
    return SqlError(3001, "42501", f"SQL access control error:\nInsufficient privileges to operate on {kind} '{name}'")


def no_database(action: str) -> SqlError:
    text = f"Cannot perform {action}. This session does not have a current database. Call 'USE DATABASE', or use a qualified name."
    return SqlError(90105, "22000", text)


def no_schema(action: str) -> SqlError:
    text = f"Cannot perform {action}. This session does not have a current schema. Call 'USE SCHEMA', or use a qualified name."
    return SqlError(90106, "22000", text)


def no_warehouse() -> SqlError:
    text = "No active warehouse selected in the current session.  Select an active warehouse with the 'use warehouse' command.\n"
    return SqlError(606, "57P03", text)


def cancelled() -> SqlError:
    return SqlError(604, "57014", "SQL execution canceled")


def timed_out(seconds: int) -> SqlError:
    text = f"Statement reached its statement or warehouse timeout of {seconds} second(s) and was canceled."
    return SqlError(630, "57014", text)


def internal(text: str) -> SqlError:
    """Return the answer to a fault of the emulator itself."""
    return SqlError(
        300010,
        "XX000",
        f"SQL execution internal error:\nProcessing aborted by error 300010:0000000000; emulator: {text}",
    )
