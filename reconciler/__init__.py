"""Pai: LLM bindings and budgets as YAML in git, every change on one append-only log."""

__version__ = "0.1.0"
