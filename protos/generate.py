"""Writes protos/gen from protos/memorybox; the only writer of that folder. Usage: generate.py [OUT]."""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
DETAILS = "google/rpc/error_details.proto"


def include_of(package: str) -> Path:
    """Return the folder above *package*, where its .proto files lie."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; run `make dev`")
    location = Path(next(iter(spec.submodule_search_locations)))
    return location.parents[len(package.split(".")) - 1]


@contextmanager
def operations_include() -> Iterator[str]:
    """Offer google/longrunning/operations.proto by its canonical name; the package ships it as operations_proto.proto."""
    shipped = include_of("google.longrunning") / "google" / "longrunning" / "operations_proto.proto"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "google" / "longrunning" / "operations.proto"
        target.parent.mkdir(parents=True)
        shutil.copyfile(shipped, target)
        yield folder


def protoc(*arguments: str) -> None:
    """Run the pinned protoc over every contract file, and those named at the end of *arguments*."""
    files = sorted(str(path.relative_to(HERE)) for path in (HERE / "memorybox").rglob("*.proto"))
    scripts = Path(sys.executable).parent
    with operations_include() as operations:
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(
                f"-I{path}"
                for path in (".", operations, include_of("google.api"), include_of("grpc_tools") / "grpc_tools/_proto")
            ),
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            *arguments,
            *files,
        ]
        subprocess.run(command, cwd=HERE, check=True)


def generate(out: Path) -> None:
    """Write Python code, stubs and the descriptor set below *out*, from scratch."""
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    target = str(out.resolve())
    protoc(
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
    )
    package = out.resolve() / "memorybox"
    # A google.rpc.Status inside an answer can be printed as JSON only by who knows the types of its details.
    protoc(
        "--include_imports", "--include_source_info", f"--descriptor_set_out={package / 'descriptors.binpb'}", DETAILS
    )
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "gen")
