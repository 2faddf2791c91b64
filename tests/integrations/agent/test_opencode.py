import json
import os
from pathlib import Path
from typing import Any

import pytest

from domain import agent, errors
from integrations.agent import opencode, port
from tests.integrations.agent.streams_recorded import OPENCODE, OPENCODE_SESSION

OWN = opencode.OpencodeBackend(
    opencode.OpencodeSettings(model="qwen", base_url="http://10.0.0.7/v1", env_key="MODEL_KEY")
)
KNOWN = opencode.OpencodeBackend(opencode.OpencodeSettings(model="anthropic/claude-x", env_key="ANTHROPIC_API_KEY"))


def request(worktree: Path, **more: Any) -> agent.TurnRequest:
    facts: dict[str, Any] = {"run": "issue/a/b/1", "prompt": "Fix it", "worktree": str(worktree)}
    return agent.TurnRequest(**{**facts, "session": agent.Session(backend="opencode"), **more})


def configuration(command: port.Command) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command.env["OPENCODE_CONFIG_CONTENT"])
    return found


def fold(*values: dict[str, Any], exit_code: int | None) -> port.Verdict:
    lines = [json.dumps({"sessionID": OPENCODE_SESSION, **value}).encode() for value in values]
    return OWN.fold([event for line in lines for event in OWN.parse(line)], exit_code)


def finished(reason: str, **part: Any) -> dict[str, Any]:
    return {"type": "step_finish", "part": {"reason": reason, **part}}


def tool(error: str) -> dict[str, Any]:
    return {"type": "tool_use", "part": {"tool": "write", "state": {"status": "error", "error": error}}}


def failed(name: str = "APIError", **data: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"name": name, "data": data}}


def test_what_steps_used_is_added_up() -> None:
    verdict = OWN.fold([event for line in OPENCODE.lines for event in OWN.parse(line)], 0)
    assert verdict.cost_usd == 0.75
    assert verdict.usage == agent.Usage(input_tokens=200, cached_tokens=80, output_tokens=40)
    assert not verdict.cost_is_of_session
    assert not verdict.usage_is_of_session


def test_a_model_without_a_price_has_an_unknown_cost() -> None:
    verdict = fold(finished("tool-calls", cost=0.5), finished("stop", cost=0), exit_code=0)
    assert verdict.cost_usd is None
    assert verdict.usage == agent.Usage()


def test_a_rejected_call_that_ends_the_process_is_a_refusal() -> None:
    """It ends with exit code 0, and the model does not get another word."""
    rejected = tool("The user rejected permission to use this specific tool call.")
    verdict = fold({"type": "step_start"}, rejected, finished("tool-calls"), exit_code=0)
    assert (verdict.outcome, verdict.reason, verdict.denials) == (agent.Outcome.REFUSED, "permission", ("write",))
    assert "write was rejected" in verdict.summary


def test_a_denied_call_that_the_model_lives_with_is_reported() -> None:
    denied = tool("The user has specified a rule which prevents you from using this specific tool call.")
    verdict = fold(denied, finished("tool-calls"), finished("stop"), exit_code=0)
    assert (verdict.outcome, verdict.denials) == (agent.Outcome.FINISHED, ("write",))
    broken = fold(tool("ENOENT: no such file"), finished("tool-calls"), finished("stop"), exit_code=0)
    assert broken.denials == ()


def test_a_step_that_began_after_the_last_stop_is_unfinished() -> None:
    assert fold(finished("stop"), {"type": "step_start"}, exit_code=0).outcome is agent.Outcome.PROTOCOL_ERROR
    assert fold({"type": "step_start"}, exit_code=0).outcome is agent.Outcome.PROTOCOL_ERROR
    assert fold({"type": "step_start"}, exit_code=1).outcome is agent.Outcome.CRASHED
    assert fold(finished("length"), exit_code=0).outcome is agent.Outcome.LIMIT


@pytest.mark.parametrize(
    ("error", "outcome", "reason", "retryable"),
    [
        (failed(statusCode=401, message="no"), agent.Outcome.API_ERROR, "authentication_failed", False),
        (failed("ProviderAuthError", message="no"), agent.Outcome.API_ERROR, "authentication_failed", False),
        (failed(statusCode=429), agent.Outcome.API_ERROR, "rate_limit", True),
        (failed(statusCode=502), agent.Outcome.API_ERROR, "server_error", True),
        (failed(statusCode=529), agent.Outcome.API_ERROR, "overloaded", True),
        (failed("ContextOverflowError"), agent.Outcome.LIMIT, "context", False),
        (failed("UnknownError"), agent.Outcome.API_ERROR, "unknown", True),
    ],
)
def test_a_failure_has_a_class(error: dict[str, Any], outcome: agent.Outcome, reason: str, retryable: bool) -> None:
    verdict = fold(error, exit_code=1)
    assert (verdict.outcome, verdict.reason, verdict.retryable) == (outcome, reason, retryable)


