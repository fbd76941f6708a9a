"""Adapters of the port ``Embedder``: one file for each kind of model."""
