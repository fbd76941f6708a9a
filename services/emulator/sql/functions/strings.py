"""Text functions, docs: functions-string."""

from services.emulator.sql import types as t
from services.emulator.sql.functions.registry import define

define("UPPER", "s", t.VARCHAR, "upper({0})")
define("LOWER", "s", t.VARCHAR, "lower({0})")
define("COUNT", "?a*", t.number(18), "count({all})", aggregate=True)
