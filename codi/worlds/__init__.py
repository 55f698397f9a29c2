"""Procedural worlds with known factors and known event times."""
