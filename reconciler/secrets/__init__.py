"""Secrets: the encrypted store in the workspace, and the folders and variables that other tools fill.

`value` is the type that cannot be printed, `store` keeps values encrypted at rest, `backends` finds the value that a
binding's apiKeySecretRef names, `reader` does that for an event loop. Which stored version is in force is the log's
word, given by the caller; nothing here reads the log.
"""

from reconciler.secrets.backends import Backends, OfBindings
from reconciler.secrets.reader import SecretReader, Secrets
from reconciler.secrets.secret_value import SecretValue, header_text, unfit
from reconciler.secrets.store import SecretStore

__all__ = [
    "Backends",
    "OfBindings",
    "SecretReader",
    "SecretStore",
    "SecretValue",
    "Secrets",
    "header_text",
    "unfit",
]
