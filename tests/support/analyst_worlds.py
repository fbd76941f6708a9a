"""Three small models with data that hold what goes wrong in practice: repeated keys, NULLs, dates as text, one value in two columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb

from services.analyst.domain.language import Answer, Reader, Refusal, Turn
from services.analyst.domain.semantic_model import SemanticModel, parse
from tests.support.observed import Observed, bare

TODAY = date(2024, 5, 15)

HOTELS = """
name: hotels
tables:
  - name: bookings
    synonyms: [reservation, stay]
    base_table: {table: bookings}
    primary_key: {columns: [booking_id]}
    dimensions:
      - {name: booking_id, expr: booking_id, data_type: NUMBER, unique: true}
      - {name: hotel_id, expr: hotel_id, data_type: NUMBER}
      - {name: status, expr: status, data_type: VARCHAR, is_enum: true, sample_values: [CONFIRMED, cancelled, No-Show]}
      - {name: channel, expr: channel, data_type: VARCHAR, sample_values: [Web, Agency]}
      - {name: is_paid, expr: is_paid, data_type: BOOLEAN, synonyms: [paid]}
    time_dimensions:
      - {name: booked_on, expr: booked_on, data_type: DATE, synonyms: [booking date, booked]}
      - {name: arrival_date, expr: arrival_date, data_type: DATE, synonyms: [arrival, check in]}
    facts:
      - {name: price, expr: price, data_type: NUMBER, description: Price in euros., synonyms: [amount paid], default_aggregation: sum}
      - {name: nights, expr: nights, data_type: NUMBER, default_aggregation: sum}
    metrics:
      - {name: average_daily_rate, expr: SUM(price) / SUM(nights), synonyms: [ADR, daily rate]}
  - name: hotels
    base_table: {table: hotels}
    primary_key: {columns: [hotel_id]}
    dimensions:
      - {name: hotel_id, expr: hotel_id, data_type: NUMBER}
      - {name: name, expr: name, data_type: VARCHAR, synonyms: [hotel name]}
      - {name: city_id, expr: city_id, data_type: NUMBER}
    facts:
      - {name: rooms, expr: rooms, data_type: NUMBER, synonyms: [number of rooms]}
  - name: cities
    synonyms: [city]
    base_table: {table: cities}
    primary_key: {columns: [city_id]}
    dimensions:
      - {name: city_id, expr: city_id, data_type: NUMBER}
      - {name: city_name, expr: city_name, data_type: VARCHAR}
      - {name: country_code, expr: country_code, data_type: VARCHAR}
  - name: countries
    base_table: {table: countries}
    primary_key: {columns: [code]}
    dimensions:
      - {name: code, expr: code, data_type: VARCHAR}
      - {name: name, expr: name, data_type: VARCHAR, synonyms: [country name]}
  - name: campaigns
    base_table: {table: campaigns}
    primary_key: {columns: [hotel_id]}
    dimensions:
      - {name: hotel_id, expr: hotel_id, data_type: NUMBER}
      - {name: slogan, expr: slogan, data_type: VARCHAR}
      - {name: brand, expr: brand, data_type: VARCHAR}
relationships:
  - {name: bookings_to_hotels, left_table: bookings, right_table: hotels, relationship_columns: [{left_column: hotel_id, right_column: hotel_id}]}
  - {name: hotels_to_cities, left_table: hotels, right_table: cities, relationship_columns: [{left_column: city_id, right_column: city_id}]}
  - {name: cities_to_countries, left_table: cities, right_table: countries, relationship_columns: [{left_column: country_code, right_column: code}]}
  - {name: bookings_to_campaigns, left_table: bookings, right_table: campaigns, relationship_columns: [{left_column: hotel_id, right_column: hotel_id}]}
verified_queries:
  - name: paid share
    question: What share of bookings is paid?
    sql: SELECT AVG(CASE WHEN is_paid THEN 1.0 ELSE 0.0 END) AS share FROM bookings
"""
_HOTEL_ROWS = """
CREATE TABLE bookings AS SELECT * FROM (VALUES
 (1, 10, 'CONFIRMED', 'Web', true, DATE '2024-01-05', DATE '2024-03-01', 100.0, 2), (2, 10, 'CONFIRMED', 'Agency', true, DATE '2024-02-05', DATE '2024-03-09', 300.0, 3),
 (3, 11, 'cancelled', 'Web', false, DATE '2024-03-05', DATE '2024-04-01', 50.0, 1), (4, 12, 'CONFIRMED', 'Web', NULL, DATE '2024-04-05', DATE '2024-04-20', NULL, 4),
 (5, 12, 'No-Show', NULL, false, DATE '2024-04-30', DATE '2024-05-02', 80.0, 1), (6, 10, 'CONFIRMED', 'Web', true, DATE '2023-12-30', DATE '2024-01-02', 120.0, 1))
 t(booking_id, hotel_id, status, channel, is_paid, booked_on, arrival_date, price, nights);
