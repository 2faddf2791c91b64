"""What a person and an administrator do at the embedded forge before a run: over HTTP, as at any forge."""

from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from cli import failures
from domain import refs, wire

_SECONDS: Final = 60.0
EVENTS: Final = (
    "issues",
    "issue_comment",
    "pull_request",
    "pull_request_review",
    "check_run",
    "check_suite",
    "status",
    "push",
)
"""What wakes a run; everything else would only be stored and dropped."""


class ForgeRefused(failures.Failed):
    """The embedded forge did not do what was asked."""


class Desk:
    """The administrator's desk. `token` belongs to the administrator; people come with their own."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=_SECONDS, trust_env=False)
        self._token = token

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def person(self, login: str) -> str:
        """A token of `login`, who is made if need be."""
        made = await self._post("/_devforge/users", {"login": login}, f"make the account {login}")
        return str(made["token"])

    async def has(self, repo: refs.Repository) -> bool:
        """Whether the repository exists."""
        answer = await self._http.get(f"/repos/{repo}", headers=self._headers(self._token))
        if answer.status_code not in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
            raise _refused(answer, f"look for {repo}")
        return answer.status_code == httpx.codes.OK

    async def take_in(self, repo: refs.Repository, source: Path, branch: str) -> None:
        """Copy a repository of this machine, which is only read."""
        body = {"owner": repo.owner, "name": repo.name, "path": str(source), "default_branch": branch}
        await self._post("/_devforge/import", body, f"copy {source} into {repo}")

    async def let_in(self, repo: refs.Repository, login: str, permission: str = "push") -> None:
        """Give an account access; also when it has it already."""
        answer = await self._http.put(
            f"/repos/{repo}/collaborators/{login}",
            json={"permission": permission},
            headers=self._headers(self._token),
        )
        if answer.is_error:
            raise _refused(answer, f"let {login} into {repo}")

    async def call_back(self, repo: refs.Repository, url: str, secret: str) -> None:
        """Register the webhook that wakes runs, once."""
        path = f"/repos/{repo}/hooks"
        answer = await self._http.get(path, headers=self._headers(self._token))
        if answer.is_error:
            raise _refused(answer, f"read the webhooks of {repo}")
        if any(hook["config"].get("url") == url for hook in answer.json()):
            return
        config = {"url": url, "content_type": "json", "secret": secret}
        await self._post(path, {"config": config, "events": list(EVENTS)}, f"register the webhook of {repo}")

    async def file_issue(self, repo: refs.Repository, token: str, title: str, body: str) -> tuple[refs.Issue, str]:
        """File an issue that asks for a run, as the person whose token it is; the issue and its page."""
        content = {"title": title, "body": body, "labels": [wire.LABEL_TRIGGER]}
        made = await self._post(f"/repos/{repo}/issues", content, f"file an issue in {repo}", token=token)
        return repo.issue(int(made["number"])), str(made["html_url"])

    async def _post(self, path: str, body: dict[str, Any], doing: str, *, token: str = "") -> dict[str, Any]:
        answer = await self._http.post(path, json=body, headers=self._headers(token or self._token))
        if answer.is_error:
            raise _refused(answer, doing)
        found: dict[str, Any] = answer.json()
        return found

    def _headers(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}


def _refused(answer: httpx.Response, doing: str) -> ForgeRefused:
    try:
        said = answer.json()
        words = "; ".join([said["message"], *(e["message"] for e in said.get("errors", []) if "message" in e)])
    except (ValueError, KeyError, TypeError):
        words = answer.text[:200]
    return ForgeRefused(
        f"the forge refused to {doing} ({answer.status_code}, {words}): see devforge.log in the state directory's logs"
    )
