"""Git: reading trees and history, watching a branch, writing commits, the pre-receive hook.

Nothing here knows manifests or the log. Import from the module that has a name: libgit2 costs more to import than most
commands take, and only some modules need it.
"""
