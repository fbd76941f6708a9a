"""The table of scores."""

from collections.abc import Mapping, Sequence

from tests.conformance.cases import Chapter
from tests.conformance.runner import NOT_OFFERED, PASSED, Result


def summary(chapters: Sequence[Chapter], results: Mapping[str, Sequence[Result]]) -> str:
    """Return the table as text in Markdown."""
    names = list(results)
    lines = [
        "| chapter | cases | " + " | ".join(names) + " |",
        "|---|---:|" + "---:|" * len(names),
    ]
    for chapter in chapters:
        if chapter.cases:
            scores = [_score(chapter.letter, results[name]) for name in names]
            lines.append(f"| {chapter.letter}. {chapter.title} | {len(chapter.cases)} | " + " | ".join(scores) + " |")
    total = sum(len(chapter.cases) for chapter in chapters)
    lines.append(
        f"| **all** | **{total}** | " + " | ".join(f"**{_score('', results[name])}**" for name in names) + " |"
    )
    return "\n".join(lines)


def _score(letter: str, results: Sequence[Result]) -> str:
    own = [result for result in results if not letter or result.case.chapter == letter]
    passed = sum(result.outcome == PASSED for result in own)
    missing = sum(result.outcome == NOT_OFFERED for result in own)
    return f"{passed} ({missing} not offered)" if missing else str(passed)


def page(chapters: Sequence[Chapter], results: Mapping[str, Sequence[Result]]) -> str:
    """Return docs/conformance.md."""
    return summary(chapters, results) + "\n"
