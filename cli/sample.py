"""The sample project of the demo: where its files are, and how it gets into a running forge."""

import asyncio
import json
import os
import sys
from importlib import resources
from pathlib import Path
from typing import Final

from cli import failures
from domain import refs

REPO: Final = refs.Repository(owner="demo", name="tinytax")
VERIFY: Final = "python3 -m unittest -q"
_SECONDS: Final = 60


def script() -> Path:
    """What the scripted agent plays."""
    return _folder() / "agent_script.json"


def issue() -> tuple[str, str]:
    """Title and body of the bug report."""
    title, _, body = (_folder() / "issue.md").read_text(encoding="utf-8").partition("\n")
    return title.strip(), body.strip() + "\n"


async def seed(url: str, admin_token: str) -> str:
    """Put people, repository and branch protection into the forge at `url`, and return a token of the owner.

    Raises:
        failures.Failed: the forge refused a step.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devforge.seed", "--url", url, "--owner", REPO.owner),
        env={**os.environ, "DEVFORGE_ADMIN_TOKEN": admin_token},  # not in argv, where every user could read it
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, said = await asyncio.wait_for(process.communicate(), _SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise failures.Failed(f"the forge at {url} was not filled within {_SECONDS} s: see devforge.log") from None
    if process.returncode != 0:
        raise failures.Failed(f"the sample could not be put into the forge: {said.decode('utf-8', 'replace').strip()}")
    return str(json.loads(out)["owner_token"])


def _folder() -> Path:
    return Path(str(resources.files("devforge"))) / "sample"
