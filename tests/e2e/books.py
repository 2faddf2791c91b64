"""What is true at the forge after the fact, and what of it may not depend on any fault."""

import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from domain import refs, wire
from tests.e2e import command
from workers import embedded_forge


@dataclass(frozen=True)
class Books:
    """Reads the forge by its API; its git and its list of check runs, which no call shows whole, from its folder."""

    http: httpx.AsyncClient
    admin: str
    folder: Path

    async def get(self, path: str) -> Any:
        answer = await self.http.get(path, headers={"Authorization": f"Bearer {self.admin}"})
        return answer.raise_for_status().json()

    async def effects(self, repo: refs.Repository | None = None) -> list[str]:
        """Every write of ours that the forge carried out, whatever it answered, oldest first."""
        found: list[str] = []
        after = 0
        while rows := await self.get(f"/_devforge/events?after={after}"):
            after = rows[-1]["id"]
            ours = [r for r in rows if r["who"] == embedded_forge.BOT and r["status"] < 400]
            found += [f"{r['method']} {r['path']}" for r in ours if repo is None or f"/{repo}" in r["path"]]
        return found

    async def pulls(self, issue: refs.Issue) -> list[dict[str, Any]]:
        """The pull requests made for an issue."""
        listed = await self.get(f"/repos/{issue.repo}/pulls?state=all&per_page=100")
        return [p for p in listed if refs.issue_of_branch(issue.repo, p["head"]["ref"]) == issue]

    async def comments(self, issue: refs.Issue) -> list[str]:
        """Our comments on the issue."""
        listed = await self.get(f"/repos/{issue.repo}/issues/{issue.number}/comments?per_page=100")
        return [c["body"] for c in listed if c["user"]["login"] == embedded_forge.BOT]

    async def issue(self, issue: refs.Issue) -> dict[str, Any]:
        found: dict[str, Any] = await self.get(f"/repos/{issue.repo}/issues/{issue.number}")
        return found

    async def labels(self, issue: refs.Issue) -> set[str]:
        return {label["name"] for label in (await self.issue(issue))["labels"]}

    async def check_single_effects(self, issue: refs.Issue) -> None:
        """No effect was made twice: holds at any moment of a run, also of one that was killed many times."""
        pulls = await self.pulls(issue)
        assert len(pulls) <= 1, f"{issue} has {len(pulls)} pull requests"
        said = await self.comments(issue)
        assert len(said) <= 1, f"{issue} has {len(said)} comments of ours: {said}"
        for pull in pulls:
            reviews = await self.get(f"/repos/{issue.repo}/pulls/{pull['number']}/reviews")
            heads = Counter(review["commit_id"] for review in reviews)
            assert all(count == 1 for count in heads.values()), f"{issue}: reviews per head {heads}"
            talk = await self.get(f"/repos/{issue.repo}/issues/{pull['number']}/comments")
            assert not talk, f"{issue}: comments on the pull request {[c['body'] for c in talk]}"

    async def check_merged_once(self, issue: refs.Issue) -> None:
        """Exactly one pull request, merged, one review of its head, one status comment, a closed and labelled issue."""
        await self.check_single_effects(issue)
        [pull] = await self.pulls(issue)
        assert pull["merged_at"], f"{issue}: pull request {pull['number']} is {pull['state']}"
        reviews = await self.get(f"/repos/{issue.repo}/pulls/{pull['number']}/reviews")
        assert pull["head"]["sha"] in {review["commit_id"] for review in reviews}
        [comment] = await self.comments(issue)
        assert f"Done (#{pull['number']})" in comment
        seen = await self.issue(issue)
        assert seen["state"] == "closed"
        assert await self.labels(issue) == {wire.LABEL_DONE}
        merges = [c for c in self.first_parents(issue.repo) if c.sha == pull["merge_commit_sha"]]
        assert len(merges) == 1, f"{issue}: its merge is not on main exactly once"

    def check_main_was_tested(self, repo: refs.Repository) -> None:
        """CI had said yes to the tree of every commit of main before it became one, on another commit."""
        line = self.first_parents(repo)
        mainline = {commit.sha for commit in line}
        tested: dict[str, list[str]] = {}
        for sha, completed in self.green(repo):
            if sha not in mainline:
                tested.setdefault(self.git(repo, "rev-parse", f"{sha}^{{tree}}"), []).append(completed)
        for commit in line[:-1]:  # the last one is the import
            moments = tested.get(commit.tree, [])
            assert moments, f"{commit.sha} is on main of {repo}, CI never tested its tree {commit.tree}"

    def first_parents(self, repo: refs.Repository) -> list["Commit"]:
        """The commits of main, newest first."""
        lines = self.git(repo, "log", "--first-parent", "--format=%H %T", "main").splitlines()
        return [Commit(*line.split()) for line in lines]

    def green(self, repo: refs.Repository) -> list[tuple[str, str]]:
        """Commits that a check run found good, with the time."""
        sql = "SELECT head_sha, completed_at FROM check_runs WHERE repo_id = ? AND conclusion = 'success'"
        with closing(self._database()) as database:
            return list(database.execute(sql, (self._id(repo),)))

    def show(self, repo: refs.Repository, path: str, at: str = "main") -> str:
        """The content of a file at a commit."""
        return self.git(repo, "show", f"{at}:{path}")

    def git(self, repo: refs.Repository, *words: str) -> str:
        place = self.folder / "repositories" / f"{self._id(repo)}.git"
        argv, environment = ["git", "--git-dir", str(place), *words], command.git_environment()
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    def _id(self, repo: refs.Repository) -> int:
        sql = "SELECT r.id FROM repositories r JOIN users u ON u.id = r.owner_id WHERE u.login = ? AND r.name = ?"
        with closing(self._database()) as database:
            [(found,)] = database.execute(sql, (repo.owner, repo.name))
            return int(found)

    def _database(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.folder / 'devforge.sqlite'}?mode=ro", uri=True, timeout=20)


@dataclass(frozen=True)
class Commit:
    sha: str
    tree: str


async def snapshot(books: Books, issue: refs.Issue) -> dict[str, Any]:
    """The final state of an issue at the forge, without what differs from one good run to the next."""
    [pull] = await books.pulls(issue)
    seen = await books.issue(issue)
    reviews = await books.get(f"/repos/{issue.repo}/pulls/{pull['number']}/reviews")
    branches = await books.get(f"/repos/{issue.repo}/branches?per_page=100")
    return {
        "issue": (seen["state"], seen["state_reason"], sorted(label["name"] for label in seen["labels"])),
        "assignees": sorted(user["login"] for user in seen["assignees"]),
        "comments": len(await books.comments(issue)),
        "pull": (pull["title"], pull["state"], bool(pull["merged_at"]), pull["draft"], pull["base"]["ref"]),
        "reviews": [review["state"] for review in reviews],
        "branches": sorted(branch["name"] for branch in branches),
        "tree": books.first_parents(issue.repo)[0].tree,
        "commits on main": len(books.first_parents(issue.repo)),
    }
