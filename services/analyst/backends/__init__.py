"""Adapters of the analyst: the local warehouse, the local analyst, the embedding service, the audit log of the memory service."""
