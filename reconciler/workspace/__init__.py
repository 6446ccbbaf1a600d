"""The workspace: the folder that holds settings, log and secrets, how it is found and how it is made.

`settings` says what can be set and checks it, `variables` what looks like a setting and is none, `paths` where
everything lies and makes it, `ownership` whose it is. None opens the log, the repository or a secret.
"""

from reconciler.workspace.ownership import require_owner
from reconciler.workspace.paths import Workspace, hide_from_git
from reconciler.workspace.settings import OF_THE_HOOK
from reconciler.workspace.values import Address

__all__ = ["OF_THE_HOOK", "Address", "Workspace", "hide_from_git", "require_owner"]
