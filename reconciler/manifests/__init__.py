"""Manifests: bytes to objects with places, the schema, the rules of a whole revision, and writing back.

Import from the module that has a name: YAML, JSON Schema and gitignore machinery are dear to import, and most commands
need none of it. It does no I/O of its own except for reading the schema files that belong to the package.
"""
