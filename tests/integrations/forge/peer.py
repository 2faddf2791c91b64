"""The development forge as a process of its own, spoken to as an operator and as a person with git would."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from domain import refs

OWNER_TOKEN = "ghp_" + "o" * 36
BOT_TOKEN = "ghp_" + "b" * 36
BOT = "fettle-bot"


class Peer:
    """A running forge. `admin` speaks its admin API, `owner` the GitHub API as the owner of every repository."""

    def __init__(self, state: Path) -> None:
        environment = {**os.environ, "DEVFORGE_ADMIN_TOKEN": "dfa_test", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "devforge", "--state", str(state), "--port", "0"],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert self._process.stdout is not None
        self.url = str(json.loads(self._process.stdout.readline())["url"])
        self.admin = httpx.Client(base_url=self.url, headers={"Authorization": "Bearer dfa_test"}, trust_env=False)
        self.owner = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {OWNER_TOKEN}"}, trust_env=False
        )
        self.post("/_devforge/users", login="acme", token=OWNER_TOKEN)
        self.post("/_devforge/users", login=BOT, token=BOT_TOKEN)
        self.post("/_devforge/users", login="ada")

    def stop(self) -> None:
        self.admin.close()
        self.owner.close()
        self._process.terminate()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def post(self, path: str, /, **body: Any) -> Any:
        return self.admin.post(path, json=body).raise_for_status().json()

    def fault(self, kind: str, /, **settings: Any) -> None:
        self.post("/_devforge/faults", kind=kind, **settings)

    def writes(self) -> list[str]:
        """Every mutating request so far that the forge carried out, whatever it answered."""
        listed = self.admin.get("/_devforge/events").raise_for_status().json()
        return [f"{row['method']} {row['path']}" for row in listed if row["status"] < 400]

    def repository(self, name: str, folder: Path, files: Mapping[str, str]) -> "Work":
        """A repository `acme/<name>` with one commit on main, and a clone of it in `folder`."""
        work = Work(refs.Repository(owner="acme", name=name), folder, f"{self.url}/acme/{name}.git")
        folder.mkdir(parents=True)
        work.git("init", "-q", "-b", "main")
        work.commit("Begin", files)
        self.post("/_devforge/import", owner="acme", name=name, path=str(folder), default_branch="main")
        self.owner.put(f"/repos/acme/{name}/collaborators/{BOT}", json={"permission": "push"}).raise_for_status()
        return work

    def issue(self, repo: refs.Repository, title: str, labels: list[str]) -> refs.Issue:
        body = {"title": title, "body": "It **hurts**.", "labels": labels}
        made = self.owner.post(f"/repos/{repo}/issues", json=body).raise_for_status().json()
        return repo.issue(made["number"])

    def require(self, repo: refs.Repository, branch: str = "main", **checks: Any) -> None:
        body = {
            "required_status_checks": {"strict": False, **checks},
            "enforce_admins": True,
            "required_pull_request_reviews": None,
            "restrictions": None,
        }
        self.owner.put(f"/repos/{repo}/branches/{branch}/protection", json=body).raise_for_status()


@dataclass(frozen=True)
class Work:
    """A clone in which a person works."""

    repo: refs.Repository
    folder: Path
    url: str

    def git(self, *arguments: str, token: str = OWNER_TOKEN) -> str:
        basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        identity = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _PERSON.items()}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},  # a hook sets some
            **identity,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
            "GIT_CONFIG_KEY_1": "http.proxy",
            "GIT_CONFIG_VALUE_1": "",
        }
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str, files: Mapping[str, str]) -> str:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def push(self, branch: str, files: Mapping[str, str], *, start: str = "main", token: str = OWNER_TOKEN) -> str:
        """One commit on `branch`, which begins at `start` when it is new; the sha that the forge has now."""
        known = self.git("branch", "--list", branch)
        self.git("checkout", "-q", *([branch] if known else ["-b", branch, start]))
        sha = self.commit(f"Change {', '.join(files)}", files)
        self.git("push", "-q", self.url, f"HEAD:refs/heads/{branch}", token=token)
        return sha

    def pull(self, branch: str = "main") -> str:
        """The tip of a branch on the forge, fetched."""
        self.git("fetch", "-q", self.url, f"+refs/heads/{branch}:refs/forge/{branch}")
        return self.git("rev-parse", f"refs/forge/{branch}")


_PERSON = {"NAME": "Ada", "EMAIL": "ada@example.invalid"}
