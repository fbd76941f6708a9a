"""Text functions, docs: functions-string."""

from services.emulator.sql import types as t
from services.emulator.sql.functions.registry import Call, built, define
from services.emulator.sql.scope import Expr

define("UPPER", "s", t.VARCHAR, "upper({0})")
define("LOWER", "s", t.VARCHAR, "lower({0})")
define(
    "INITCAP",
    "s?s",
    t.VARCHAR,
    lambda call: call.result(
        f"sf_initcap({call.args[0].sql}, {call.args[1].sql if len(call.args) > 1 else _WORD_ENDS})", t.VARCHAR
    ),
)
define("REVERSE", "s", t.VARCHAR, "reverse({0})")
define("REPEAT", "si", t.VARCHAR, "repeat({0}, CAST({1} AS BIGINT))")
define("SPACE", "i", t.VARCHAR, "repeat(' ', CAST({0} AS BIGINT))")
define("TRANSLATE", "sss", t.VARCHAR, "translate({0}, {1}, {2})")
define(
    "REPLACE",
    "ss?s",
    t.VARCHAR,
    lambda call: call.result(
        f"replace({call.args[0].sql}, {call.args[1].sql}, {call.given(2, _EMPTY)})",
        t.VARCHAR,
    ),
)
define("CONTAINS", "xx", t.BOOLEAN, "contains({0}, {1})")
define("STARTSWITH", "xx", t.BOOLEAN, "starts_with({0}, {1})")
define("ENDSWITH", "xx", t.BOOLEAN, "ends_with({0}, {1})")
define("ASCII", "s", t.number(5), "CASE WHEN {0} = '' THEN 0 ELSE unicode({0}) END")
define("UNICODE", "s", t.number(7), "CASE WHEN {0} = '' THEN 0 ELSE unicode({0}) END")
define("CHR CHAR", "i", t.VARCHAR, "chr(CAST({0} AS INTEGER))", page="chr")
define("SOUNDEX", "s", t.VARCHAR, "sf_soundex({0})")
define(
    "EDITDISTANCE",
    "ss?i",
    t.number(18),
    lambda call: call.result(
        f"levenshtein({call.args[0].sql}, {call.args[1].sql})"
        if not call.args[2:]
        else f"least(levenshtein({call.args[0].sql}, {call.args[1].sql}), {call.args[2].sql})",
        t.number(18),
    ),
)
define(
    "JAROWINKLER_SIMILARITY",
    "ss",
    t.number(3),
    "CAST(floor(jaro_winkler_similarity(upper({0}), upper({1})) * 100) AS INTEGER)",
)
define(
    "LENGTH LEN",
    "x",
    t.number(18),
    lambda call: call.result(
        f"octet_length({call.args[0].sql})" if call.args[0].type.name == "BINARY" else f"length({call.args[0].sql})",
        t.number(18),
    ),
    page="length",
)
define(
    "OCTET_LENGTH",
    "x",
    t.number(18),
    lambda call: call.result(
        f"octet_length({call.args[0].sql if call.args[0].type.name == 'BINARY' else f'encode({call.args[0].sql})'})",
        t.number(18),
    ),
)
define(
    "BIT_LENGTH",
    "x",
    t.number(18),
    lambda call: call.result(
        f"8 * octet_length({call.args[0].sql if call.args[0].type.name == 'BINARY' else f'encode({call.args[0].sql})'})",
        t.number(18),
    ),
)
define("LEFT", "si", t.VARCHAR, "CASE WHEN {1} <= 0 THEN '' ELSE left({0}, CAST({1} AS BIGINT)) END")
define("RIGHT", "si", t.VARCHAR, "CASE WHEN {1} <= 0 THEN '' ELSE right({0}, CAST({1} AS BIGINT)) END")
define(
    "SPLIT_PART",
    "ssi",
    t.VARCHAR,
    "CASE WHEN {1} = '' THEN CASE WHEN {2} IN (0, 1, -1) THEN {0} ELSE '' END ELSE split_part({0}, {1}, CAST(CASE WHEN {2} = 0 THEN 1 ELSE {2} END AS BIGINT)) END",
)
define(
    "SPLIT", "ss", t.ARRAY, "CAST(to_json(CASE WHEN {1} = '' THEN [{0}] ELSE string_split({0}, {1}) END) AS VARCHAR)"
)
define(
    "STRTOK",
    "s?si",
    t.VARCHAR,
    lambda call: call.result(f"sf_strtok({_tokens(call)}, {call.given(2, '1')})", t.VARCHAR, nullable=True),
)
define(
    "STRTOK_TO_ARRAY",
    "s?s",
    t.ARRAY,
    lambda call: call.result(f"CAST(to_json(sf_tokens({_tokens(call)})) AS VARCHAR)", t.ARRAY),
)
define("MD5 MD5_HEX", "x", t.text(32), "md5({0})", page="md5")
define("SHA1 SHA1_HEX", "x", t.text(40), "sha1({0})", page="sha1")
define("BASE64_ENCODE", "x", t.VARCHAR, lambda call: call.result(f"base64({_bytes(call.args[0])})", t.VARCHAR))
define("BASE64_DECODE_STRING", "s", t.VARCHAR, "decode(from_base64({0}))")
define("BASE64_DECODE_BINARY", "s", t.BINARY, "from_base64({0})")
define(
    "HEX_ENCODE",
    "x?i",
    t.VARCHAR,
    lambda call: call.result(
        f"{'lower' if len(call.args) > 1 and call.args[1].constant == 0 else 'upper'}(hex({_bytes(call.args[0])}))",
        t.VARCHAR,
    ),
)
define("HEX_DECODE_STRING", "s", t.VARCHAR, "decode(unhex({0}))")
define("HEX_DECODE_BINARY", "s", t.BINARY, "unhex({0})")
define("UUID_STRING", "", t.VARCHAR, "CAST(uuid() AS VARCHAR)")
define(
    "RANDSTR",
    "in",
    t.VARCHAR,
    "substr(md5(CAST({1} AS VARCHAR)) || md5(CAST(random() AS VARCHAR)), 1, CAST({0} AS BIGINT))",
)
define("COLLATE", "ss", t.VARCHAR, "{0}")
define("COLLATION", "s", t.VARCHAR, "CAST(NULL AS VARCHAR)")
define("PARSE_IP", "ss", t.OBJECT, "json_object('host', {0})")

