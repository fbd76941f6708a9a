"""Cortex over REST: embeddings by the local model, completions and analyst answers by script."""
