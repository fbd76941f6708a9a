"""Path templates as OpenAPI writes them: each wildcard is a parameter of its own, a verb is text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from services.gateway.transcoder.template import Segment, Template, Variable, Wildcard

Resources = Mapping[str, tuple[str, ...]]
"""Resource name pattern with ``*`` for its variables, to the names of these variables."""

_LITERAL_CHARS = "-._~!$&'()+,;@"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_VARIABLE = re.compile(r"\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class PathParameter:
    """One wildcard. ``field`` is the variable that it is part of, empty for a wildcard outside of all variables.

    ``whole`` says that the wildcard is all of the variable, so that it has the field's own type.
    """

    name: str
    field: str
    many: bool
    whole: bool


@dataclass(frozen=True, slots=True)
class OpenPath:
    """A path of the document; ``shape`` is equal for paths that OpenAPI takes for the same."""

    shape: str
    parameters: tuple[PathParameter, ...]

    def text(self, names: tuple[str, ...]) -> str:
        """Return the path with its wildcards called *names*."""
        parts = self.shape.split("{}")
        return parts[0] + "".join(f"{{{name}}}{part}" for name, part in zip(names, parts[1:], strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)


def resource_skeleton(pattern: str) -> tuple[str, tuple[str, ...]]:
    """Return *pattern* of google.api.resource with ``*`` for each variable, and the variables' names."""
    return _VARIABLE.sub("*", pattern), tuple(match.partition("=")[0] for match in _VARIABLE.findall(pattern))


def open_path(template: Template, resources: Resources) -> OpenPath:
    """Return *template* as a path of the document, with names for its wildcards that are unique in it."""
    owners = {at: variable for variable in template.variables for at in range(variable.start, variable.end)}
    texts: list[str] = []
    parameters: list[PathParameter] = []
    for at, segment in enumerate(template.segments):
        if not isinstance(segment, Wildcard):
            texts.append(quote(segment, safe=_LITERAL_CHARS, errors="surrogateescape"))
            continue
        owner = owners.get(at)
        name = _unique(_name(template, at, owner, resources), parameters)
        whole = owner is not None and owner.end - owner.start == 1
        parameters.append(PathParameter(name, owner.path if owner else "", segment is Wildcard.MANY, whole))
        texts.append("{}")
    verb = ":" + quote(template.verb, safe=_LITERAL_CHARS, errors="surrogateescape") if template.verb else ""
    return OpenPath("/" + "/".join(texts) + verb, tuple(parameters))


def specificity(template: Template) -> tuple[int, ...]:
    """Sort key: of templates of one shape the most specific comes first."""
    return tuple(int(segment) if isinstance(segment, Wildcard) else 0 for segment in template.segments)


def _name(template: Template, at: int, owner: Variable | None, resources: Resources) -> str:
    if owner is None:
        return _singular(template.segments, at) or "segment"
    if owner.end - owner.start == 1:
        return owner.path
    inside = template.segments[owner.start : owner.end]
    wildcards = [index for index, segment in enumerate(inside) if isinstance(segment, Wildcard)]
    known = resources.get("/".join(_plain(segment) for segment in inside), ())
    if len(known) == len(wildcards):
        return _safe(known[wildcards.index(at - owner.start)]) or owner.path
    before = _singular(template.segments, at) if at > owner.start else ""
    return before or owner.path


def _plain(segment: Segment) -> str:
    return ("*", "**")[segment - 1] if isinstance(segment, Wildcard) else segment


def _singular(segments: tuple[Segment, ...], at: int) -> str:
    """Return a name for one thing of the literal before *at*, ``""`` without such a literal."""
    before = segments[at - 1] if at else Wildcard.ONE
    if isinstance(before, Wildcard):
        return ""
    name = _safe(before)
    if name.endswith("ies") and len(name) > len("ties"):
        return name[:-3] + "y"
    if name.endswith(("sses", "xes", "ches", "shes")):
        return name[:-2]
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text).strip("_")


def _unique(name: str, parameters: list[PathParameter]) -> str:
    taken = {parameter.name for parameter in parameters}
    number = 2
    free = name
    while free in taken:
        free = f"{name}_{number}"
        number += 1
    return free
