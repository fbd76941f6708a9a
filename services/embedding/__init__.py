"""Turns texts into vectors, and says in which space they live.

Calls the model that its settings choose and nothing else. Keeps nothing on disk: the cache lives and dies with the process.
Never stores, logs or traces a text or a vector.
"""
