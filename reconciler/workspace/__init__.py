"""The workspace: the folder that holds settings, log and secrets, how it is found and how it is made.

`settings` says what can be set and checks it, `paths` says where everything lies and makes it. Neither opens the log,
the repository or a secret.
"""

from reconciler.workspace.paths import CONFIG_NAME, Workspace, require_folder_name
from reconciler.workspace.settings import (
    OF_THE_HOOK,
    SETTINGS,
    Address,
    Setting,
    Settings,
    display,
    is_remote,
    read_settings,
)

__all__ = [
    "CONFIG_NAME",
    "OF_THE_HOOK",
    "SETTINGS",
    "Address",
    "Setting",
    "Settings",
    "Workspace",
    "display",
    "is_remote",
    "read_settings",
    "require_folder_name",
]
