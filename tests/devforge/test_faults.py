"""Failures on request: what was committed stays committed, what was refused left no trace."""

import time
from pathlib import Path
from typing import Any

from tests.devforge import world


async def _arm(repository: world.Repository, **settings: Any) -> None:
    await repository.admin.post("/_devforge/faults", {"path": repository.path, **settings})


async def _effects(repository: world.Repository, suffix: str) -> list[tuple[str, int, str | None]]:
    """The mutating requests that ended on this path: method, status before the fault, fault."""
    log = await repository.admin.get("/_devforge/events")
    wanted = f"{repository.path}{suffix}"
    return [(item["method"], item["status"], item["fault"]) for item in log if item["path"] == wanted]


async def test_an_answer_is_lost_after_the_effect(repository: world.Repository) -> None:
    """A 502 after the commit is the case in which a blind retry makes a duplicate."""
    await _arm(repository, kind="commit_then_502", method="POST", path=f"{repository.path}/issues$")
    path = f"{repository.path}/issues"
    await repository.owner.post(path, {"body": "refused: costs no fault"}, 422)
    await repository.owner.post(path, {"title": "one"}, 502)
    assert [issue["title"] for issue in await repository.owner.get(path)] == ["one"]
    await repository.owner.post(path, {"title": "two"})
    assert await _effects(repository, "/issues") == [
        ("POST", 422, None),
        ("POST", 201, "commit_then_502"),
        ("POST", 201, None),
    ]


async def test_a_merge_and_a_push_are_committed_before_their_502(repository: world.Repository) -> None:
    sha = await repository.work.branch("change", {"new.py": ""})
    number = (await repository.pull("change"))["number"]
    await _arm(repository, kind="commit_then_502", method="PUT", path="/merge$")
    await repository.bot.put(f"{repository.path}/pulls/{number}/merge", {"sha": sha}, 502)
    assert (await repository.bot.get(f"{repository.path}/pulls/{number}"))["merged"] is True
    await _arm(repository, kind="commit_then_502", path="git-receive-pack$")
    await repository.work.git("checkout", "--quiet", "-b", "pushed")
    sha = await repository.work.commit({"more.py": ""})
    assert "502" in await repository.work.git("push", "origin", "pushed", ok=False)
    found = await repository.bot.get(f"{repository.path}/git/ref/heads/pushed")
    assert found["object"]["sha"] == sha


async def test_rate_limits_have_githubs_headers(repository: world.Repository) -> None:
    path = f"{repository.path}/issues"
    await _arm(repository, kind="secondary_rate_limit", method="POST", retry_after=7)
    first = await repository.owner.http.post(path, json={"title": "x"})
    assert (first.status_code, first.headers["retry-after"]) == (403, "7")
    assert "secondary rate limit" in first.json()["message"]
    await _arm(repository, kind="secondary_rate_limit", status=429)
    second = await repository.owner.http.get(path)
    assert (second.status_code, "retry-after" in second.headers) == (429, False)
    await _arm(repository, kind="primary_rate_limit", seconds=30)
    third = await repository.owner.http.get(path)
    assert (third.status_code, third.headers["x-ratelimit-remaining"]) == (403, "0")
    assert 20 < int(third.headers["x-ratelimit-reset"]) - time.time() < 40
    assert await repository.owner.get(path) == []


async def test_a_5xx_comes_before_any_effect(repository: world.Repository) -> None:
    await _arm(repository, kind="fail_5xx", status=500, count=2)
    for _ in range(2):
        await repository.owner.post(f"{repository.path}/issues", {"title": "x"}, 500)
    assert await repository.owner.get(f"{repository.path}/issues") == []
    (fault,) = await repository.admin.get("/_devforge/faults")
    assert (fault["remaining"], fault["used"]) == (0, 2)


async def test_latency_makes_only_matching_requests_wait(repository: world.Repository) -> None:
    """The fault hits one request: had it been the first one, the second would not wait."""
    await _arm(repository, kind="latency", seconds=0.4, path=f"{repository.path}/labels")
    await repository.bot.get(f"{repository.path}/issues")
    started = time.monotonic()
    await repository.bot.get(f"{repository.path}/labels")
    assert time.monotonic() - started >= 0.4


async def test_a_fault_is_checked_and_can_be_removed(repository: world.Repository) -> None:
    await repository.admin.post("/_devforge/faults", {"kind": "earthquake"}, 422)
    await repository.admin.post("/_devforge/faults", {"kind": "latency", "path": "("}, 422)
    made = await repository.admin.post("/_devforge/faults", {"kind": "fail_5xx", "path": repository.path})
    await repository.admin.delete(f"/_devforge/faults/{made['id']}")
    await repository.bot.get(f"{repository.path}/issues")
    await repository.owner.get("/_devforge/faults", 401)


async def test_the_hourly_limit_is_enforced(tmp_path: Path) -> None:
    server = world.Server(tmp_path / "state", "--rate-limit", "2").start()
    async with server.client().http as http:
        answers = [await http.get("/users/nobody") for _ in range(3)]
    assert server.stop() == 0
    assert [answer.status_code for answer in answers] == [404, 404, 403]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
