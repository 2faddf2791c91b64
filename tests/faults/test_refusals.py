"""What must be refused is refused in words, before anything starts, and nothing that is right is lost with it."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain import refs, wire
from tests.e2e import command
from tests.e2e.stack import Stack
from tests.e2e.waiting import until
from web import body
from workers import connection, embedded_forge

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(150)]

Name = Callable[[str], str]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"FETTLE_APROVAL_MODE": "full-auto"}, ("FETTLE_APROVAL_MODE",)),
        ({"FETTLE_FORGE__TOKN": "x"}, ("FETTLE_FORGE__TOKN",)),
        ({"FETTLE_APPROVAL_MODE": "yolo"}, ("FETTLE_APPROVAL_MODE", "full-auto", "review-merge", "review-all")),
        ({"FETTLE_CI_POLL_SECONDS": "soon"}, ("FETTLE_CI_POLL_SECONDS",)),
        ({"FETTLE_FORGE__API_URL": "http://127.0.0.1:9"}, ("http://127.0.0.1:9", "FETTLE_FORGE__TOKEN_FILE")),
        (
            {"FETTLE_FORGE__API_URL": "http://127.0.0.1:9", "FETTLE_FORGE__TOKEN": "t"},
            ("webhook_secret", "FETTLE_WEBHOOK_SECRET_FILE"),
        ),
    ],
    ids=["unknown key", "unknown key of the forge", "approval mode", "number", "no token", "no webhook secret"],
)
def test_wrong_settings_stop_fettle_up_before_anything_starts(
    tmp_path: Path, given: dict[str, str], words: tuple[str, ...]
) -> None:
    state = tmp_path / "state"
    done = command.fettle("up", "--state", str(state), "--ports", "auto", "--json", seconds=60, **given)  # type: ignore[arg-type]  # names of settings, none is a parameter
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert not (connection.read_up(state) or {}).get("processes")
    assert not (state / "temporal.db").exists()


def test_unknown_key_in_the_file_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "fettle.toml").write_text('aproval_mode = "full-auto"\n')
    done = command.fettle("up", "--state", str(tmp_path), "--ports", "auto", seconds=60)
    assert done.returncode == 1, done.stderr
    assert "aproval_mode" in done.stderr
    assert str(tmp_path / "fettle.toml") in done.stderr
    assert not (tmp_path / "temporal.db").exists()


@pytest.mark.parametrize("permission", [None, "pull"], ids=["no access", "read only"])
async def test_repository_without_access_is_not_registered(stack: Stack, name: Name, permission: str | None) -> None:
    repo = refs.Repository(owner="acme", name=name("closed"))
    await stack.people.call("POST", "/user/repos", {"name": repo.name, "private": True, "auto_init": True})
    if permission:
        path = f"/repos/{repo}/collaborators/{embedded_forge.BOT}"
        await stack.people.call("PUT", path, {"permission": permission})
    said = await stack.fettle("repo", "add", str(repo))
    assert said.returncode == 1, said.stderr
    assert f"{repo} cannot be registered" in said.stderr
    assert "access" in said.stderr or "permission" in said.stderr
    listed = await stack.fettle("repo", "list", "--json")
    assert str(repo) not in {each["repository"] for each in json.loads(listed.stdout)}


async def test_policy_with_an_invalid_approval_mode_is_not_stored(stack: Stack, name: Name) -> None:
    repo = await stack.repository(name("mode"), {})
    said = await stack.fettle("repo", "set", str(repo), "--mode", "yolo")
    assert said.returncode == 2, said.stderr
    assert "approval_mode = 'yolo'" in said.stderr
    shown = await stack.fettle("repo", "show", str(repo), "--json")
    assert json.loads(shown.stdout)["policy"]["approval_mode"] == "full-auto"


async def test_run_whose_access_was_taken_away_says_so_and_starts_nothing(stack: Stack, name: Name) -> None:
    """The registration is from before; the run must tell a person instead of trying for ever."""
    repo = await stack.repository(name("lost"), {})
    await stack.people.call("PATCH", f"/repos/{repo}", {"private": True})
    await stack.people.call("DELETE", f"/repos/{repo}/collaborators/{embedded_forge.BOT}")
    issue = await stack.ask(repo, "Answer", [{"say": "never played"}])

    async def held() -> str:
        state = await stack.state_of(issue)
        return state.hold.note if state is not None and state.hold is not None else ""

    note = await until(held, 40, f"a hold of {issue}")
    assert "access" in note
    assert stack.events_of(issue) == []


def _delivery(payload: object, secret: str, *, delivery: str, event: str = "issues") -> tuple[bytes, dict[str, str]]:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": signed, "X-GitHub-Delivery": delivery, "X-GitHub-Event": event}
    return raw, {"Content-Type": "application/json", **headers}


def _labelled(issue: refs.Issue) -> dict[str, Any]:
    return {
        "action": "labeled",
        "issue": {"number": issue.number, "labels": [{"name": wire.LABEL_TRIGGER}]},
        "label": {"name": wire.LABEL_TRIGGER},
        "repository": {"full_name": str(issue.repo)},
        "sender": {"login": "mallory"},
    }


async def _answer_to_a_length(url: str, length: int) -> int:
    """The status that a body of this length is answered with before a byte of it was sent."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        head = "POST /webhooks/github HTTP/1.1\r\nHost: fettle\r\nX-Hub-Signature-256: sha256=00\r\n"
        writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()


