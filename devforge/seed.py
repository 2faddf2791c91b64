"""Fill a running forge with the demo: people, the sample repository, labels and a protected branch. HTTP only."""

import argparse
import asyncio
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

SAMPLE = Path(__file__).with_name("sample")
REPOSITORY = "tinytax"
BOT = "fettle-bot"
CHECK = "tests"
LABELS = (
    ("bug", "d73a4a", "Something does not work as described"),
    ("enhancement", "a2eeef", "A new ability"),
    ("fettle", "0e8a16", "Fettle may work on this"),
    ("needs-human", "fbca04", "Waits for a decision by a person"),
)


@dataclass(frozen=True)
class Seeded:
    """What the demo needs to know; the tokens are secrets of this forge alone."""

    url: str
    owner: str
    repository: str
    html_url: str
    bot: str
    owner_token: str
    bot_token: str
    issue: int | None = None


class SeedFailed(Exception):
    """The forge refused a step; the text names it and what the forge said."""


async def _call(http: httpx.AsyncClient, method: str, path: str, body: Any = None, fine: tuple[int, ...] = ()) -> Any:
    response = await http.request(method, path, json=body)
    if not response.is_success and response.status_code not in fine:
        raise SeedFailed(f"{method} {path} was answered {response.status_code}: {response.text[:300]}")
    return response.json() if response.content else None


def issue_text() -> tuple[str, str]:
    """(title, body) of the sample's bug report."""
    title, _, body = (SAMPLE / "issue.md").read_text("utf-8").partition("\n")
    return title.strip(), body.strip() + "\n"


async def seed(url: str, admin_token: str, owner: str = "demo", with_issue: bool = False) -> Seeded:
    """Make `owner/tinytax` ready for a run. Running it again changes nothing but adds fresh tokens.

    Args:
        url: where the forge listens.
        admin_token: the token of its admin API.
        owner: the account that will own the repository.
        with_issue: also file the sample's bug report as the owner.

    Raises:
        SeedFailed: the forge refused a step.
    """
    headers = {"Authorization": f"Bearer {admin_token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
        people = {login: await _call(http, "POST", "/_devforge/users", {"login": login}) for login in (owner, BOT)}
        base = f"/repos/{owner}/{REPOSITORY}"
        if (await http.get(base)).status_code == 404:
            wanted = {"owner": owner, "name": REPOSITORY, "path": str(SAMPLE / REPOSITORY)}
            await _call(http, "POST", "/_devforge/import", wanted | {"description": "Invoices and income tax, tiny"})
        await _call(http, "PUT", f"{base}/collaborators/{BOT}", {"permission": "push"})
        for name, color, words in LABELS:
            label = {"name": name, "color": color, "description": words}
            await _call(http, "POST", f"{base}/labels", label, fine=(422,))
        rules = {"required_status_checks": {"strict": False, "contexts": [CHECK]}, "enforce_admins": True}
        rules |= {"required_pull_request_reviews": None, "restrictions": None}
        await _call(http, "PUT", f"{base}/branches/main/protection", rules)
        found = await _call(http, "GET", base)
        number = None
        if with_issue:
            title, body = issue_text()
            mine = {"Authorization": f"Bearer {people[owner]['token']}"}
            made = await http.post(f"{base}/issues", json={"title": title, "body": body}, headers=mine)
            number = int(made.raise_for_status().json()["number"])
    return Seeded(url, owner, REPOSITORY, found["html_url"], BOT, people[owner]["token"], people[BOT]["token"], number)


def main(arguments: list[str] | None = None) -> int:
    """`python -m devforge.seed`: print what was made as one JSON object, tokens included."""
    parser = argparse.ArgumentParser(prog="python -m devforge.seed", description="Fill a forge with the demo.")
    parser.add_argument("--url", required=True, help="where the forge listens")
    parser.add_argument("--admin-token", help="default: DEVFORGE_ADMIN_TOKEN, which no process list shows")
    parser.add_argument("--owner", default="demo", help="who owns the repository (default: %(default)s)")
    parser.add_argument("--with-issue", action="store_true", help="also file the sample's bug report")
    options = parser.parse_args(arguments)
    token = options.admin_token or os.environ.get("DEVFORGE_ADMIN_TOKEN", "")
    try:
        made = asyncio.run(seed(options.url, token, options.owner, options.with_issue))
    except (SeedFailed, httpx.HTTPError) as problem:
        sys.stderr.write(f"The forge at {options.url} could not be seeded: {problem}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(made)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
