"""Writes protos/gen from protos/memorybox; the only writer of that folder. Usage: generate.py [OUT]."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def include_of(package: str) -> Path:
    """Return the folder above *package*, where its .proto files lie."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed; run `make venv`")
    location = Path(next(iter(spec.submodule_search_locations)))
    return location.parents[len(package.split(".")) - 1]


def protoc(*arguments: str) -> None:
    """Run the pinned protoc over every contract file."""
    files = sorted(str(path.relative_to(HERE)) for path in (HERE / "memorybox").rglob("*.proto"))
    includes = [
        "-I.",
        f"-I{include_of('google.api')}",
        f"-I{Path(include_of('grpc_tools')) / 'grpc_tools' / '_proto'}",
    ]
    plugin = f"--plugin=protoc-gen-mypy={Path(sys.executable).parent / 'protoc-gen-mypy'}"
    plugin_grpc = f"--plugin=protoc-gen-mypy_grpc={Path(sys.executable).parent / 'protoc-gen-mypy_grpc'}"
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, plugin, plugin_grpc, *arguments, *files]
    subprocess.run(command, cwd=HERE, check=True)


def generate(out: Path) -> None:
    """Write Python code, stubs and the descriptor set below *out*, from scratch."""
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    target = str(out.resolve())
    protoc(f"--python_out={target}", f"--grpc_python_out={target}", f"--mypy_out=quiet:{target}", f"--mypy_grpc_out=quiet,async_only:{target}")
    descriptors = out.resolve() / "memorybox" / "descriptors.binpb"
    protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={descriptors}")
    for folder in [out / "memorybox", *(path for path in (out / "memorybox").rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "gen")
