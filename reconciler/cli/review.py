"""Post what a pull request would change as one comment, updated in place, and set the commit's status.

In CI of GitHub, GitLab, Gitea or Forgejo everything is known but the token, which is taken from PAI_FORGE_TOKEN (or
GITHUB_TOKEN, GITLAB_TOKEN, GITEA_TOKEN), never from the command line. The review goes to stdout as well.

Exit 0: the change is good; if it could not be posted, a warning says so, and with --require-post it is exit 3. Exit 1:
it would be refused, posted or not. 2: wrong usage. 3: it could not be judged.
"""

from __future__ import annotations

import argparse
import contextlib
import os

from reconciler.cli.diff import fork, located, path_option, refusal, reviewed, show
from reconciler.cli.output import note, print_error
from reconciler.cli.progress import Progress
from reconciler.cli.terms import count
from reconciler.core.errors import UsageError
from reconciler.forges.api import ForgeUnavailable, check_url
from reconciler.forges.environment import Surroundings, surroundings
from reconciler.forges.hosts import KINDS, CommitStatus, forge
from reconciler.forges.publishing import CONTEXT, publish_comment
from reconciler.review.findings import Review
from reconciler.source.git import Repository


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pai review`."""
    parser.add_argument("base", nargs="?", metavar="BASE", help="the target branch (default: what CI says)")
    parser.add_argument("head", nargs="?", default="HEAD", metavar="HEAD", help="what is proposed (default: HEAD)")
    parser.add_argument("--forge", choices=KINDS, help="the kind of API (default: what CI says)")
    parser.add_argument("--api-url", metavar="URL", help="such as https://api.github.com, https://HOST/api/v4")
    parser.add_argument("--repo", metavar="REPO", help="OWNER/NAME, or GitLab's path or number of the project")
    parser.add_argument("--pull-request", type=count, metavar="N", help="without one, only the status is set")
    parser.add_argument("--commit", metavar="SHA", help="the commit to mark (default: the pull request's)")
    parser.add_argument("--context", default=CONTEXT, metavar="NAME", help=f"of status and comment ({CONTEXT})")
    parser.add_argument("--user", default="", metavar="LOGIN", help="the token's user, if the forge does not tell")
    parser.add_argument("--require-post", action="store_true", help="exit 3 if the review cannot be posted")
    path_option(parser)


def run(args: argparse.Namespace) -> int:
    """Judge, print, post; the verdict decides the exit code, whatever the forge does."""
    place = _place(args)
    with Progress("comparing"):
        found, commit = _review(args, place)
    show(found, "text")
    if found.refused:
        print_error(refusal(found))
    posted = _post(args, place._replace(commit=place.commit or commit), found)
    if found.refused:
        return 1
    return 3 if args.require_post and not posted else 0


def _place(args: argparse.Namespace) -> Surroundings:
    """Say where the review goes: put flags and environment together. Raises UsageError for what neither says."""
    known = surroundings(os.environ)
    place = known._replace(
        kind=args.forge or known.kind,
        url=args.api_url or known.url,
        repository=args.repo or known.repository,
        number=known.number if args.pull_request is None else args.pull_request,
        base=args.base or known.base,
        commit=args.commit or known.commit,
    )
    missing = [
        flag
        for flag, value in (
            ("--forge", place.kind),
            ("--api-url", place.url),
            ("--repo", place.repository),
            ("BASE", place.base),
        )
        if not value
    ]
    if missing:
        raise UsageError(
            f"nothing says what {', '.join(missing)} should be", "run it in a pull request's CI, or say so"
        )
    check_url(place.url)
    if not all(c.isalnum() or c in "/._-" for c in args.context):
        raise UsageError("--context may hold letters, digits and / . _ -", f"such as {CONTEXT}")
    return place


def _review(args: argparse.Namespace, place: Surroundings) -> tuple[Review, str]:
    """Compare what the pull request would make of its target with what is there; also give the head's commit."""
    repository, path, base, head = located(args, place.base, args.head)
    base = _target_of_merge(repository, head, place.commit) or fork(repository, base, head)
    return reviewed(args, repository, path, base, head), head


def _target_of_merge(repository: Repository, head: str, commit: str) -> str:
    """Give the target's commit if `head` is the merge that a forge made of it and the pull request's `commit`."""
    parents = repository.commit(head).parents
    return parents[0] if len(parents) == 2 and parents[1] == commit else ""


def _post(args: argparse.Namespace, place: Surroundings, found: Review) -> bool:
    """Post, and tell whether all of it could be; what could not is said on stderr."""
    from reconciler.review.markdown import markdown

    if not place.token:
        note("warning: there is no token in PAI_FORGE_TOKEN, so the review is not posted")
        return False
    try:
        host = forge(place.kind, place.url, place.repository, place.token)
    except UsageError as error:
        note(f"warning: the review is not posted: {error.message}\nhint: {error.hint}")
        return False
    posted = True
    with contextlib.closing(host.api):
        if place.number:
            text = "\n".join(markdown(found)) + "\n"
            try:
                new = publish_comment(host, place.number, args.context, text, args.user)
                note(f"the comment on {place.number} is {'written' if new else 'up to date'}")
            except ForgeUnavailable as error:
                posted = _told("the comment is not posted", error)
        try:
            host.set_status(place.commit, status(found, args.context))
        except ForgeUnavailable as error:
            posted = _told("the commit's status is not set", error)
    return posted


def _told(what: str, error: ForgeUnavailable) -> bool:
    note(f"warning: {what}: {error.message}")
    note(f"hint: {error.hint}")
    return False


def status(found: Review, context: str) -> CommitStatus:
    """Say in a few words what a commit's page should show."""
    from reconciler.review.text import summary

    if not found.refused:
        return CommitStatus(context, "success", summary(found))
    first = next(problem for problem in found.problems if problem.severity == "error")
    return CommitStatus(
        context, "failure", f"would be refused: {first.path}:{first.line}:{first.column} {first.message}"
    )
