"""Questions over bookings of hotels: what is read, and what comes of it."""

from typing import Any

import pytest

from services.analyst.domain.language import Answer, Refusal, Similarities, read
from tests.support.analyst_worlds import TODAY, World, atlas, hotels, meters
from tests.support.analyst_worlds import world as small_world
from tests.support.observed import Observed, bare


@pytest.fixture(scope="module")
def world() -> World:
    return hotels()


@pytest.fixture(scope="module")
def readings() -> World:
    return meters()


@pytest.fixture(scope="module")
def countries() -> World:
    return atlas()


@pytest.mark.parametrize(
    ("question", "rows"),
    [
        ("How many bookings are there?", [(6,)]),
        ("total price by hotel", [("Grand Plaza", 10, 520), ("Old Mill", 12, 80), ("Sea View", 11, 50)]),
        ("Total price for each country", [("France", "FR", 520), ("Portugal", "PT", 130)]),
        ("average price of confirmed bookings", [(pytest.approx(520 / 3),)]),
        ("How many bookings are not cancelled?", [(5,)]),
        ("How many reservations were CANCELLED?", [(1,)]),
        ("How many bookings are not paid?", [(2,)]),
        ("Which hotel has the most bookings?", [("Grand Plaza", 10, 3)]),
        (
            "average daily rate by hotel",
            [("Grand Plaza", 10, pytest.approx(520 / 6)), ("Old Mill", 12, 16), ("Sea View", 11, 50)],
        ),
        ("Which hotels have no bookings?", [("Web", 13)]),
        ("Which hotels did not get bookings from Agency?", [("Old Mill", 12), ("Sea View", 11), ("Web", 13)]),
        ("hotels with more than fifty rooms", [("Grand Plaza", 10, 120)]),
        ("How many hotels have more than 1 booking?", [(2,)]),
        ("average number of bookings per hotel", [(2,)]),
        ("what percentage of bookings were cancelled", [(pytest.approx(100 / 6),)]),
        ("total rooms by city", [("Faro", 3, 9), ("Lyon", 1, 120), ("Porto", 2, 55)]),
        ("How many bookings have an arrival date between March 1 and March 5, 2024?", [(1,)]),
        ("How many more bookings did Grand Plaza have than Sea View?", [(2, 3, 1, 200)]),
        ("which countries have hotels with more than 10 rooms", [("France", "FR"), ("Portugal", "PT")]),
        ("second most common status", [("No-Show", 1)]),
    ],
)
def test_question_is_answered_with_the_true_rows(world: World, question: str, rows: list[tuple[Any, ...]]) -> None:
    assert world.rows(question) == rows


@pytest.mark.parametrize(
    "paraphrases",
    [
        (
            "How many bookings were cancelled?",
            "number of cancelled bookings",
            "Count the cancelled bookings.",
            "how many cancelled reservations are there",
        ),
        (
            "total price by hotel",
            "What is the total price for each hotel?",
            "show me the sum of price per hotel",
            "total price broken down by hotel",
        ),
        (
            "Which hotel has the most bookings?",
            "hotel with the highest number of bookings",
            "top 1 hotel by number of bookings",
        ),
    ],
)
def test_paraphrases_get_the_same_rows(world: World, paraphrases: tuple[str, ...]) -> None:
    assert len({str(world.rows(question)) for question in paraphrases}) == 1


@pytest.mark.parametrize(
    ("question", "part"),
    [
        ("How many refunded bookings are there?", "refunded"),
        ("What is the weather in Lyon?", "weather"),
        ("Is Grand Plaza better than Sea View?", ""),
        ("Delete all bookings", "Delete"),
        ("bookings in March", "arrival date"),
        ("average rooms by status", "hotels"),
        ("total price by slogan", "repeats"),
        ("How many bookings arrived in 2031?", ""),
        ("Why did price fall?", "Why"),
        ("total value of bookings", "value"),
        ("bookings that are not paid or cancelled", ""),
        ("", "empty"),
        ("price " * 400, "characters"),
    ],
)
def test_question_without_one_clear_reading_is_refused_with_the_reason(world: World, question: str, part: str) -> None:
    assert part in world.reason(question)


def test_suggestions_of_a_refusal_are_questions_that_work(world: World) -> None:
    refusal = world.read("How many refunded bookings are there?")

    assert isinstance(refusal, Refusal)
    assert refusal.questions
    assert all(isinstance(world.read(question), Answer) for question in refusal.questions)


def test_join_key_that_repeats_gives_the_true_total_or_none(world: World) -> None:
    by_brand = world.rows("total price by brand")

    assert [(row[0], float(row[1])) for row in by_brand] == [("North", 520), ("South", 130)]
    assert "repeats" in world.reason("total price by slogan")


def test_interpretation_names_dates_filters_and_groups(world: World) -> None:
    answer = world.read("total price of Web bookings by hotel with an arrival date in March 2024")

    assert isinstance(answer, Answer)
    for part in ("Total price", "channel is Web", "from 2024-03-01 to 2024-03-31", "by hotel"):
        assert part in answer.interpretation


def test_date_kept_as_text_is_compared_as_a_date(readings: World) -> None:
    assert readings.rows("total usage since February 2024") == [(46,)]


