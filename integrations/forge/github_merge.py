"""Merging on GitHub: one head, once, and found again after a lost answer."""

from domain import errors, forge, policy, refs
from integrations.forge import github_models as models
from integrations.forge import http, http_errors
from integrations.forge.github_api import at
from integrations.forge.github_pulls import Pulls, moved


class Merges(Pulls):
    """The merge half of `port.Forge`."""

    async def merge(
        self, pull: refs.PullRequest, *, head_sha: str, method: policy.MergeMethod, title: str
    ) -> forge.Merge:
        """After `errors.ForgeUnavailable` the outcome is unknown: the same call again finds a merge that was made."""
        if made := await self._made(pull, head_sha):
            return made
        to = f"merge {pull} at {head_sha}"
        body = {"sha": head_sha, "merge_method": method.value}
        if method is not policy.MergeMethod.REBASE:  # a rebase keeps the commits' own titles
            body["commit_title"] = title
        refusals: dict[int, http_errors.Refusal] = {
            405: lambda said: _not_mergeable(to, said),
            409: lambda _: moved(pull, head_sha, "", "merged"),
        }
        try:
            path = f"{self._path(pull)}/merge"
            answer = await self._api.write(pull.repo, "PUT", path, body, to=to, refusals=refusals)
        except (errors.NotMergeable, errors.HeadMoved):
            # An earlier try whose answer was lost may have ended since we looked. The look also names the new head.
            if made := await self._made(pull, head_sha):
                return made
            raise
        return forge.Merge(sha=http.parse(models.MergeAnswer, answer.data, to=to).sha)

    async def _made(self, pull: refs.PullRequest, head_sha: str) -> forge.Merge | None:
        """The merge of `head_sha` if there is one; None when it may be tried.

        Raises:
            errors.HeadMoved, errors.NotMergeable: it may not be tried.
        """
        present = await self._pull(pull)
        if present.head.sha != head_sha:
            raise moved(pull, head_sha, present.head.sha, "merged")
        if present.is_merged:
            return forge.Merge(sha=await self._merge_sha(pull, present), already_made=True)
        if not present.is_open or present.draft:
            state = "a draft" if present.draft and present.is_open else "closed"
            raise errors.NotMergeable(
                f"could not merge {pull} at {head_sha}: a pull request must be open and ready, this one is {state}; "
                "open it and mark it as ready, then merge again"
            )
        return None

    async def _merge_sha(self, pull: refs.PullRequest, merged: models.Pull) -> str:
        """The commit that a merge made. GitHub is dropping the pull request's own field for it, so the issue's event
        log and the base branch are asked as well."""
        if merged.merge_commit_sha:
            return merged.merge_commit_sha
        for event in reversed(await self._events(pull)):
            if event.event == "merged" and event.commit_id:
                return event.commit_id
        commits = await self._api.pages(
            pull.repo,
            at(pull.repo, "commits"),
            models.Commit,
            to=f"look for the merge of {pull} on {merged.base.ref}",
            params={"sha": merged.base.ref},
            first_pages=3,
        )
        for commit in commits:
            if commit.sha == merged.head.sha or merged.head.sha in {parent.sha for parent in commit.parents[1:]}:
                return commit.sha
        raise errors.ForgeUnavailable(
            f"{pull} is merged at {merged.head.sha}, but no commit of {merged.base.ref} says so yet; "
            "the forge may be behind itself: read it again"
        )

    async def _events(self, pull: refs.PullRequest) -> list[models.Event]:
        path = at(pull.repo, "issues", pull.number, "events")
        try:
            return await self._api.pages(
                pull.repo, path, models.Event, to=f"look for the merge of {pull} in its events"
            )
        except errors.NotFound:  # servers that speak the API without its event log
            return []


def _not_mergeable(to: str, said: str) -> errors.NotMergeable:
    return errors.NotMergeable(
        f"could not {to}: the forge does not allow it as things stand ({said}); "
        "resolve the conflict or meet the protection it names, then merge again"
    )
