"""Loads every module of the services, so that a test can speak of all classes there are."""

import importlib
import pkgutil

import services


def load_all() -> None:
    """Import every module below ``services`` but entry points; nothing happens at import, so this is safe."""
    for module in pkgutil.walk_packages(services.__path__, "services."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
