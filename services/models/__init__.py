"""Runs the sentence model that ships in packages. Knows no service: any process may load it.

The model is all-MiniLM-L6-v2 (Apache-2.0): 384 numbers a text, English, no prefix. Nothing is downloaded and nothing is
written to disk.
"""
