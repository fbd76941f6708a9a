"""Variables that look like settings and are none: mostly a slip of the pen, which would otherwise pass in silence."""

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass

import services
from services.gateway.transcoder import Options

PREFIX = "MEMORYBOX_"
# Modules that declare settings beside the `settings` of each service.
_OTHERS = ("services.mesh.config",)


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


def warnings(environ: Mapping[str, str], known: Iterable[str] | None = None) -> list[str]:
    """Return a line for every variable of our prefix that nothing reads, with the nearest name that something does."""
    names = sorted(known_variables() if known is None else known)
    lines = []
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in names:
            near = difflib.get_close_matches(variable, names, n=1, cutoff=0.75)
            lines.append(f"{variable} is no setting{f'; is {near[0]} meant?' if near else ''}")
    return lines
