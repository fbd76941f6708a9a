"""The command `memorybox`: runs the mesh, and talks to it as any client would. Holds no rule of its own about memories."""

from services.cli.entry import main

__all__ = ["main"]
