import dataclasses, os
from temporalio.testing import ActivityEnvironment
from activities import artifact_store, egress, rooms
from domain import redaction
from sandbox import levels
from sandbox.egress import rules
from tests.agents.model_server import say
async def test_x(stage):
    p = stage.host.state
    for each in (p, *p.parents):
        if str(each).startswith("/tmp/w/b1/pt"): each.chmod(0o755)
    level = await levels.ready(levels.Config(stage.host.state, os.environ, "user", user="61000-61009"))
    assert not level.why_not, level.why_not
    artifacts = artifact_store.DirectoryStore(stage.host.state / "artifacts")
    closed = rules.Rules.of(never=rules.forge_hosts(["https://api.github.com"]))
    own = egress.Egress(closed, artifacts, redaction.Redactor(), stage.environment)
    host = dataclasses.replace(stage.activities(), confinement=rooms.Confinement(stage.environment, level), way_out=own)
    stage.model.script(stage.shell("id -u > seen.txt; touch /tmp/x 2>> seen.txt; cat /etc/shadow 2>> seen.txt; true"), say("Done."))
    try:
        print(await ActivityEnvironment().run(host.run_agent, stage.request()))
    finally:
        print(stage.file("seen.txt"))
