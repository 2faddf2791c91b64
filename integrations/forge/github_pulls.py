"""Pull requests and reviews of GitHub."""

from collections.abc import Mapping

from domain import errors, forge, refs
from integrations.forge import github_models as models
from integrations.forge import http, markers
from integrations.forge.github_api import Part, at

MARK_READY = """
mutation($pull: ID!) {
  markPullRequestReadyForReview(input: {pullRequestId: $pull}) { pullRequest { isDraft } }
}
"""


class Pulls(Part):
    """The pull request half of `port.Forge`."""

    async def find_pull_request(self, repo: refs.Repository, *, head_branch: str) -> forge.PullRequest | None:
        found = await self._find(repo, head_branch)
        return found.fact(repo) if found else None

    async def pull_request(self, pull: refs.PullRequest) -> forge.PullRequest:
        return (await self._pull(pull)).fact(pull.repo)

    async def open_pull_request(
        self, repo: refs.Repository, *, head_branch: str, base_branch: str, title: str, body: str, draft: bool
    ) -> forge.PullRequest:
        """On a plan without draft pull requests the answer says `draft=False`."""
        wanted = {"title": title, "body": body, "base": base_branch}
        found = await self._find(repo, head_branch)
        if found is None or not found.is_open:
            to = f"open a pull request of {head_branch} into {base_branch} of {repo}"
            try:
                answer = await self._create(repo, {**wanted, "head": head_branch, "draft": draft}, to=to)
                return http.parse(models.Pull, answer.data, to=to).fact(repo)
            except errors.InvalidRequest:
                # It may exist although we did not see it: lists lag behind writes.
                found = await self._find(repo, head_branch)
                if found is None or not found.is_open:
                    raise
        return await self._bring_up_to_date(repo, found, wanted)

    async def mark_ready(self, pull: forge.PullRequest) -> None:
        present = await self._pull(pull.ref)
        if not present.draft or not present.is_open:
            return
        to = f"mark {pull.ref} as ready for review"
        await self._api.graphql(pull.ref.repo, MARK_READY, {"pull": present.node_id}, to=to)

    async def close_pull_request(self, pull: refs.PullRequest) -> None:
        if not (await self._pull(pull)).is_open:
            return
        await self._api.write(pull.repo, "PATCH", self._path(pull), {"state": "closed"}, to=f"close {pull}")

    async def review(
        self, pull: refs.PullRequest, *, key: str, head_sha: str, event: forge.ReviewEvent, body: str
    ) -> None:
        """A verdict on a pull request of our own is posted as a comment: GitHub lets nobody approve their own work.

        Raises:
            errors.HeadMoved: the forge refuses the review, and the head is another commit now.
        """
        path = f"{self._path(pull)}/reviews"
        text = markers.marked(key, body)
        if await self._reviewed(pull, key, head_sha):
            return
        if event is not forge.ReviewEvent.COMMENT:
            present = await self._pull(pull)
            if present.user and await self._api.is_me(present.user.login):
                event = forge.ReviewEvent.COMMENT
        sent = {"commit_id": head_sha, "event": event.value, "body": text}
        try:
            await self._api.write(pull.repo, "POST", path, sent, to=f"review {pull} at {head_sha}")
        except errors.InvalidRequest as refusal:
            found = (await self._pull(pull)).head.sha
            if found == head_sha:
                raise
            raise moved(pull, head_sha, found, "reviewed") from refusal

    async def _pull(self, pull: refs.PullRequest) -> models.Pull:
        # Not conditional: GitHub works `mergeable` out later and the ETag does not tell.
        return await self._api.get(
            pull.repo, self._path(pull), models.Pull, to=f"read pull request {pull}", conditional=False
        )

    async def _find(self, repo: refs.Repository, head_branch: str) -> models.Pull | None:
        params = {"head": f"{repo.owner}:{head_branch}", "state": "all", "sort": "created", "direction": "desc"}
        to = f"look for the pull request of {head_branch} in {repo}"
        listed = await self._api.pages(repo, at(repo, "pulls"), models.Pull, to=to, params=params)
        ours = [pull for pull in listed if pull.head.ref == head_branch and not pull.from_fork]
        best = max(ours, key=lambda pull: (pull.is_open, pull.number), default=None)
        return await self._pull(repo.pull(best.number)) if best else None

    async def _create(self, repo: refs.Repository, body: Mapping[str, object], *, to: str) -> http.Answer:
        refusals = {422: lambda said: _refused(to, said)}
        try:
            return await self._api.write(repo, "POST", at(repo, "pulls"), body, to=to, refusals=refusals)
        except _NoDrafts:
            return await self._api.write(repo, "POST", at(repo, "pulls"), {**body, "draft": False}, to=to)

    async def _bring_up_to_date(
        self, repo: refs.Repository, found: models.Pull, wanted: Mapping[str, str]
    ) -> forge.PullRequest:
        present = {"title": found.title, "body": found.body, "base": found.base.ref}
        changes = {name: text for name, text in wanted.items() if not markers.same_text(present[name], text)}
        if not changes:
            return found.fact(repo)
        pull = repo.pull(found.number)
        to = f"change {' and '.join(changes)} of pull request {pull}"
        answer = await self._api.write(repo, "PATCH", self._path(pull), changes, to=to)
        return http.parse(models.Pull, answer.data, to=to).fact(repo)

    async def _reviewed(self, pull: refs.PullRequest, key: str, head_sha: str) -> bool:
        path = f"{self._path(pull)}/reviews"
        listed = await self._api.pages(pull.repo, path, models.Comment, to=f"list the reviews of {pull}")
        found = [r for r in listed if r.commit_id == head_sha and markers.is_marked(key, r.body)]
        return any([await self._api.is_me(review.author) for review in found])

    def _path(self, pull: refs.PullRequest) -> str:
        return at(pull.repo, "pulls", pull.number)


class _NoDrafts(errors.InvalidRequest):
    """The repository's plan has no draft pull requests. Never leaves this module."""


def _refused(to: str, said: str) -> errors.InvalidRequest:
    kind = _NoDrafts if "draft pull requests are not supported" in said.lower() else errors.InvalidRequest
    return kind(f"could not {to}: the forge understood and refuses ({said}); change what it names, then try again")


def moved(pull: refs.PullRequest, expected: str, found: str, done: str) -> errors.HeadMoved:
    return errors.HeadMoved(
        f"{pull} was to be {done} at {expected}, its head is now {found or 'another commit'}: "
        "look at the new head, then decide again",
        expected_sha=expected,
        found_sha=found,
    )
