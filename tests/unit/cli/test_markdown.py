"""Documents are cut where a person would cut them."""

import pytest

from services.cli.front_matter import split_front_matter
from services.cli.markdown import LONGEST_JOINED, Passage, split_markdown, split_text


def test_markdown_keeps_the_path_of_headings() -> None:
    text = "# Tea\nHot.\n\n## Green\nSeventy degrees.\n\n## Black\nBoiling.\n\n# Coffee\nGround."

    assert split_markdown(text) == [
        Passage("Hot.", ("Tea",)),
        Passage("Seventy degrees.", ("Tea", "Green")),
        Passage("Boiling.", ("Tea", "Black")),
        Passage("Ground.", ("Coffee",)),
    ]


@pytest.mark.parametrize(
    ("text", "headings"),
    [
        ("# A #\nx", ("A",)),
        ("## C# and F#\nx", ("C# and F#",)),
        ("A title\n===\nx", ("A title",)),
        ("Over\ntwo lines\n---\nx", ("Over two lines",)),
        ("#hashtag\nx", None),
        ("# \nx", ()),
        ("####### seven\nx", None),
        ("    # indented code\nx", None),
    ],
    ids=["closed", "sharp", "setext", "setext of two lines", "hashtag", "empty", "seven", "indented"],
)
def test_markdown_headings(text: str, headings: tuple[str, ...] | None) -> None:
    expected = [Passage(text)] if headings is None else [Passage("x", headings)]

    assert split_markdown(text) == expected


def test_markdown_never_cuts_fenced_code() -> None:
    code = "```sh\n# not a heading\n\n---\nls\n```"

    assert split_markdown(f"Before.\n\n{code}\n\nAfter.") == [Passage("Before."), Passage(code), Passage("After.")]


def test_markdown_keeps_a_loose_list_together() -> None:
    text = "- milk\n\n- eggs\n  brown ones\n\n  from the farm\n\nDone."

    assert [passage.content for passage in split_markdown(text)] == [
        "- milk\n\n- eggs\n  brown ones\n\n  from the farm",
        "Done.",
    ]


def test_markdown_keeps_what_a_colon_announces() -> None:
    text = "You need:\n\n- milk\n\nTo start:\n\n```\nmake up\n```\n\nAnd so:\n\nanother paragraph."

    assert [passage.content for passage in split_markdown(text)] == [
        "You need:\n\n- milk",
        "To start:\n\n```\nmake up\n```",
        "And so:",
        "another paragraph.",
    ]


def test_markdown_does_not_join_without_end() -> None:
    text = "\n\n".join(f"- item {number} {'x' * 100}" for number in range(100))

    assert all(len(passage.content) <= LONGEST_JOINED + 10 for passage in split_markdown(text))


def test_markdown_keeps_a_heading_that_has_nothing_under_it() -> None:
    text = "# Ideas\n## A garden on the roof\n## A boat\nWith sails.\n# End"

    assert split_markdown(text) == [
        Passage("A garden on the roof", ("Ideas",)),
        Passage("With sails.", ("Ideas", "A boat")),
        Passage("End"),
    ]


def test_text_is_cut_at_blank_lines() -> None:
    text = "\n\nOne\nstill one.\n \t\n\n  Two, indented.\n\n----------\n\nThree.\n"

    assert [passage.content for passage in split_text(text)] == ["One\nstill one.", "  Two, indented.", "Three."]


def test_text_keeps_a_short_title_with_what_it_announces() -> None:
    text = "NO WARRANTY\n\nDeveloped by:\n\nThe authors.\n\nBuy milk\n\nCall Bob\n\nTHE END"

    assert [passage.content for passage in split_text(text)] == [
        "NO WARRANTY\n\nDeveloped by:\n\nThe authors.",
        "Buy milk",
        "Call Bob",
        "THE END",
    ]


def test_text_keeps_an_underlined_title_with_what_follows() -> None:
    text = "Install\n=======\n\nRun make.\n\nThen wait.\n\nEnd\n---"

    assert [passage.content for passage in split_text(text)] == [
        "Install\n=======\n\nRun make.",
        "Then wait.",
        "End\n---",
    ]


def test_front_matter_becomes_values() -> None:
    text = """---
# a comment
title: "Tea: a history"
draft: false
rating: 4.5
pages: 12
published: 2021-03-04
tags: [drink, 'hot water']
authors:
  - Ann
  - Bob
nested:
  deep: 1
empty:
---
Body."""

    assert split_front_matter(text) == (
        {
            "title": "Tea: a history",
            "draft": False,
            "rating": 4.5,
            "pages": 12,
            "published": "2021-03-04",
            "tags": ["drink", "hot water"],
            "authors": ["Ann", "Bob"],
            "nested": "  deep: 1",
            "empty": "",
        },
        "Body.",
    )


@pytest.mark.parametrize(
    "text",
    ["Body.", "---\nnever closed", "---\nA sentence between rules.\n---\nBody.", " ---\na: b\n---\nBody."],
    ids=["none", "open", "rules", "indented"],
)
def test_front_matter_is_left_in_the_text_where_it_is_none(text: str) -> None:
    assert split_front_matter(text) == ({}, text)
