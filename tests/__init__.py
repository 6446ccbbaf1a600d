"""Pai's tests: `python -m tests` runs every check that CI runs."""
