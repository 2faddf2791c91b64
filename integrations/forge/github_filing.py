"""Issues that we file on GitHub, and what has to be known of a repository before."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from domain import forge, refs
from integrations.forge import github_models as models
from integrations.forge import http, markers
from integrations.forge.github_api import PER_PAGE, Part, at

_CLOCKS_APART: Final = timedelta(hours=1)
"""The forge's clock decides what was updated since a time of ours."""


class Filing(Part):
    """The part of `port.Forge` that files issues."""

    async def label_names(self, repo: refs.Repository) -> list[str]:
        listed = await self._api.pages(repo, at(repo, "labels"), models.Named, to=f"list the labels of {repo}")
        return [label.name for label in listed if label.name]

    async def newest_issues(self, repo: refs.Repository, *, most: int) -> list[forge.Issue]:
        params: dict[str, str | int] = {"state": "all", "sort": "created", "direction": "desc"}
        pages = -(-most // PER_PAGE)
        return await self._list(repo, params, first_pages=pages)

    async def file_issue(
        self, repo: refs.Repository, *, key: str, title: str, body: str, labels: Sequence[str], since: datetime
    ) -> forge.Filed:
        text = markers.marked(key, body)
        if found := await self._filed(repo, key, since):
            return forge.Filed(issue=found, already_made=True)
        content = {"title": title, "body": text, "labels": list(labels)}
        to = f"file the issue '{title}' in {repo}"
        answer = await self._api.write(repo, "POST", at(repo, "issues"), content, to=to)
        return forge.Filed(issue=http.parse(models.Issue, answer.data, to=to).fact(repo))

    async def _filed(self, repo: refs.Repository, key: str, since: datetime) -> forge.Issue | None:
        """Our oldest issue with this key. Anybody can write a marker, so the author decides."""
        earliest = (since - _CLOCKS_APART).astimezone(UTC)
        params: dict[str, str | int] = {"state": "all", "since": earliest.strftime("%Y-%m-%dT%H:%M:%SZ")}
        listed = await self._list(repo, params)
        ours = [i for i in listed if markers.is_marked(key, i.body) and await self._api.is_me(i.author)]
        return min(ours, key=lambda issue: issue.ref.number, default=None)

    async def _list(
        self, repo: refs.Repository, params: dict[str, str | int], first_pages: int | None = None
    ) -> list[forge.Issue]:
        """Pull requests are issues to GitHub, not to us."""
        path, to = at(repo, "issues"), f"list the issues of {repo}"
        listed = await self._api.pages(repo, path, models.Issue, to=to, params=params, first_pages=first_pages)
        unique = {issue.number: issue for issue in listed if issue.pull_request is None}
        return [unique[number].fact(repo) for number in sorted(unique, reverse=True)]