async def test_bad_deliveries_start_nothing_and_good_ones_still_arrive(stack: Stack, name: Name) -> None:
    """An issue without the label is named by every delivery: whatever is believed without looking would start it."""
    at = name("hooks")
    repo = await stack.repository(at, {})
    issue = await stack.people.file(repo, "Nobody asked for this")
    secret = stack.people.secret
    deep = b"[" * 200_000 + b"]" * 200_000
    bad: list[tuple[int, bytes, dict[str, str]]] = [
        (401, *_delivery(_labelled(issue), "not the secret", delivery=f"{at}-forged")),
        (400, *_delivery(b'{"action": "labeled", ', secret, delivery=f"{at}-cut")),
        (400, *_delivery(b"\xff\xfe", secret, delivery=f"{at}-bytes")),
        (400, *_delivery(deep, secret, delivery=f"{at}-deep")),
        (400, *_delivery(_labelled(issue), secret, delivery="not a word")),
        (202, *_delivery({"action": 7, "issue": "?"}, secret, delivery=f"{at}-shape")),
        (202, *_delivery({"zen": "hm"}, secret, delivery=f"{at}-event", event="never_heard_of")),
    ]
    unsigned, headers = _delivery(_labelled(issue), secret, delivery=f"{at}-unsigned")
    bad.append((401, unsigned, {k: v for k, v in headers.items() if "Signature" not in k}))
    async with httpx.AsyncClient(base_url=stack.web_url, timeout=30, trust_env=False) as http:
        for status, raw, sent in bad:
            answer = await http.post("/webhooks/github", content=raw, headers=sent)
            assert answer.status_code == status, (sent["X-GitHub-Delivery"], answer.text)
            if status >= 400:
                assert answer.json()["error"]
        assert await _answer_to_a_length(stack.web_url, body.LIMIT + 1) == 413
        raw = json.dumps(_labelled(issue)).encode()
        whole = raw + b" " * (body.LIMIT - len(raw))
        raw, sent = _delivery(whole, secret, delivery=f"{at}-well-signed")
        assert (await http.post("/webhooks/github", content=raw, headers=sent)).status_code == 202
        assert (await http.get("/readyz")).status_code == 200

    # The signed event is believed as a hint: the run it starts reads the issue, and finds that nobody asked.
    asked = await stack.ask(repo, "Somebody asked for this", [{"write": {"path": "a", "content": "b"}}])
    await stack.merged(asked)
    assert stack.events_of(issue) == []
    assert await stack.books.labels(issue) == set()
