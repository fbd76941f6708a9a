"""Paths into VARIANT values and the literals of arrays and objects."""
