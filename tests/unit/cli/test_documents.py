"""Which memories files become, and under which request ids."""

import json
import os
from pathlib import Path

import pytest

from services.cli.documents import Fault, Item, Manner, NoSuchPath, find_files, read_items


def write(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def items(path: Path, manner: Manner | None = None) -> list[Item]:
    found = list(read_items(path, manner or Manner()))
    assert all(isinstance(item, Item) for item in found), found
    return [item for item in found if isinstance(item, Item)]


def faults(path: Path) -> list[Fault]:
    return [item for item in read_items(path, Manner()) if isinstance(item, Fault)]


def test_markdown_file_becomes_memories_with_lineage(tmp_path: Path) -> None:
    path = write(tmp_path / "my tea.md", "---\ntags: [drink]\n---\n# Tea\nHot.")

    [item] = items(path, Manner(bucket="notes", tags=("mine", "drink")))

    assert item.memory == {
        "content": "Hot.",
        "contentType": "text/markdown",
        "metadata": {"tags": ["drink"], "headings": ["Tea"]},
        "tags": ["drink", "mine"],
        "bucket": "notes",
        "source": {"uri": f"file://{tmp_path}/my%20tea.md", "kind": "file"},
    }


def test_file_is_one_memory_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufeffOne.\r\n\r\nTwo.\r\n")

    [item] = items(path, Manner(by_paragraph=False))

    assert item.memory["content"] == "One.\n\nTwo."


def test_json_lines_are_memories_as_they_stand(tmp_path: Path) -> None:
    line = {"content": "Hi", "bucket": "own", "source": {"uri": "chat:1", "kind": "conversation"}, "externalId": "7"}
    path = write(tmp_path / "a.jsonl", json.dumps(line) + "\n\n")

    [item] = items(path, Manner(bucket="notes", tags=("t",)))

    assert item.memory == {**line, "tags": ["t"]}


def test_json_lines_name_the_line_that_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b'{"content":"a"}\nnot json\n[1]\n\xff\n')

    assert [(fault.origin, fault.skipped) for fault in faults(path)] == [
        (f"{path}:{number}", False) for number in (2, 3, 4)
    ]


def test_request_ids_are_the_same_when_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.md", "One.\n\nTwo.\n\nOne.")

    first, second = items(path), items(path)

    assert first == second
    assert len({item.request_id for item in first}) == 3
    assert all(len(item.request_id) <= 128 and item.request_id.isascii() for item in first)


def test_request_ids_survive_text_added_above(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "One.\n\nTwo.")
    before = {item.request_id for item in items(path)}

    write(path, "New.\n\nOne.\n\nTwo.")

    assert before < {item.request_id for item in items(path)}


def test_request_ids_differ_when_the_memory_does(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "One.")

    ids = {items(path, manner)[0].request_id for manner in (Manner(), Manner(bucket="b"), Manner(tags=("t",)))}

    assert len(ids) == 3


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"\x7fELF\0\0", "binary"), (b"caf\xe9", "not UTF-8 text"), (b" \n", "empty")],
    ids=["zero byte", "latin-1", "blank"],
)
def test_files_that_are_no_text_are_skipped_with_the_reason(tmp_path: Path, data: bytes, why: str) -> None:
    path = write(tmp_path / "file", data)

    assert faults(path) == [Fault(str(path), why, skipped=True)]


def test_passage_over_the_servers_limit_fails_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "x" * (1024 * 1024 + 1) + "\n\nfine")

    found = list(read_items(path, Manner()))

    assert [isinstance(item, Fault) for item in found] == [True, False]


def test_folders_are_walked_in_order_without_what_is_hidden_or_no_prose(tmp_path: Path) -> None:
    for name in ("b.md", "a/z.txt", "a/b/c.txt", ".git/config", "a/.hidden", "a/page.html", "named.html"):
        write(tmp_path / name, "x")
    (tmp_path / "link").symlink_to(tmp_path / "a")

    files, skipped = find_files([tmp_path, tmp_path / "b.md", tmp_path / "named.html"])

    assert [str(path.relative_to(tmp_path)) for path in files] == ["b.md", "a/z.txt", "a/b/c.txt", "named.html"]
    assert {(Path(fault.origin).name, fault.why) for fault in skipped} == {
        (".git", "hidden"),
        (".hidden", "hidden"),
        ("link", "a link to a folder"),
        ("page.html", ".html is not prose; name the file to import it"),
        ("named.html", ".html is not prose; name the file to import it"),
    }


def test_find_files_names_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(NoSuchPath, match="nothing-here"):
        find_files([tmp_path / "nothing-here"])


def test_names_that_are_not_utf8_are_read_and_can_be_printed(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    with open(raw, "wb") as file:  # noqa: PTH123
        file.write(b"Hi")

    [path], _ = find_files([tmp_path])
    [item] = items(path)

    assert item.origin.encode()
    assert item.memory["source"]["uri"].endswith("caf%E9.txt")