def test_the_provider_says_when_to_ask_again() -> None:
    verdict = fold(failed(statusCode=429, responseHeaders={"retry-after": "90"}), exit_code=1)
    assert verdict.retry_after_seconds == 90


def test_a_provider_of_the_operator_is_configured_without_its_key(tmp_path: Path) -> None:
    command = OWN.command(request(tmp_path, model="opus"), tmp_path)
    provider = configuration(command)["provider"]["fettle"]
    assert provider["options"] == {"baseURL": "http://10.0.0.7/v1", "apiKey": "{env:MODEL_KEY}"}
    assert command.argv[command.argv.index("--model") + 1] == "fettle/qwen"
    assert OWN.pass_environment[0] == "MODEL_KEY"
    access = port.ModelAccess("http://127.0.0.1:1/opencode", "placeholder")
    behind = OWN.command(request(tmp_path), tmp_path, access=access)
    assert configuration(behind)["provider"]["fettle"]["options"]["baseURL"] == "http://127.0.0.1:1/opencode"
    assert behind.env["MODEL_KEY"] == "placeholder"


def test_a_provider_that_the_cli_knows_holds_its_own_key(tmp_path: Path) -> None:
    command = KNOWN.command(request(tmp_path), tmp_path)
    assert "provider" not in configuration(command)
    assert command.argv[command.argv.index("--model") + 1] == "anthropic/claude-x"
    assert KNOWN.model_api is None
    other = KNOWN.command(request(tmp_path, model="openai/gpt"), tmp_path)
    assert other.argv[other.argv.index("--model") + 1] == "openai/gpt"


def test_rights_are_rules_the_last_of_which_counts(tmp_path: Path) -> None:
    def rules(**facts: Any) -> dict[str, Any]:
        found: dict[str, Any] = configuration(OWN.command(request(tmp_path, **facts), tmp_path))["permission"]
        return found

    assert rules() == {"*": "allow"}
    plan = rules(autonomy="plan")
    assert (plan["*"], plan["read"], plan.get("edit"), plan.get("bash")) == ("deny", "allow", None, None)
    assert next(iter(plan)) == "*"
    assert rules(ask_tools=("bash",)) == plan
    server = agent.McpServer(name="desk", command="desk")
    edit = rules(autonomy="edit", allowed_tools=("bash(git *)", "bash(ls)", "webfetch"), mcp_servers=(server,))
    assert edit["edit"] == edit["webfetch"] == edit["desk_*"] == "allow"
    assert edit["bash"] == {"*": "deny", "git *": "allow", "ls": "allow"}


@pytest.mark.parametrize("name", [".opencode", "opencode.json", "opencode.jsonc"])
def test_a_repository_with_plugins_is_refused_unless_it_is_trusted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(errors.ConfigurationError, match=name):
        OWN.command(request(tmp_path), tmp_path)
    trusted = OWN.command(request(tmp_path, trust_repository_settings=True), tmp_path)
    assert "--pure" not in trusted.argv
    assert "OPENCODE_DISABLE_PROJECT_CONFIG" not in trusted.env


def test_only_an_id_of_the_cli_is_resumed(tmp_path: Path) -> None:
    database = tmp_path / ".local" / "share" / "opencode" / "opencode.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"x")
    database.with_name("opencode.db-wal").symlink_to("/etc/hostname")
    session = agent.Session(backend="opencode", id=OPENCODE_SESSION)
    assert OWN.transcript(tmp_path, session) == database
    assert OWN.session_files(tmp_path, session) == [database]
    assert OWN.transcript(tmp_path, agent.Session(backend="opencode", id="--help")) is None
    assert OWN.new_session().id == ""


def test_a_host_without_a_model_or_its_key_says_what_is_missing(tmp_path: Path) -> None:
    program = tmp_path / "opencode"
    program.write_text(
        "#!/bin/sh\ncase $1 in --version) echo 1.18.33;; *) echo '--format --session --pure' >&2;; esac\n"
    )
    program.chmod(0o755)
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    assert "FETTLE_OPENCODE__MODEL" in opencode.OpencodeBackend().discover(env).why_not
    assert "MODEL_KEY" in OWN.discover(env).why_not
    found = OWN.discover({**env, "MODEL_KEY": "k"})
    assert (found.ready, found.version, found.capability.verified) == (True, "1.18.33", True)
