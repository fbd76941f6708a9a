"""Adapters that keep what the analyst knows."""
