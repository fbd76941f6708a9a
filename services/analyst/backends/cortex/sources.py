"""Where Cortex Analyst finds the semantic model of a question; each source is a field of its request."""

from collections.abc import Callable
from typing import TypeAlias

from services.analyst.domain.ports import LoadedModel

Source: TypeAlias = Callable[[LoadedModel], dict[str, str]]


def inline(model: LoadedModel) -> dict[str, str]:
    """Send the model itself."""
    return {"semantic_model": model.kept.yaml}


def staged(stage: str) -> Source:
    """Return the source of models that lie in *stage*, such as ``@db.schema.stage/folder``, as ``<name>.yaml``."""
    return lambda model: {"semantic_model_file": f"{stage.rstrip('/')}/{model.kept.name}.yaml"}


def view(schema: str) -> Source:
    """Return the source of models that are semantic views of *schema*, such as ``DB.SCHEMA``, under their names in upper case."""

    def find(model: LoadedModel) -> dict[str, str]:
        quoted = model.kept.name.upper().replace('"', '""')
        return {"semantic_view": f'{schema}."{quoted}"'}

    return find


def source_of(place: str) -> Source:
    """Return the source that *place* says: ``inline``, a stage (with its ``@``) or a schema."""
    if place == "inline":
        return inline
    return staged(place) if place.startswith("@") else view(place)
