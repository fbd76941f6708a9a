"""Measures the local analyst: questions with gold SQL, right, refused or wrong per kind; prints a Markdown table.

    .venv/bin/python -m bench.analyst [--models FOLDER] [--only MODEL] [--failing KIND]

A question is answered right when the rows agree with one of its gold queries on the data and on two perturbed copies. Rows agree as
multisets, or in order where the question says so; numbers within 1e-6 of each other, dates by their day; the answer may have more columns than the gold,
but the gold's must all be among them, and rows must not become more by it. Gold that is empty on the data does not count. A question
without gold is out of scope: refusing it is right. Models other than the flights need ``--models``, a folder with their YAML and CSV files;
with it, each verified query of theirs is run too, and its own question is asked of a model without it.
"""

import argparse
import importlib.util
import itertools
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from bench.analyst_data import load, perturbed, run, tables_of
from services.analyst.domain.language import Answer, Reader
from services.analyst.domain.language.reading import settled
from services.analyst.domain.semantic_model import SemanticModel, expand, parse
from tests.support.observed import Observed, bare

HERE = Path(__file__).parent
QUESTIONS = HERE / "analyst_questions"
TOUR = HERE.parent / "services" / "analyst" / "tour" / "flights.yaml"
SEEDS = (20131, 20132)
_RIGHT, _REFUSED, _WRONG, _EMPTY = "right", "refused", "wrong", "empty gold"
_MAX_PERMUTATIONS = 50_000


@dataclass
class World:
    """A model with its data and the perturbed copies."""

    model: SemanticModel
    databases: list[duckdb.DuckDBPyConnection]
    values: Observed


def world(model: SemanticModel, tables: Sequence[Any], unpacked: Path) -> World:
    """Return a model's world."""
    original = load(tables, unpacked)
    keys: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for table in model.tables:
        joined = [
            pair[1]
            for relation in model.relationships
            if relation.right_table == table.name
            for pair in relation.columns
        ]
        names = {part.casefold() for part in (*table.primary_key, *joined)}
        physical = [column.expr for column in table.columns if column.name.casefold() in names]
        if joined:
            keys[table.base_table.table.lower()] += tuple(physical) or tuple(names)
    copies = [perturbed(original, keys, seed) for seed in SEEDS]
    return World(model, [original, *copies], Observed(model, original))


def worlds(models: Path | None, unpacked: Path) -> dict[str, World]:
    """Return the worlds whose data are here."""
    found = {}
    for name, spec in json.loads((QUESTIONS / "data.json").read_text()).items():
        if "package" in spec:
            package = importlib.util.find_spec(spec["package"])
            if package is None or package.origin is None:
                continue
            text, root = TOUR.read_text(), Path(package.origin).parent
        elif models is not None and (models / f"{name}.yaml").exists():
            text, root = (models / f"{name}.yaml").read_text(), models / spec["folder"]
        else:
            continue
        model = parse(text).model
        if model is not None:
            found[name] = world(model, tables_of(spec, root), unpacked)
    return found


def agrees(gold: Sequence[tuple[Any, ...]], answer: Sequence[tuple[Any, ...]], *, ordered: bool) -> bool:
    """Tell whether an answer's rows are the gold's, with more columns at most."""
    if len(gold) != len(answer):
        return False
    if not gold:
        return True
    ours, theirs = [[_plain(cell) for cell in row] for row in answer], [[_plain(cell) for cell in row] for row in gold]
    width, wanted = len(ours[0]), len(theirs[0])
    fits = [
        [
            at
            for at in range(width)
            if _column_agrees([row[column] for row in theirs], [row[at] for row in ours], ordered=ordered)
        ]
        for column in range(wanted)
    ]
    for tried, choice in enumerate(itertools.product(*fits)):
        if tried > _MAX_PERMUTATIONS:
            break
        if len(set(choice)) < wanted:
            continue
        picked = [[row[at] for at in choice] for row in ours]
        if ordered or wanted == 1 or _multiset(picked) == _multiset(theirs):
            return True
    return False


def _column_agrees(gold: Sequence[Any], ours: Sequence[Any], *, ordered: bool) -> bool:
    if not ordered:
        gold, ours = sorted(gold, key=_sortable), sorted(ours, key=_sortable)
    return all(_same(one, other) for one, other in zip(gold, ours, strict=True))


def _multiset(rows: Iterable[Sequence[Any]]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(f"{cell:.5g}" if isinstance(cell, float) else cell for cell in row) for row in rows)


def _plain(cell: Any) -> Any:
    if isinstance(cell, bool):
        return cell
    if isinstance(cell, int | Decimal | float):
        return float(cell)
    if isinstance(cell, datetime):
        return cell.date().isoformat() if (cell.hour, cell.minute, cell.second) == (0, 0, 0) else cell.isoformat()
    return cell.isoformat() if isinstance(cell, date) else cell


