"""Calibrates the cosine from which a match is worth showing, on real text; prints the table of services/models/sentence.py.

    .venv/bin/python -m bench.embedding_threshold [--model int8|float32]

True matches: (1) the questions and notes of tests/unit/models/questions.jsonl, (2) the summary line of a function and the
paragraph that explains it, from the docstrings of the packages installed here. Noise is every other pairing. The threshold is the
largest hundredth that keeps 95% of the true matches of both kinds: a wrong hit costs a glance, a lost one the answer.
"""

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from services.models.sentence import VARIANTS, SentenceModel, Variant

PAIRS = 1500
KEPT = 0.95
NOT_PROSE = re.compile(r"-----|>>>|::|:param|\.\. |Args:")
QUESTIONS = Path(__file__).parents[1] / "tests/unit/models/questions.jsonl"
Matrix = NDArray[np.float32]


def explained_summaries(packages: Path) -> Iterator[tuple[str, str]]:
    """Yield (summary, explaining paragraph) of each documented function and class below *packages*, without repeats."""
    seen: set[str] = set()
    for path in sorted(packages.glob("**/*.py")):
        if "test" in path.relative_to(packages).as_posix():
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):  # templates and deliberately broken samples
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            paragraphs = [" ".join(part.split()) for part in (ast.get_docstring(node) or "").split("\n\n")]
            if len(paragraphs) > 1 and _is_pair(*paragraphs[:2]) and not seen & set(paragraphs[:2]):
                seen |= set(paragraphs[:2])
                yield paragraphs[0], paragraphs[1]


def _is_pair(summary: str, paragraph: str) -> bool:
    lengths = 4 <= len(summary.split()) <= 25 and 15 <= len(paragraph.split()) <= 200
    return lengths and not NOT_PROSE.search(paragraph)


def sample(count: int) -> list[tuple[str, str]]:
    """Return *count* explained summaries of the installed packages, the same ones in every run over the same packages."""
    pairs = list(explained_summaries(Path(onnx.__file__).parents[1]))
    return [pairs[index] for index in np.random.default_rng(3).permutation(len(pairs))[:count]]


def others(similarity: Matrix) -> Matrix:
    """Return all cosines off the diagonal."""
    found: Matrix = similarity[~np.eye(len(similarity), dtype=bool)]
    return found


def main(variant: Variant) -> None:
    """Measure and print."""
    model = SentenceModel.load(variant)

    def embed(texts: list[str]) -> Matrix:
        return np.stack([model.embed(text).values for text in texts])

    rows = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]
    chosen = sample(PAIRS)
    questions, notes = embed([row["question"] for row in rows]), embed([row["note"] for row in rows])
    summaries, paragraphs = embed([pair[0] for pair in chosen]), embed([pair[1] for pair in chosen])
    by_note, foreign, by_paragraph = questions @ notes.T, questions @ paragraphs.T, summaries @ paragraphs.T
    found_notes, found_paragraphs = np.diag(by_note), np.diag(by_paragraph)

    print(f"space {variant.space}; {len(rows)} questions, {len(chosen)} explained summaries\n")
    print(
        "| threshold | notes found | paragraphs found | other notes | foreign paragraphs | paragraphs of the same field |"
    )
    print("|---|---|---|---|---|---|")
    for threshold in (0.10, 0.15, 0.18, 0.20, 0.25, 0.30, 0.35):
        kinds = (found_notes, found_paragraphs, others(by_note), foreign, others(by_paragraph))
        print(f"| {threshold:.2f} | " + " | ".join(f"{(kind >= threshold).mean():.2%}" for kind in kinds) + " |")
    fitting = [
        hundredth / 100
        for hundredth in range(100)
        if min((found_notes >= hundredth / 100).mean(), (found_paragraphs >= hundredth / 100).mean()) >= KEPT
    ]
    ranks = (np.hstack([by_note, foreign]) > found_notes[:, None]).sum(axis=1)
    print(f"\nlargest hundredth that keeps {KEPT:.0%} of both: {max(fitting):.2f}")
    print(f"questions whose note is first {(ranks < 1).mean():.1%}, in the first three {(ranks < 3).mean():.1%}")
    print(f"least cosine of a true note in the first ten: {found_notes[ranks < 10].min():.3f}")


if __name__ == "__main__":
    by_name = {variant.name: variant for variant in VARIANTS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=by_name, default="int8")
    main(by_name[parser.parse_args().model])
