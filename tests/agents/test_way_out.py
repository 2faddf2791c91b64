"""The real CLIs in a sandbox without a network: the model is reached by the proxy alone, which holds the key."""

import dataclasses
import os
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities import artifact_store, egress, rooms
from domain import agent, redaction
from sandbox import levels
from sandbox.egress import evidence, rules
from tests.activities.agent_host import RUN
from tests.agents.model_server import Failure, say
from tests.agents.stage import KEY, Stage

LOOK = (
    "env > seen.txt; "
    "for place in 169.254.169.254/80 127.0.0.1/$MODEL_PORT; do "
    "(exec 3<>/dev/tcp/$place) 2>/dev/null && echo $place >> reached.txt; done; "
    "git -c http.proxy=$HTTPS_PROXY ls-remote https://github.com/acme/api 2>> refused.txt; true"
)


async def confined(stage: Stage, request: agent.TurnRequest) -> agent.TurnResult:
    """A turn under bubblewrap, as a host with the default settings plays it."""
    level = await levels.ready(levels.Config(stage.host.state, os.environ))
    if level.why_not:
        pytest.skip(f"agents in a sandbox without network are NOT tested here: {level.why_not}")
    artifacts = artifact_store.DirectoryStore(stage.host.state / "artifacts")
    closed = rules.Rules.of(never=rules.forge_hosts(["https://api.github.com"]))
    own = egress.Egress(closed, artifacts, redaction.Redactor(), stage.environment)
    host = dataclasses.replace(stage.activities(), confinement=rooms.Confinement(stage.environment, level), way_out=own)
    result: agent.TurnResult = await ActivityEnvironment().run(host.run_agent, request)
    return result


def kept(stage: Stage) -> list[evidence.Record]:
    path = Path(stage.host.state, "artifacts", "runs", RUN, "egress-turn-1.jsonl")
    return [evidence.Record.model_validate_json(line) for line in path.read_text().splitlines()]


async def test_an_agent_works_without_network_and_without_its_key(stage: Stage) -> None:
    number = stage.model.url.rsplit(":", 1)[1]
    stage.model.script(stage.shell(f"MODEL_PORT={number}; {LOOK}"), say("Done."))
    result = await confined(stage, stage.request())
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "Done.")
    carried = [str(request.headers) for request in stage.model.requests]
    assert all(KEY in headers for headers in carried)
    assert not any("held-by-the-proxy" in headers for headers in carried)
    seen = stage.file("seen.txt")
    assert seen is not None
    assert KEY not in seen
    assert "127.0.0.1:3128" in seen
    assert stage.file("reached.txt") is None
    assert "403" in (stage.file("refused.txt") or "")
    records = [each for each in kept(stage) if each.event == "decided"]
    assert [(each.host, each.why) for each in records if each.verdict == "refused"] == [("github.com", "forge")]
    assert len([each for each in records if each.kind == "model"]) == 2
    stage.quiet(2)


async def test_a_refusal_of_the_provider_reaches_the_cli_as_it_is(stage: Stage) -> None:
    """Retry-after included: the proxy answers nothing in the provider's place."""
    stage.model.script(Failure(429, "rate_limit_error", headers={"retry-after": "0"}), say("Done."))
    result = await confined(stage, stage.request())
    assert (result.outcome, result.summary) == (agent.Outcome.FINISHED, "Done.")
    ended = [each.status for each in kept(stage) if each.event == "ended"]
    assert ended == [429, 200]
    stage.quiet(2)
