"""Variables that look like settings and are none: mostly a slip of the pen, which would otherwise pass in silence."""

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

import services
from services.gateway.transcoder import Options

PREFIX = "MEMORYBOX_"
# Modules that declare settings beside the `settings` of each service.
_OTHERS = ("services.mesh.config",)


@dataclass(frozen=True, slots=True)
class Slip:
    """A variable that nothing reads; *meant* is the nearest name that something does, '' when none is near."""

    variable: str
    meant: str


def known_variables() -> frozenset[str]:
    """Return every variable that some part reads; loads the settings of all services."""
    names = [f"services.{found.name}.settings" for found in pkgutil.iter_modules(services.__path__) if found.ispkg]
    modules = [importlib.import_module(name) for name in (*names, *_OTHERS) if importlib.util.find_spec(name)]
    classes = {item for module in modules for item in vars(module).values() if isinstance(item, type)}
    declared = {
        str(item.metadata["variable"])
        for cls in classes
        if is_dataclass(cls)
        for item in fields(cls)
        if "variable" in item.metadata
    }
    return frozenset(declared | {f"{PREFIX}GATEWAY_{item.name.upper()}" for item in fields(Options)})


def slips(environ: Mapping[str, str], known: Iterable[str] | None = None) -> Iterator[Slip]:
    """Yield every variable of our prefix that nothing reads, by name."""
    names = sorted(known_variables() if known is None else known)
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in names:
            near = difflib.get_close_matches(variable, names, n=1, cutoff=0.75)
            yield Slip(variable, near[0] if near else "")


def warnings(environ: Mapping[str, str], known: Iterable[str] | None = None) -> list[str]:
    """Return a line for each slip."""
    return [
        f"{slip.variable} is no setting{f'; is {slip.meant} meant?' if slip.meant else ''}"
        for slip in slips(environ, known)
    ]
