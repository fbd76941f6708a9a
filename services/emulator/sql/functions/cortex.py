"""Cortex functions, docs: functions-cortex: embeddings by the local model, completions by script."""

from services.emulator import errors
from services.emulator.cortex.embedding import MODELS
from services.emulator.sql import types as t
from services.emulator.sql.functions.registry import Call, built
from services.emulator.sql.scope import Expr


def _embedded(call: Call, allowed: set[int]) -> Expr:
    model = str(call.args[0].constant)
    if MODELS.get(model) not in allowed:
        raise errors.SqlError(
            100351,
            "22023",
            f'Request failed for external function {call.name} with remote service error: 400 \'"unknown model \\"{model}\\""\'',
        )
    size = MODELS[model]
    return call.result(f"CAST(sf_embed({call.args[1].sql}, {size}) AS FLOAT[{size}])", t.vector("FLOAT", size))


@built("AI_EMBED SNOWFLAKE.CORTEX.AI_EMBED", "ss", page="ai_embed")
def _ai_embed(call: Call) -> Expr:
    return _embedded(call, {768, 1024})


@built("SNOWFLAKE.CORTEX.EMBED_TEXT_768 EMBED_TEXT_768", "ss", page="embed_text-snowflake-cortex")
def _embed_768(call: Call) -> Expr:
    return _embedded(call, {768})


@built("SNOWFLAKE.CORTEX.EMBED_TEXT_1024 EMBED_TEXT_1024", "ss", page="embed_text_1024-snowflake-cortex")
def _embed_1024(call: Call) -> Expr:
    return _embedded(call, {1024})


@built("SNOWFLAKE.CORTEX.COMPLETE AI_COMPLETE", "ss?aaa", page="ai_complete-single-string")
def _complete(call: Call) -> Expr:
    return call.result(f"sf_complete({call.args[0].sql}, {call.args[1].sql})", t.VARCHAR)


@built("AI_COUNT_TOKENS SNOWFLAKE.CORTEX.COUNT_TOKENS", "ss?s", page="count_tokens-snowflake-cortex")
def _tokens(call: Call) -> Expr:
    return call.result(f"len(sf_tokens({call.args[-1].sql}, ' '))", t.number(18))
