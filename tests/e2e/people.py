"""What people and administrators do at the embedded forge: repositories, issues, labels, and rash decisions."""

import base64
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from cli import desk
from domain import refs, wire
from tests.e2e import command
from workers import embedded_forge

OWNER: Final = "acme"
CHECK: Final = "tests"
_PERSON: Final = {"user.name": "Ada", "user.email": "ada@example.invalid"}


class People:
    """`http` reaches the forge; `admin` is its administrator's token; `hook` is where the installation listens."""

    def __init__(self, http: httpx.AsyncClient, admin: str, hook: str, secret: str) -> None:
        self._http = http
        self.admin = admin
        self._hook = hook
        self.secret = secret
        self._token = ""

    async def call(self, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
        """One call of the forge's API, as the owner of every repository unless told otherwise."""
        headers = {"Authorization": f"Bearer {token or await self._owner()}"}
        answer = await self._http.request(method, path, json=body, headers=headers)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None

    async def _owner(self) -> str:
        """A token of the owner, who is made when first needed."""
        if not self._token:
            headers = {"Authorization": f"Bearer {self.admin}"}
            made = await self._http.post("/_devforge/users", json={"login": OWNER}, headers=headers)
            self._token = str(made.raise_for_status().json()["token"])
        return self._token

    async def repository(
        self, name: str, folder: Path, files: Mapping[str, str], ci: str, *, hook: bool = True
    ) -> refs.Repository:
        """`acme/<name>` with these files on a protected main, our account let in, and our webhook."""
        repo = refs.Repository(owner=OWNER, name=name)
        checks = {"checks": [{"name": CHECK, "command": ci, "timeout_seconds": 60}]}
        for path, text in {"README.md": f"# {name}\n", **files, ".devforge-ci.json": json.dumps(checks)}.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        await self._owner()
        body = {"owner": OWNER, "name": name, "path": str(folder), "default_branch": "main"}
        await self.call("POST", "/_devforge/import", body, token=self.admin)
        await self.call("PUT", f"/repos/{repo}/collaborators/{embedded_forge.BOT}", {"permission": "push"})
        rules = {"required_status_checks": {"strict": False, "contexts": [CHECK]}, "enforce_admins": True}
        rules |= {"required_pull_request_reviews": None, "restrictions": None}
        await self.call("PUT", f"/repos/{repo}/branches/main/protection", rules)
        if hook:
            config = {"url": self._hook, "content_type": "json", "secret": self.secret}
            await self.call("POST", f"/repos/{repo}/hooks", {"config": config, "events": list(desk.EVENTS)})
        return repo

    async def file(self, repo: refs.Repository, title: str) -> refs.Issue:
        made = await self.call("POST", f"/repos/{repo}/issues", {"title": title, "body": "It **hurts**."})
        return repo.issue(int(made["number"]))

    async def label(self, issue: refs.Issue, name: str = wire.LABEL_TRIGGER) -> None:
        await self.call("POST", f"/repos/{issue.repo}/issues/{issue.number}/labels", {"labels": [name]})

    async def close(self, issue: refs.Issue) -> None:
        await self.call("PATCH", f"/repos/{issue.repo}/issues/{issue.number}", {"state": "closed"})

    async def close_pull(self, pull: refs.PullRequest) -> None:
        await self.call("PATCH", f"/repos/{pull.repo}/pulls/{pull.number}", {"state": "closed"})

    async def merge(self, pull: refs.PullRequest) -> str:
        """Merge as a person does; the sha of the merge."""
        made = await self.call("PUT", f"/repos/{pull.repo}/pulls/{pull.number}/merge", {})
        return str(made["sha"])

    async def push(self, repo: refs.Repository, branch: str, folder: Path, files: Mapping[str, str]) -> str:
        """Clone into `folder`, commit `files` on top of `branch` and push as the owner does; the new head."""
        credentials = base64.b64encode(f"x-access-token:{await self._owner()}".encode()).decode()
        settings = {"http.extraHeader": f"Authorization: Basic {credentials}", "http.proxy": "", **_PERSON}
        pairs = [
            (f"GIT_CONFIG_{kind}_{n}", text)
            for n, pair in enumerate(settings.items())
            for kind, text in zip(("KEY", "VALUE"), pair, strict=True)
        ]
        environment = {
            **command.git_environment(),
            **dict(pairs),
            "GIT_CONFIG_COUNT": str(len(settings)),
        }

        def git(*words: str) -> str:
            done = subprocess.run(
                ["git", *words], env=environment, capture_output=True, text=True, check=True, timeout=30
            )
            return done.stdout.strip()

        git("clone", "-q", "--branch", branch, f"{str(self._http.base_url).rstrip('/')}/{repo}.git", str(folder))
        for path, text in files.items():
            (folder / path).write_text(text)
        git("-C", str(folder), "add", "-A")
        git("-C", str(folder), "commit", "-q", "-m", "A person's touch")
        git("-C", str(folder), "push", "-q", "origin", branch)
        return git("-C", str(folder), "rev-parse", "HEAD")

    async def fault(self, kind: str, **settings: Any) -> None:
        """Arm a fault of the forge."""
        await self.call("POST", "/_devforge/faults", {"kind": kind, **settings}, token=self.admin)

    async def faults(self) -> list[dict[str, Any]]:
        """Every fault that was armed, with how often each was used."""
        found: list[dict[str, Any]] = await self.call("GET", "/_devforge/faults", token=self.admin)
        return found

    async def heal(self) -> list[dict[str, Any]]:
        """Disarm every fault; what they were, with how often each was used."""
        found = await self.faults()
        await self.call("DELETE", "/_devforge/faults", token=self.admin)
        return found
