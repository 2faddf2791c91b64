"""Repositories, issues, labels and comments of GitHub."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime

from domain import errors, forge, refs
from integrations.forge import github_models as models
from integrations.forge import http, markers, port
from integrations.forge.github_api import Part, at


class Issues(Part):
    """The issue half of `port.Forge`."""

    async def whoami(self) -> str:
        return await self._api.login()

    async def repository(self, repo: refs.Repository) -> forge.RepositoryFacts:
        found = await self._api.get(repo, at(repo), models.Repository, to=f"read repository {repo}")
        return found.facts(repo, can_push=self._api.identity.grants_push)

    async def issue(self, issue: refs.Issue) -> forge.Issue:
        return (await self._issue(issue)).fact(issue.repo)

    async def open_issues(
        self, repo: refs.Repository, *, label: str, since: datetime | None = None
    ) -> list[forge.Issue]:
        params: dict[str, str | int] = {"state": "open", "labels": label, "sort": "created", "direction": "asc"}
        if since is not None:
            params["since"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        to = f"list open issues of {repo} labelled {label}"
        listed = await self._api.pages(repo, at(repo, "issues"), models.Issue, to=to, params=params)
        # An issue that moves while the pages are read may stand on two of them.
        unique = {issue.number: issue for issue in listed if issue.pull_request is None}
        return [unique[number].fact(repo) for number in sorted(unique)]

    async def permission(self, repo: refs.Repository, login: str) -> forge.Permission:
        path = at(repo, "collaborators", login, "permission")
        try:
            held = await self._api.get(repo, path, models.Permission, to=f"read what {login} may do in {repo}")
        except errors.NotFound:
            return forge.Permission.NONE
        return held.fact()

    async def ensure_labels(self, repo: refs.Repository, labels: Sequence[port.Label]) -> None:
        present = await self._label_names(repo)
        for label in labels:
            if label.name.casefold() in present:
                continue
            body = {"name": label.name, "color": label.color, "description": label.description}
            try:
                await self._api.write(repo, "POST", at(repo, "labels"), body, to=f"create label {label.name} in {repo}")
            except errors.InvalidRequest:
                # Somebody made it between our look and our write, or the forge refuses the label itself.
                if label.name.casefold() not in await self._label_names(repo):
                    raise

    async def swap_labels(self, issue: refs.Issue, *, add: Sequence[str], remove: Sequence[str]) -> None:
        path = at(issue.repo, "issues", issue.number, "labels")
        held = await self._api.pages(issue.repo, path, models.Named, to=f"list the labels of {issue}")
        present = {label.name.casefold(): label.name for label in held}
        wanted = {name.casefold() for name in add}
        if missing := [name for name in add if name.casefold() not in present]:
            to = f"label {issue} with {', '.join(missing)}"
            await self._api.write(issue.repo, "POST", path, {"labels": missing}, to=to)
        for name in remove:
            if name.casefold() in present and name.casefold() not in wanted:
                await self._unlabel(issue, present[name.casefold()])

    async def assign(self, issue: refs.Issue, login: str) -> None:
        with contextlib.suppress(errors.NotFound, errors.AccessDenied, errors.InvalidRequest):
            held = await self._issue(issue)
            if login.casefold() in {user.login.casefold() for user in held.assignees or ()}:
                return
            path = at(issue.repo, "issues", issue.number, "assignees")
            await self._api.write(issue.repo, "POST", path, {"assignees": [login]}, to=f"assign {issue} to {login}")

    async def close_issue(self, issue: refs.Issue, *, completed: bool) -> None:
        if (await self._issue(issue)).state != "open":
            return
        body = {"state": "closed", "state_reason": "completed" if completed else "not_planned"}
        await self._api.write(issue.repo, "PATCH", at(issue.repo, "issues", issue.number), body, to=f"close {issue}")

    async def say(self, issue: refs.Issue, *, key: str, body: str) -> forge.Comment:
        text = markers.marked(key, body)
        found = await self._comment(issue, key)
        if found is None:
            path = at(issue.repo, "issues", issue.number, "comments")
            answer = await self._api.write(issue.repo, "POST", path, {"body": text}, to=f"comment on {issue}")
            return self._posted(answer.data, issue)
        if markers.same_text(found.body, text):
            return found.fact()
        path = at(issue.repo, "issues", "comments", found.id)
        answer = await self._api.write(issue.repo, "PATCH", path, {"body": text}, to=f"edit our comment on {issue}")
        return self._posted(answer.data, issue)

    async def _issue(self, issue: refs.Issue) -> models.Issue:
        path = at(issue.repo, "issues", issue.number)
        return await self._api.get(issue.repo, path, models.Issue, to=f"read {issue}")

    async def _label_names(self, repo: refs.Repository) -> set[str]:
        listed = await self._api.pages(repo, at(repo, "labels"), models.Named, to=f"list the labels of {repo}")
        return {label.name.casefold() for label in listed}

    async def _unlabel(self, issue: refs.Issue, name: str) -> None:
        path = at(issue.repo, "issues", issue.number, "labels", name)
        with contextlib.suppress(errors.NotFound):  # gone since we looked: what was wanted
            await self._api.write(issue.repo, "DELETE", path, to=f"take label {name} from {issue}")

    async def _comment(self, issue: refs.Issue, key: str) -> models.Comment | None:
        """Our oldest comment with this key. Anybody can write a marker, so the author decides."""
        path = at(issue.repo, "issues", issue.number, "comments")
        listed = await self._api.pages(issue.repo, path, models.Comment, to=f"list the comments of {issue}")
        ours = [c for c in listed if markers.is_marked(key, c.body) and await self._api.is_me(c.author)]
        return min(ours, key=lambda comment: comment.id, default=None)

    def _posted(self, data: object, issue: refs.Issue) -> forge.Comment:
        return http.parse(models.Comment, data, to=f"comment on {issue}").fact()
