"""The forge port on GitHub: REST 2022-11-28, and GraphQL where REST has no verb."""

from typing import TYPE_CHECKING

from domain import refs
from integrations.forge import port
from integrations.forge.github_api import Api, segment
from integrations.forge.github_branches import Branches
from integrations.forge.github_ci import Ci
from integrations.forge.github_filing import Filing
from integrations.forge.github_issues import Issues
from integrations.forge.github_merge import Merges


class GitHub(Issues, Filing, Branches, Merges, Ci):
    """One GitHub (or a server that speaks its API) with one identity. Close it when done.

    `git_url` is the address below which repositories are cloned, without a final slash.
    """

    def __init__(self, api: Api, *, git_url: str) -> None:
        super().__init__(api)
        self._git_url = git_url.rstrip("/")

    async def aclose(self) -> None:
        await self._api.aclose()

    def clone_url(self, repo: refs.Repository) -> str:
        return f"{self._git_url}/{segment(repo.owner)}/{segment(repo.name)}.git"

    async def push_credentials(self, repo: refs.Repository) -> port.PushCredentials:
        return await self._api.identity.push_credentials(repo)


if TYPE_CHECKING:

    def _conforms(adapter: GitHub) -> port.Forge:
        return adapter
