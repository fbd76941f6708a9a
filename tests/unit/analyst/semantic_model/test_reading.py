"""Semantic models in YAML: both dialects, odd files, and what is said about them."""

import pytest

from services.analyst.domain.semantic_model import (
    Kind,
    Severity,
    VerifiedQuery,
    check_data,
    check_verified_queries,
    expand,
    parse,
    with_verified_query,
)
from services.analyst.domain.semantic_model.logical import NotExpandable
from services.mesh.errors import InvalidInput
from tests.support.analyst_worlds import HOTELS, hotels
from tests.support.observed import Observed

LEGACY = """\
# orders, as the old dialect writes them
name: shop
tables:
  - name: orders
    base_table: {database: db, schema: s, table: ORDERS}
    dimensions:
      - name: status
        expr: STATUS
        data_type: TEXT
        synonyms: ['  ']
        surprise: 1
    time_dimensions:
      - {name: ordered_at, expr: ORDERED_AT, data_type: date}
    measures:
      - {name: amount, expr: AMOUNT, data_type: number, default_aggregation: sum}
verified_queries:
  - name: all
    question: How many orders are there?
    sql: "SELECT COUNT(*) AS n FROM __orders"
    verified_at: '1731608618'

# the end
"""
VIEW = """\
name: shop
tables:
  - name: orders
    base_table: {definition: SELECT 1 AS a}
    unique_keys: [{columns: [a]}]
    facts:
      - {name: a, expr: a, access_modifier: private_access}
    metrics:
      - {name: total, expr: SUM(a)}
metrics:
  - {name: double, expr: orders.total * 2}
module_custom_instructions: {sql_generation: round}
"""


def messages(text: str) -> str:
    return " | ".join(
        f"{finding.severity} {finding.line}:{finding.column} {finding.path} {finding.message}"
        for finding in parse(text).findings
    )


def test_legacy_dialect_is_read_with_measures_as_facts() -> None:
    model = parse(LEGACY).model

    assert model is not None
    assert [(column.name, column.kind) for column in model.tables[0].columns] == [
        ("status", Kind.DIMENSION),
        ("ordered_at", Kind.TIME),
        ("amount", Kind.FACT),
    ]
    assert model.tables[0].dimensions[0].synonyms == ()
    assert model.verified_queries[0].verified_at == 1731608618


def test_semantic_view_dialect_is_read_into_the_same_model() -> None:
    model = parse(VIEW).model

    assert model is not None
    assert model.tables[0].facts[0].private
    assert model.tables[0].unique_keys == (("a",),)
    assert (model.metrics[0].name, model.sql_generation) == ("double", "round")


def test_unknown_key_is_a_warning_at_its_place() -> None:
    findings = parse(LEGACY).findings

    assert [(finding.severity, finding.line) for finding in findings] == [(Severity.WARNING, 11)]
    assert "surprise" in findings[0].message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        ("a: [1,\n\tb", "not YAML"),
        ("\x00", "not YAML"),
        ("[]", "mapping"),
        ("a: &a [*a]", "inside its own anchor"),
        ("a: *b", "no anchor"),
        ("- " * 50 + "x", "nested deeper"),
        (
            "a: &x [1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"b{n}: &x{n} [{','.join(['*x' + (str(n - 1) if n else '')] * 9)}]\n" for n in range(9)),
            "values, aliases",
        ),
        ("x" * (1 << 20) + "y", "bytes"),
        ("name: a\n---\nname: b", "one document"),
        ("name: a\ntables: 3", "a list is expected"),
        ("name: {}\ntables: []", "plain value"),
        (
            "name: a\ntables:\n- name: t\n  base_table: {table: t}\n  dimensions: [{name: 'a b', expr: 'a +'}]",
            "does not parse",
        ),
        ("name: a\nname: b\ntables: [{name: t, base_table: {table: t}}]", "given twice"),
        ("name: a\ntables: [{name: t, base_table: {table: t}}, {name: T, base_table: {table: t}}]", "defined twice"),
        ("name: a\ntables: [{name: t, base_table: {table: t}, metrics: [{name: m, expr: '1'}]}]", "must aggregate"),
        ("name: a\ntables: [{name: t}]", "base_table is missing"),
        (
            "name: a\ntables: [{name: t, base_table: {table: t}}]\nrelationships: [{name: r, left_table: t, right_table: u, relationship_columns: [{left_column: a, right_column: b}]}]",
            "no table",
        ),
    ],
)
def test_odd_text_is_a_finding_and_never_an_exception(text: str, part: str) -> None:
    assert part in messages(text)


def test_verified_query_is_added_and_every_other_byte_stays() -> None:
    query = VerifiedQuery(
        "by status", "Orders: by status?", "SELECT status,\n  COUNT(*)\nFROM orders\nGROUP BY status", 1, "ann"
    )

    text = with_verified_query(LEGACY, query)

    model = parse(text).model
    assert model is not None
    assert model.verified_queries[-1] == query
    for line in LEGACY.splitlines():
        assert line in text.splitlines()
    assert text.rstrip().endswith("# the end")


@pytest.mark.parametrize(
    "text",
    [VIEW, VIEW + "verified_queries: []\n", '{"name": "a", "tables": [{"name": "t", "base_table": {"table": "t"}}]}'],
)
def test_first_verified_query_is_added_to_any_form_of_text(text: str) -> None:
    query = VerifiedQuery("one", "How many?", "SELECT 1 AS one")

    model = parse(with_verified_query(text, query)).model

    assert model is not None
    assert model.verified_queries == (query,)


def test_verified_query_cannot_be_added_to_what_is_no_model() -> None:
    with pytest.raises(InvalidInput):
        with_verified_query("- 1", VerifiedQuery("one", "?", "SELECT 1"))


def test_verified_sql_reads_logical_tables_under_both_names() -> None:
    model = parse(LEGACY).model
    assert model is not None

    for name in ("orders", "__orders"):
        sql = expand(model, f"SELECT amount FROM {name} AS o").sql(dialect="snowflake")  # noqa: S608
        assert "FROM db.s.ORDERS" in sql
        assert "FROM __orders AS o" in sql


@pytest.mark.parametrize(
    "sql", ["SELECT FROM WHERE", "DELETE FROM orders", "SELECT * FROM elsewhere", "SELECT * FROM other.s.ORDERS"]
)
def test_verified_sql_that_is_no_query_over_the_model_is_refused(sql: str) -> None:
    model = parse(LEGACY).model
    assert model is not None

    with pytest.raises(NotExpandable):
        expand(model, sql)


def test_key_that_repeats_in_the_data_is_found_at_key_and_join() -> None:
    world = hotels()

    findings = check_data(world.model, Observed(world.model, world.database))

    assert {finding.path for finding in findings if "repeat" in finding.message} == {
        "tables[4].primary_key",
        "relationships[3]",
    }


def test_verified_query_that_does_not_run_is_found() -> None:
    model = parse(HOTELS).model
    assert model is not None

    assert check_verified_queries(model) == ()
    assert "no such column" in check_verified_queries(model, lambda _: "no such column")[0].message
