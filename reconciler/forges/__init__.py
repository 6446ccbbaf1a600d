"""Code hosts as Pai needs them: one comment on a pull request, and the status of a commit.

`api` speaks HTTP with patience and without redirects, `hosts` knows the three kinds of API, `publishing` keeps one
comment up to date, `environment` reads what CI systems say about themselves. Tokens come in as arguments and go into
one header, nowhere else.
"""

from reconciler.forges.api import ForgeApi, ForgeUnavailable, check_url
from reconciler.forges.environment import Surroundings, surroundings
from reconciler.forges.hosts import KINDS, CommitStatus, Forge, State, forge
from reconciler.forges.publishing import CONTEXT, publish_comment

__all__ = [
    "CONTEXT",
    "KINDS",
    "CommitStatus",
    "Forge",
    "ForgeApi",
    "ForgeUnavailable",
    "State",
    "Surroundings",
    "check_url",
    "forge",
    "publish_comment",
    "surroundings",
]