def test_value_in_two_columns_is_refused_unless_its_column_is_named(readings: World) -> None:
    assert "site or neighbour" in readings.reason("total usage in North")
    assert readings.rows("total usage for neighbour North") == [(16,)]


def test_average_leaves_missing_values_out(readings: World) -> None:
    assert readings.rows("average night temperature") == [(pytest.approx(13 / 3),)]


def test_average_of_what_adds_up_per_month_is_refused(readings: World) -> None:
    assert "totals" in readings.reason("average usage per month")


def test_slip_of_the_finger_is_mended_and_said(world: World) -> None:
    answer = world.read("How many cancelled bookngs are there?")

    assert isinstance(answer, Answer)
    assert "bookngs" in answer.interpretation


def test_follow_up_refines_the_question_before(world: World) -> None:
    assert world.rows("and by hotel?", ["How many bookings are there?"]) == [
        ("Grand Plaza", 10, 3),
        ("Old Mill", 12, 2),
        ("Sea View", 11, 1),
    ]
    assert world.rows("only cancelled", ["How many bookings are there?"]) == [(1,)]
    assert world.rows("what about Sea View?", ["total price of Grand Plaza"]) == [(50,)]


def test_verified_question_is_used_and_named(world: World) -> None:
    answer = world.read("what share of bookings is paid")

    assert isinstance(answer, Answer)
    assert answer.verified_query == "paid share"
    assert world.rows("what share of bookings is paid") == [(0.5,)]


def test_verified_query_is_not_reused_for_another_value(world: World) -> None:
    similar = Similarities({"paid share": 0.99})

    answer = world.reader.read("What share of bookings is cancelled?", today=TODAY, similar=similar)

    assert isinstance(answer, Answer)
    assert answer.verified_query is None


def test_sql_renders_for_snowflake_over_base_tables(world: World) -> None:
    answer = world.read("Which hotel has the most bookings?")

    assert isinstance(answer, Answer)
    assert "FROM bookings" in answer.sql.sql(dialect="snowflake")


def test_function_reads_like_a_reader(world: World) -> None:
    answer = read("How many hotels are there?", world.model, today=TODAY, values=Observed(world.model, world.database))

    assert isinstance(answer, Answer)
    assert world.database.execute(bare(answer.sql).sql(dialect="duckdb")).fetchall() == [(4,)]


@pytest.mark.parametrize(
    "question",
    [
        'bookings where channel is "Web\'; DROP TABLE bookings; --"',
        "How many bookings; DELETE FROM hotels",
        "\x00\ud800 ☃ \u202e bookings",
        "((((((((((((((((((((((((" * 20,
        "or " * 60,
        "not " * 70 + "cancelled bookings",
    ],
)
def test_hostile_question_neither_raises_nor_leaves_its_text_in_the_query(world: World, question: str) -> None:
    answer = world.read(question)

    assert isinstance(answer, Refusal) or "DROP" not in answer.sql.sql()


@pytest.mark.parametrize(
    ("question", "rows"),
    [
        ("How many countries are in Europe?", [(3,)]),
        ("What is the population of France?", [(60,)]),
        ("Which country has the largest population?", [("Brazil", "BRA", 170)]),
        (
            "What is the average city population by country?",
            [("Brazil", "BRA", 6.5), ("France", "FRA", pytest.approx(1.3)), ("Germany", "DEU", 3.4)],
        ),
        ("Which countries have no cities?", [("Portugal", "PRT")]),
        ("cities in Europe that are not capitals", [("Lyon", 2, "Europe", False)]),
        ("Which languages are official in more than one country?", [("Portuguese", 2)]),
        ("largest country by area", [("Brazil", "BRA", 8500)]),
    ],
)
def test_number_belongs_to_the_thing_that_the_question_names(
    countries: World, question: str, rows: list[tuple[Any, ...]]
) -> None:
    found = [
        tuple(float(cell) if hasattr(cell, "as_tuple") else cell for cell in row) for row in countries.rows(question)
    ]

    assert found == rows


@pytest.mark.parametrize(
    "question",
    [
        "What is the smallest country in Europe?",
        "population density by country",
        "Which countries gained independence before 1900?",
        "What is the capital of Germany?",
        "How many wars did France win?",
    ],
)
def test_question_beyond_the_model_is_refused(countries: World, question: str) -> None:
    assert countries.reason(question)


def test_word_of_denial_is_never_taken_for_a_name() -> None:
    yaml = "name: a\ntables: [{name: flight, base_table: {table: flight}, dimensions: [{name: flight_no, expr: no, data_type: NUMBER}]}]"
    rows = "CREATE TABLE flight AS SELECT 7 AS no"

    assert small_world(yaml, rows).read("flights with no flights") != small_world(yaml, rows).read("flights")
    assert small_world(yaml, rows).reason("flight no")


def test_word_that_says_little_is_read_as_the_column_of_that_name() -> None:
    yaml = (
        "name: a\ntables: [{name: orders, base_table: {table: orders}, "
        "facts: [{name: value, expr: value, data_type: NUMBER, default_aggregation: sum}]}]"
    )

    assert small_world(yaml, "CREATE TABLE orders AS SELECT 20 AS value UNION ALL SELECT 22").rows(
        "total value of orders"
    ) == [(42,)]