_WORD_ENDS = "' !?@\"^#$&~_,.:;+-*%/|\\[](){}<>'"
_EMPTY = "''"


def _bytes(value: Expr) -> str:
    return value.sql if value.type.name == "BINARY" else f"encode({value.sql})"


def _tokens(call: Call) -> str:
    return f"{call.args[0].sql}, {call.args[1].sql if len(call.args) > 1 else chr(39) + ' ' + chr(39)}"


@built("CHARINDEX POSITION", "ss?i")
def _position(call: Call) -> Expr:
    needle, hay = call.args[0].sql, call.args[1].sql
    if not call.args[2:]:
        return call.result(f"CASE WHEN {needle} = '' THEN 1 ELSE strpos({hay}, {needle}) END", t.number(18))
    start = call.args[2].sql
    found = f"strpos(substr({hay}, CAST({start} AS BIGINT)), {needle})"
    return call.result(f"CASE WHEN {found} = 0 THEN 0 ELSE {found} + {start} - 1 END", t.number(18))


@built("SUBSTR SUBSTRING", "xi?i", page="substr")
def _substr(call: Call) -> Expr:
    """Positions count from 1, 0 is as 1, negative ones from the end; a negative length gives nothing."""
    start = f"CAST({call.args[1].sql} AS BIGINT)"
    if call.args[0].type.name == "BINARY":
        return call.result(
            f"array_slice({call.args[0].sql}, {start}, {start} + {call.given(2, str(1 << 24))} - 1)",
            t.BINARY,
        )
    first = f"CASE WHEN {start} = 0 THEN 1 ELSE {start} END"
    if not call.args[2:]:
        return call.result(f"substr({call.args[0].sql}, {first})", t.VARCHAR)
    return call.result(
        f"substr({call.args[0].sql}, {first}, greatest(0, CAST({call.args[2].sql} AS BIGINT)))", t.VARCHAR
    )


@built("CONCAT", "x*")
@built("CONCAT_WS", "xx*")
def _concat(call: Call) -> Expr:
    if call.name == "CONCAT":
        if call.args and all(arg.type.name == "BINARY" for arg in call.args):
            return call.result("(" + " || ".join(arg.sql for arg in call.args) + ")", t.BINARY)
        return call.result("(" + " || ".join(arg.sql for arg in call.args) + ")", t.VARCHAR)
    nulls = " OR ".join(f"{arg.sql} IS NULL" for arg in call.args)
    return call.result(
        f"CASE WHEN {nulls} THEN NULL ELSE concat_ws({', '.join(arg.sql for arg in call.args)}) END", t.VARCHAR
    )


@built("TRIM LTRIM RTRIM", "s?s")
def _trim(call: Call) -> Expr:
    return call.result(
        f"{call.name.lower()}({', '.join(arg.sql for arg in call.args)}{', ' + repr(' ') if len(call.args) == 1 else ''})",
        t.VARCHAR,
    )


@built("LPAD RPAD", "xi?x")
def _pad(call: Call) -> Expr:
    fill = call.given(2, "' '")
    size = f"CAST(greatest(0, {call.args[1].sql}) AS INTEGER)"
    return call.result(
        f"CASE WHEN {fill} = '' THEN left({call.args[0].sql}, {size}) ELSE {call.name.lower()}({call.args[0].sql}, {size}, {fill}) END",
        t.VARCHAR,
    )


@built("INSERT", "siis")
def _insert(call: Call) -> Expr:
    text, at, size, new = (arg.sql for arg in call.args)
    return call.result(
        f"(left({text}, CAST({at} - 1 AS BIGINT)) || {new} || substr({text}, CAST({at} + {size} AS BIGINT)))", t.VARCHAR
    )


@built("SHA2 SHA2_HEX", "x?i", page="sha2")
def _sha2(call: Call) -> Expr:
    size = call.args[1].constant if len(call.args) > 1 else 256
    return call.result(f"sf_sha2({_bytes(call.args[0])}, {size})", t.text(128))


@built("SHA2_BINARY", "x?i")
@built("SHA1_BINARY MD5_BINARY", "x")
def _digest(call: Call) -> Expr:
    if call.name == "SHA2_BINARY":
        size = call.args[1].constant if len(call.args) > 1 else 256
        return call.result(f"unhex(sf_sha2({_bytes(call.args[0])}, {size}))", t.BINARY)
    return call.result(f"unhex({call.name[:-7].lower()}({call.args[0].sql}))", t.BINARY)