def _sortable(cell: Any) -> tuple[int, Any]:
    return (0, "") if cell is None else (1, round(cell, 6)) if isinstance(cell, float) else (2, str(cell))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-6 * max(1.0, abs(one), abs(other))
    return bool(one == other)


def judge(place: World, reader: Reader, entry: dict[str, Any]) -> tuple[str, str]:
    """Return the verdict on one question and what was answered."""
    golds = entry["sql"] if isinstance(entry["sql"], list) else [entry["sql"]] if entry["sql"] else []
    answer = reader.read(entry["question"], today=date.fromisoformat(entry["as_of"]))
    if not isinstance(answer, Answer):
        return (_REFUSED if golds else _RIGHT), answer.reason
    if not golds:
        return _WRONG, answer.interpretation
    sql = bare(answer.sql.copy()).sql(dialect="duckdb")
    if not any(_is_kept(place.databases[0], gold) for gold in golds):
        return _EMPTY, ""
    return (
        _RIGHT if any(_everywhere(place, gold, sql, ordered=entry["ordered"]) for gold in golds) else _WRONG
    ), f"{answer.interpretation} {sql}"


def _is_kept(database: duckdb.DuckDBPyConnection, gold: str) -> bool:
    return any(any(cell is not None for cell in row) for row in run(database, gold))


def _everywhere(place: World, gold: str, sql: str, *, ordered: bool) -> bool:
    for database in place.databases:
        try:
            if not agrees(run(database, gold), run(database, sql), ordered=ordered):
                return False
        except duckdb.Error:
            return False
    return True


def verified(place: World, name: str) -> None:
    """Run all verified queries of a model, and ask each one's question without it; print what came of it."""
    verdicts: Counter[str] = Counter()
    ran = 0
    today = date(2024, 10, 15)
    for query in place.model.verified_queries:
        gold = bare(settled(expand(place.model, query.sql), today)).sql(dialect="duckdb")
        rows = run(place.databases[0], gold)
        ran += 1
        others = tuple(each for each in place.model.verified_queries if each is not query)
        answer = Reader(replace(place.model, verified_queries=others), place.values).read(query.question, today=today)
        if not isinstance(answer, Answer):
            verdicts[_REFUSED] += 1
        elif agrees(rows, run(place.databases[0], bare(answer.sql.copy()).sql(dialect="duckdb")), ordered=False):
            verdicts[_RIGHT] += 1
        else:
            verdicts[_WRONG] += 1
            print(f"  differs from verified {query.name!r}: {answer.interpretation}")
    if ran:
        print(f"{name}: {ran} verified queries run; their questions without them: {dict(verdicts)}")


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--models", type=Path)
    arguments.add_argument("--only")
    arguments.add_argument(
        "--failing", help="print the questions of one kind, or of one verdict, that were not answered right"
    )
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as unpacked:
        places = worlds(options.models, Path(unpacked))
        totals: dict[str, Counter[str]] = defaultdict(Counter)
        times: list[float] = []
        for name, place in places.items():
            if options.only and name != options.only:
                continue
            reader = Reader(place.model, place.values)
            for line in (QUESTIONS / f"{name}.jsonl").read_text().splitlines():
                entry = json.loads(line)
                began = time.perf_counter()
                reader.read(entry["question"], today=date.fromisoformat(entry["as_of"]))
                times.append(time.perf_counter() - began)
                verdict, said = judge(place, reader, entry)
                totals[f"{name}: {entry['kind']}"][verdict] += 1
                if options.failing in {entry["kind"], verdict} and verdict != _RIGHT:
                    print(f"{verdict}: {entry['question']}\n    {said[:600]}\n    gold: {entry['sql']}")
        _report(totals, times)
        for name, place in places.items():
            if not options.only or name == options.only:
                verified(place, name)


def _report(totals: dict[str, Counter[str]], times: Sequence[float]) -> None:
    print("| model: kind | right | refused | wrong | empty gold |\n|---|---|---|---|---|")
    everything: Counter[str] = Counter()
    for kind, counts in sorted(totals.items()):
        print(
            f"| {kind} | " + " | ".join(str(counts[verdict]) for verdict in (_RIGHT, _REFUSED, _WRONG, _EMPTY)) + " |"
        )
        everything += counts
    counted = sum(everything.values()) - everything[_EMPTY]
    share = {verdict: everything[verdict] / counted for verdict in (_RIGHT, _REFUSED, _WRONG)}
    print(f"| all | {everything[_RIGHT]} | {everything[_REFUSED]} | {everything[_WRONG]} | {everything[_EMPTY]} |")
    print(f"\n{counted} questions: " + ", ".join(f"{verdict} {part:.1%}" for verdict, part in share.items()))
    ranked = sorted(times)
    print(f"reading: median {ranked[len(ranked) // 2] * 1000:.0f} ms, slowest {ranked[-1] * 1000:.0f} ms")


if __name__ == "__main__":
    main()
