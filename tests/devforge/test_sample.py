"""The sample repository: its bug is real, its tests see it, and the recorded agent mends it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from devforge import seed
from tests.devforge import world


def _run(command: str, folder: Path) -> int:
    """Run a shell command as the sample's CI does."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True).returncode


def _play(script: dict[str, Any], folder: Path) -> int:
    """Do what the recorded agent did; the number of steps that acted."""
    acted = 0
    for step in (step for turn in script["turns"] for step in turn["steps"]):
        if "run" in step:
            assert _run(step["run"]["command"], folder) == step["run"]["expect_exit"], step
        elif "edit" in step:
            path, old = folder / step["edit"]["path"], step["edit"]["old"]
            assert path.read_text().count(old) == 1
            path.write_text(path.read_text().replace(old, step["edit"]["new"]))
        else:
            assert set(step) == {"say"}
            continue
        acted += 1
    return acted


def test_the_recorded_agent_turns_the_sample_green(tmp_path: Path) -> None:
    folder = tmp_path / "tinytax"
    shutil.copytree(seed.SAMPLE / "tinytax", folder)
    script = json.loads((seed.SAMPLE / "agent_script.json").read_text())
    assert _play(script, folder) == 3
    assert _run("python3 -m unittest -q", folder) == 0


async def test_a_seeded_forge_has_a_red_main_and_takes_the_fix(server: world.Server, tmp_path: Path) -> None:
    made = await seed.seed(server.url, world.ADMIN, "demo", with_issue=True)
    again = await seed.seed(server.url, world.ADMIN, "demo")
    assert (made.issue, again.issue) == (1, None)
    bot = server.client(made.bot_token)
    work = await world.Work(tmp_path / "work", f"{made.html_url}.git", made.bot_token).clone()
    repository = world.Repository("tinytax", server, bot, bot, bot, work, {})
    path = "/repos/demo/tinytax"

    async def concluded(sha: str) -> str:
        async def look() -> str | None:
            runs = (await bot.get(f"{path}/commits/{sha}/check-runs"))["check_runs"]
            return str(runs[0]["conclusion"]) if runs and runs[0]["status"] == "completed" else None

        return await world.eventually(look, f"tests of {sha}")

    await work.git("checkout", "--quiet", "main")
    assert await concluded(await work.git("rev-parse", "HEAD")) == "failure"
    assert "__pycache__" not in await work.git("ls-files")
    _play(json.loads((seed.SAMPLE / "agent_script.json").read_text()), work.folder)
    sha = await repository.work.branch("fix", {}, "HEAD", "Round the tax once")
    wanted = {"title": "Round the tax once", "head": "fix", "base": "main", "body": f"Closes #{made.issue}"}
    pull = await bot.post(f"{path}/pulls", wanted)
    assert await concluded(sha) == "success"
    await bot.put(f"{path}/pulls/{pull['number']}/merge", {"sha": sha})
    assert (await bot.get(f"{path}/issues/{made.issue}"))["state"] == "closed"
    names = {label["name"] for label in await bot.get(f"{path}/labels")}
    assert {name for name, _, _ in seed.LABELS} <= names
    await bot.http.aclose()
