"""Secrets: the encrypted store in the workspace, and the folders and variables that other tools fill.

`secret_value` has the type that cannot be printed, `store` keeps values encrypted at rest, `backends` finds the value
that a binding's apiKeySecretRef names, `reader` does that for an event loop. The log says which stored version is in
force, and the caller passes that in; nothing here reads the log.
"""
