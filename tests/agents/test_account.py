"""The real CLIs as an account of their own, on hosts where no namespaces can be made for them."""

import dataclasses
import os
import tempfile
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities import artifact_store, egress, rooms
from domain import agent, redaction
from sandbox import levels
from sandbox.egress import rules
from tests.agents import clis
from tests.agents.model_server import say
from tests.agents.stage import standing


@pytest.mark.parametrize("cli", [*clis.CLAUDES, clis.CODEX], ids=str)
async def test_a_cli_works_as_an_account_that_owns_nothing_else(cli: clis.Cli) -> None:
    with tempfile.TemporaryDirectory(prefix="fettle-account-") as folder:
        os.chmod(folder, 0o711)  # the account has to get in
        async with standing(cli, Path(folder)) as stage:
            level = await levels.ready(levels.Config(stage.host.state, os.environ, "user", user="61000-61009"))
            if level.why_not:
                pytest.skip(f"agents as an account of their own are NOT tested here: {level.why_not}")
            artifacts = artifact_store.DirectoryStore(stage.host.state / "artifacts")
            own = egress.Egress(rules.Rules.of(), artifacts, redaction.Redactor(), stage.environment)
            confined = rooms.Confinement(stage.environment, level)
            host = dataclasses.replace(stage.activities(), confinement=confined, way_out=own)
            look = "id -u > seen.txt; cat /etc/shadow >> seen.txt 2>/dev/null; touch /usr/x 2>/dev/null; true"
            stage.model.script(stage.shell(look), say("Done."))
            result: agent.TurnResult = await ActivityEnvironment().run(host.run_agent, stage.request())
            assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "Done.")
            assert stage.file("seen.txt") == "61000\n"
            stage.quiet(2)
