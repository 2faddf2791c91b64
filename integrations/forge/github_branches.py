"""Branches and commits of GitHub. Writes touch our own branches only."""

import base64
import urllib.parse
from typing import Final

from domain import errors, forge, refs
from integrations.forge import github_models as models
from integrations.forge import http
from integrations.forge.github_api import Part, at

OUR_PREFIX: Final = "fettle/"


class Branches(Part):
    """The branch half of `port.Forge`."""

    async def branch_sha(self, repo: refs.Repository, branch: str) -> str | None:
        path = at(repo, "git", "ref", "heads", *branch.split("/"))
        try:
            ref = await self._api.get(repo, path, models.Ref, to=f"read branch {branch} of {repo}")
        except errors.NotFound:
            # The same answer stands for a repository that we lost access to, and that must not read as "no branch".
            await self._api.get(repo, at(repo), models.Repository, to=f"read repository {repo}")
            return None
        return ref.object.sha

    async def compare(self, repo: refs.Repository, base: str, head: str) -> forge.Comparison:
        """GitHub names at most 300 changed files; the counts are of all commits."""
        path = at(repo, "compare", f"{base}...{head}")
        to = f"compare {head} with {base} in {repo}"
        return (await self._api.get(repo, path, models.Comparison, to=to)).fact()

    async def diff(self, repo: refs.Repository, base: str, head: str) -> str:
        """GitHub refuses a diff of more than about 20,000 lines, and says so; it never shows a part of one."""
        path = at(repo, "compare", f"{base}...{head}")
        return await self._api.text(repo, path, accept=http.DIFF, to=f"read what {head} adds to {base} in {repo}")

    async def read_file(self, repo: refs.Repository, path: str, *, ref: str) -> forge.File | None:
        to = f"read {path} of {repo} at {ref}"
        place = f"{at(repo, 'contents', *path.split('/'))}?{urllib.parse.urlencode({'ref': ref})}"
        try:
            found = await self._api.get(repo, place, models.ContentOrFolder, to=to)
        except errors.NotFound:
            # The same answer stands for a repository that we lost access to, and that must not read as "no file".
            await self._api.get(repo, at(repo), models.Repository, to=f"read repository {repo}")
            return None
        held = found.root
        if isinstance(held, list) or held.type != "file" or held.encoding != "base64":
            kind = "a folder" if isinstance(held, list) else f"a {held.type or 'thing'} of {held.size} bytes"
            raise errors.InvalidRequest(f"could not {to}: it is {kind}, expected a text file below 1 MB; replace it")
        try:
            text = base64.b64decode(held.content).decode("utf-8")
        except ValueError as damage:
            raise errors.InvalidRequest(f"could not {to}: it is not UTF-8; save it as that") from damage
        return forge.File(path=path, blob_sha=held.sha, text=text)

    async def tree_sha(self, repo: refs.Repository, commit_sha: str) -> str:
        path = at(repo, "git", "commits", commit_sha)
        return (await self._api.get(repo, path, models.TreeHolder, to=f"read commit {commit_sha} of {repo}")).tree.sha

    async def put_branch(self, repo: refs.Repository, branch: str, sha: str) -> None:
        only_ours(repo, branch)
        present = await self.branch_sha(repo, branch)
        if present is None and await self._created(repo, branch, sha):
            return
        if present != sha:
            path = at(repo, "git", "refs", "heads", *branch.split("/"))
            to = f"move branch {branch} of {repo} to {sha}"
            await self._api.write(repo, "PATCH", path, {"sha": sha, "force": True}, to=to)

    async def delete_branch(self, repo: refs.Repository, branch: str) -> None:
        only_ours(repo, branch)
        path = at(repo, "git", "refs", "heads", *branch.split("/"))
        try:
            await self._api.write(repo, "DELETE", path, to=f"delete branch {branch} of {repo}")
        except (errors.NotFound, errors.InvalidRequest):  # GitHub answers 422 for a branch that is already gone
            if await self.branch_sha(repo, branch) is not None:
                raise

    async def merge_into(self, repo: refs.Repository, branch: str, head_sha: str, message: str) -> str:
        to = f"merge {head_sha} into branch {branch} of {repo}"
        conflict = f"{head_sha} and branch {branch} of {repo} change the same lines: bring one up to date by hand"
        answer = await self._api.write(
            repo,
            "POST",
            at(repo, "merges"),
            {"base": branch, "head": head_sha, "commit_message": message},
            to=to,
            refusals={409: lambda said: errors.NotMergeable(f"could not {to} ({said}): {conflict}")},
        )
        if answer.status == 201:
            return http.parse(models.Commit, answer.data, to=to).sha
        tip = await self.branch_sha(repo, branch)
        if tip is None:
            raise errors.NotFound(
                f"could not {to}: nothing was to merge and the branch is gone now; make the branch again"
            )
        return tip

    async def _created(self, repo: refs.Repository, branch: str, sha: str) -> bool:
        """False when the branch was made by somebody else since we looked."""
        body = {"ref": f"refs/heads/{branch}", "sha": sha}
        try:
            await self._api.write(repo, "POST", at(repo, "git", "refs"), body, to=f"create branch {branch} of {repo}")
        except errors.InvalidRequest:
            if await self.branch_sha(repo, branch) is None:
                raise
            return False
        return True


def only_ours(repo: refs.Repository, branch: str) -> None:
    """Raises errors.Refused for a branch that we did not make, whoever asks for the write."""
    if not branch.startswith(OUR_PREFIX) or branch.endswith("/") or ".." in branch or "//" in branch:
        raise errors.Refused(
            f"branch '{branch}' of {repo} was not written: Fettle writes branches below {OUR_PREFIX} only; "
            "change other branches through a pull request"
        )
