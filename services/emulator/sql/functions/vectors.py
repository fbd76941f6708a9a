"""VECTOR functions, docs: functions-vector. Both sides have the same element type and dimension."""

from services.emulator.sql import types as t
from services.emulator.sql.functions.registry import Call, built
from services.emulator.sql.scope import Expr


def _same_kind(call: Call) -> tuple[str, str]:
    left, right = call.args
    if left.type != right.type:
        raise call.refused()
    size = left.type.dimension
    return f"CAST({left.sql} AS FLOAT[{size}])", f"CAST({right.sql} AS FLOAT[{size}])"


_ENGINE = {
    "VECTOR_COSINE_SIMILARITY": "array_cosine_similarity",
    "VECTOR_INNER_PRODUCT": "array_inner_product",
    "VECTOR_L2_DISTANCE": "array_distance",
}


@built("VECTOR_COSINE_SIMILARITY VECTOR_INNER_PRODUCT VECTOR_L2_DISTANCE", "yy")
def _similarity(call: Call) -> Expr:
    left, right = _same_kind(call)
    return call.result(f"CAST({_ENGINE[call.name]}({left}, {right}) AS DOUBLE)", t.FLOAT)


@built("VECTOR_L1_DISTANCE", "yy")
def _l1(call: Call) -> Expr:
    left, right = _same_kind(call)
    size = call.args[0].type.dimension
    return call.result(
        f"list_sum(list_transform(range(1, {size + 1}), lambda i: abs(CAST({left}[i] AS DOUBLE) - {right}[i])))",
        t.FLOAT,
    )


@built("VECTOR_NORMALIZE", "y")
def _normalize(call: Call) -> Expr:
    vector = call.args[0]
    kind = t.vector("FLOAT", vector.type.dimension)
    value = f"CAST({vector.sql} AS {kind.physical})"
    norm = f"sqrt(array_inner_product({value}, {value}))"
    return call.result(
        f"CAST(list_transform(CAST({value} AS FLOAT[]), lambda e: CAST(e / {norm} AS FLOAT)) AS {kind.physical})", kind
    )


@built("VECTOR_TRUNCATE", "yi")
def _truncate(call: Call) -> Expr:
    size = call.args[1].constant
    if not isinstance(size, int) or not 1 <= size <= call.args[0].type.dimension:
        raise call.refused()
    kind = t.vector(call.args[0].type.element, size)
    return call.result(
        f"CAST(list_slice(CAST({call.args[0].sql} AS {'FLOAT' if kind.element == 'FLOAT' else 'INTEGER'}[]), 1, {size}) AS {kind.physical})",
        kind,
    )


@built("VECTOR_SUM VECTOR_AVG VECTOR_MIN VECTOR_MAX", "y", aggregate=True)
def _aggregate(call: Call) -> Expr:
    word = call.name.removeprefix("VECTOR_").lower()
    kind = t.vector("FLOAT", call.args[0].type.dimension) if word == "avg" else call.args[0].type
    element = "FLOAT" if kind.element == "FLOAT" else "INTEGER"
    parts = ", ".join(f"{word}({call.args[0].sql}[{at}])" for at in range(1, kind.dimension + 1))
    return call.result(f"CAST([{parts}] AS {element}[{kind.dimension}])", kind)