CREATE TABLE hotels AS SELECT * FROM (VALUES (10, 'Grand Plaza', 1, 120), (11, 'Sea View', 2, 40), (12, 'Old Mill', 2, 15), (13, 'Web', 3, 9)) t(hotel_id, name, city_id, rooms);
CREATE TABLE cities AS SELECT * FROM (VALUES (1, 'Lyon', 'FR'), (2, 'Porto', 'PT'), (3, 'Faro', 'PT')) t(city_id, city_name, country_code);
CREATE TABLE countries AS SELECT * FROM (VALUES ('FR', 'France'), ('PT', 'Portugal')) t(code, name);
CREATE TABLE campaigns AS SELECT * FROM (VALUES (10, 'Relax', 'North'), (10, 'Enjoy', 'North'), (11, 'Swim', 'South'), (12, 'Walk', 'South')) t(hotel_id, slogan, brand);
"""

METERS = """
name: meters
tables:
  - name: readings
    base_table: {table: readings}
    dimensions:
      - {name: site, expr: site, data_type: VARCHAR}
      - {name: neighbour, expr: neighbour, data_type: VARCHAR}
      - {name: year, expr: year, data_type: NUMBER}
    time_dimensions:
      - {name: reading_date, expr: reading_date, data_type: DATE}
    facts:
      - {name: usage, expr: usage, data_type: NUMBER, description: Usage in kilowatt hours., default_aggregation: sum}
      - {name: day_temperature, expr: day_temperature, data_type: NUMBER}
      - {name: night_temperature, expr: night_temperature, data_type: NUMBER}
"""
_METER_ROWS = """
CREATE TABLE readings AS SELECT * FROM (VALUES
 ('North', 'South', 2023, '2023-06-01', 10, 20, 11), ('North', 'South', 2024, '2024-02-01', 30, 5, NULL), ('South', 'North', 2024, '2024-02-10', 7, 6, -2),
 ('South', 'North', 2024, '2024-03-01', 9, 12, 4)) t(site, neighbour, year, reading_date, usage, day_temperature, night_temperature);
"""

ATLAS = """
name: world
tables:
  - name: country
    base_table: {table: country}
    primary_key: {columns: [country_code]}
    dimensions:
      - {name: country_code, expr: country_code, data_type: TEXT}
      - {name: country_name, expr: country_name, data_type: TEXT}
      - {name: continent, expr: continent, data_type: TEXT}
      - {name: independence_year, expr: independence_year, data_type: NUMBER}
    facts:
      - {name: population, expr: population, data_type: NUMBER}
      - {name: area_km2, expr: area_km2, data_type: NUMBER, description: Surface area in square kilometers}
      - {name: gdp, expr: gdp, data_type: NUMBER, description: GDP in million dollars}
  - name: city
    base_table: {table: city}
    primary_key: {columns: [city_id]}
    dimensions:
      - {name: city_id, expr: city_id, data_type: NUMBER}
      - {name: city_name, expr: city_name, data_type: TEXT}
      - {name: country_code, expr: country_code, data_type: TEXT}
      - {name: is_capital, expr: is_capital, data_type: BOOLEAN}
    facts:
      - {name: population, expr: population, data_type: NUMBER}
  - name: language
    base_table: {table: language}
    dimensions:
      - {name: country_code, expr: country_code, data_type: TEXT}
      - {name: language, expr: language, data_type: TEXT}
      - {name: is_official, expr: is_official, data_type: BOOLEAN}
    facts:
      - {name: percentage, expr: percentage, data_type: NUMBER}
relationships:
  - {name: city_country, left_table: city, right_table: country, relationship_columns: [{left_column: country_code, right_column: country_code}]}
  - {name: lang_country, left_table: language, right_table: country, relationship_columns: [{left_column: country_code, right_column: country_code}]}
"""
_ATLAS_ROWS = """
CREATE TABLE country AS SELECT * FROM (VALUES ('FRA','France','Europe',843,60,640,1400),('DEU','Germany','Europe',1955,80,357,2100),('BRA','Brazil','South America',1822,170,8500,770),('PRT','Portugal','Europe',1143,10,92,105)) t(country_code,country_name,continent,independence_year,population,area_km2,gdp);
CREATE TABLE city AS SELECT * FROM (VALUES (1,'Paris','FRA',true,2.1),(2,'Lyon','FRA',false,0.5),(3,'Berlin','DEU',true,3.4),(4,'Brasilia','BRA',true,2.0),(5,'Sao Paulo','BRA',false,11.0)) t(city_id,city_name,country_code,is_capital,population);
CREATE TABLE language AS SELECT * FROM (VALUES ('FRA','French',true,93.0),('DEU','German',true,91.0),('BRA','Portuguese',true,97.5),('BRA','German',false,0.5),('PRT','Portuguese',true,99.0)) t(country_code,language,is_official,percentage);
"""


@dataclass
class World:
    """A model over a database, with a reader of questions."""

    model: SemanticModel
    database: duckdb.DuckDBPyConnection
    reader: Reader

    def read(self, question: str, history: Sequence[str] = ()) -> Answer | Refusal:
        """Read a question on the fixed day."""
        return self.reader.read(question, today=TODAY, history=[Turn(text) for text in history])

    def rows(self, question: str, history: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        """Return the rows that answer a question; fails when it is refused."""
        answer = self.read(question, history)
        assert isinstance(answer, Answer), answer
        return self.database.execute(bare(answer.sql.copy()).sql(dialect="duckdb")).fetchall()

    def reason(self, question: str) -> str:
        """Return why a question is refused; fails when it is answered."""
        answer = self.read(question)
        assert isinstance(answer, Refusal), answer
        return answer.reason


def world(yaml: str, rows: str) -> World:
    """Return a world of its own."""
    model = parse(yaml).model
    assert model is not None
    database = duckdb.connect()
    database.execute(rows)
    return World(model, database, Reader(model, Observed(model, database)))


def hotels() -> World:
    """Bookings of hotels in cities of countries, and campaigns whose key repeats."""
    return world(HOTELS, _HOTEL_ROWS)


def meters() -> World:
    """Return readings whose dates are text, with one set of values in two columns and two temperatures."""
    return world(METERS, _METER_ROWS)


def atlas() -> World:
    """Return countries with cities and languages: one name for two numbers, and things without others."""
    return world(ATLAS, _ATLAS_ROWS)
