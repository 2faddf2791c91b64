"""Checks of GitHub: what ran on a commit, and what a branch asks for."""

from domain import errors, forge, refs
from integrations.forge import github_models as models
from integrations.forge.github_api import Part, at


class Ci(Part):
    """The CI half of `port.Forge`."""

    async def checks(self, repo: refs.Repository, sha: str) -> list[forge.Check]:
        """Checks of one name by different apps stay apart: a required check is met by its own app only."""
        commit = at(repo, "commits", sha)
        runs = await self._api.pages(
            repo,
            f"{commit}/check-runs",
            models.CheckRun,
            to=f"list the check runs of {sha} in {repo}",
            params={"filter": "latest"},
            under="check_runs",
        )
        statuses = await self._api.pages(
            repo, f"{commit}/status", models.Status, to=f"list the statuses of {sha} in {repo}", under="statuses"
        )
        newest = {(fact.name, fact.app_id): fact for fact in (run.fact() for run in sorted(runs, key=lambda r: r.id))}
        contexts = {status.context: status.fact() for status in reversed(statuses)}  # newest first on the wire
        return sorted([*newest.values(), *contexts.values()], key=lambda check: (check.name, check.app_id or 0))

    async def required_checks(self, repo: refs.Repository, branch: str) -> list[forge.RequiredCheck]:
        asked = [*await self._by_rulesets(repo, branch), *await self._by_protection(repo, branch)]
        return sorted(set(asked), key=lambda check: (check.name, check.app_id or 0))

    async def _by_rulesets(self, repo: refs.Repository, branch: str) -> list[forge.RequiredCheck]:
        path = at(repo, "rules", "branches", branch)
        try:
            rules = await self._api.pages(repo, path, models.Rule, to=f"list the rules of {branch} in {repo}")
        except (errors.NotFound, errors.AccessDenied):
            return []
        return [check for rule in rules for check in rule.required()]

    async def _by_protection(self, repo: refs.Repository, branch: str) -> list[forge.RequiredCheck]:
        """Classic protection. Its own page is for administrators; the branch shows the same checks to readers."""
        to = f"read the protection of {branch} in {repo}"
        try:
            protection = await self._api.get(repo, at(repo, "branches", branch, "protection"), models.Protection, to=to)
        except (errors.NotFound, errors.AccessDenied):
            try:
                shown = await self._api.get(repo, at(repo, "branches", branch), models.Branch, to=to)
            except (errors.NotFound, errors.AccessDenied):
                return []
            protection = shown.protection or models.Protection()
        checks = protection.required_status_checks
        return checks.facts() if checks else []
