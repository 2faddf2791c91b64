"""Webhooks: signed, in order, and failing on request."""

import uuid

from tests.devforge import world


async def _titled(repository: world.Repository, *titles: str) -> None:
    for title in titles:
        await repository.owner.post(f"{repository.path}/issues", {"title": title})


def _titles(got: list[world.Delivery]) -> list[str]:
    return [item.payload["issue"]["title"] for item in got if item.kind == "issues.opened"]


async def test_deliveries_are_signed_ordered_and_logged(repository: world.Repository, listener: world.Listener) -> None:
    hook = await repository.listen(listener, "issues")
    assert hook["config"]["secret"] == "********"
    await _titled(repository, "one", "two", "three")
    got = await listener.until(lambda got: len(got) == 4)
    assert [item.event for item in got] == ["ping", "issues", "issues", "issues"]
    assert _titles(got) == ["one", "two", "three"]
    assert all(listener.signed(item) and uuid.UUID(item.guid) for item in got)
    assert got[1].payload["repository"]["full_name"] == f"ada/{repository.name}"
    assert got[1].payload["sender"]["login"] == "ada"

    async def logged() -> list[dict[str, object]] | None:
        found = await repository.owner.get(f"{repository.path}/hooks/{hook['id']}/deliveries")
        return found if len(found) == 4 else None

    entries = await world.eventually(logged, "four log entries")
    assert [(entry["guid"], entry["status"], entry["status_code"]) for entry in entries] == [
        (item.guid, "OK", 200) for item in reversed(got)
    ]
    await repository.owner.delete(f"{repository.path}/hooks/{hook['id']}")
    assert await repository.owner.get(f"{repository.path}/hooks") == []
    await repository.bot.get(f"{repository.path}/hooks", 403)


async def test_a_dropped_delivery_can_be_asked_for_again(
    repository: world.Repository, listener: world.Listener
) -> None:
    """A forge never redelivers by itself; whoever lost something lists the failures and asks."""
    hook = await repository.listen(listener, "issues")
    await listener.has("ping")
    await repository.admin.post("/_devforge/faults", {"kind": "webhook_drop", "events": ["issues"]})
    await _titled(repository, "lost", "kept")
    got = await listener.has("issues.opened")
    assert _titles(got) == ["kept"]
    path = f"{repository.path}/hooks/{hook['id']}/deliveries"
    (failure,) = await repository.owner.get(f"{path}?status=failure")
    assert (failure["status_code"], failure["redelivery"]) == (502, False)
    await repository.owner.post(f"{path}/{failure['id']}/attempts", status=202)
    got = await listener.until(lambda got: len(_titles(got)) == 2)
    assert (_titles(got)[-1], got[-1].guid) == ("lost", failure["guid"])
    detail = await repository.owner.get(f"{path}/{failure['id']}")
    assert detail["request"]["payload"]["issue"]["title"] == "lost"


async def test_a_delivery_is_doubled_under_one_id(repository: world.Repository, listener: world.Listener) -> None:
    await repository.listen(listener, "issues")
    await listener.has("ping")
    await repository.admin.post("/_devforge/faults", {"kind": "webhook_duplicate", "times": 2})
    await _titled(repository, "again")
    got = await listener.until(lambda got: len(_titles(got)) == 3)
    assert len({item.guid for item in got if item.event == "issues"}) == 1


async def test_a_delayed_delivery_lets_later_ones_pass(repository: world.Repository, listener: world.Listener) -> None:
    await repository.listen(listener, "issues")
    await listener.has("ping")
    await repository.admin.post("/_devforge/faults", {"kind": "webhook_delay", "seconds": 3600})
    await _titled(repository, "slow", "quick")
    assert _titles(await listener.has("issues.opened")) == ["quick"]
    await repository.admin.post("/_devforge/faults", {"kind": "webhook_delay", "seconds": 0.3})
    await _titled(repository, "late")
    got = await listener.until(lambda got: len(_titles(got)) == 2)
    assert _titles(got) == ["quick", "late"]


async def test_a_window_of_deliveries_arrives_in_reverse(
    repository: world.Repository, listener: world.Listener
) -> None:
    await repository.listen(listener, "issues")
    await listener.has("ping")
    await repository.admin.post("/_devforge/faults", {"kind": "webhook_reorder", "window": 3})
    # Three events of one request: between requests, a busy machine could take longer than deliveries are held.
    wanted = {"title": "a", "labels": ["bug"], "assignees": ["bot"]}
    await repository.owner.post(f"{repository.path}/issues", wanted)
    await _titled(repository, "d")
    got = await listener.until(lambda got: len(_titles(got)) == 2)
    kinds = [item.kind for item in got if item.event != "ping"]
    assert kinds == ["issues.assigned", "issues.labeled", "issues.opened", "issues.opened"]
    assert _titles(got) == ["a", "d"]


async def test_a_receiver_that_fails_does_not_hold_up_the_api(
    repository: world.Repository, listener: world.Listener
) -> None:
    listener.status = 500
    hook = await repository.listen(listener, "issues")
    await _titled(repository, "one")
    await listener.has("issues.opened")

    async def failed() -> list[dict[str, object]] | None:
        found = await repository.owner.get(f"{repository.path}/hooks/{hook['id']}/deliveries?status=failure")
        return found if len(found) == 2 else None

    entries = await world.eventually(failed, "two failures")
    assert {entry["status_code"] for entry in entries} == {500}


async def test_a_push_tells_what_moved(repository: world.Repository, listener: world.Listener) -> None:
    await repository.listen(listener, "push", "pull_request")
    first = await repository.work.branch("change", {"new.py": "1"}, message="first")
    pull = await repository.pull("change")
    second = await repository.work.branch("change", {"new.py": "2"}, message="second")  # from main again: forced
    await repository.bot.put(f"{repository.path}/pulls/{pull['number']}/merge", {"sha": second})
    got = [item for item in await listener.has("pull_request.closed") if item.event != "ping"]
    pushes = [item.payload for item in got if item.event == "push"]
    assert [push["ref"] for push in pushes] == ["refs/heads/change", "refs/heads/change", "refs/heads/main"]
    assert [(push["created"], push["forced"]) for push in pushes[:2]] == [(True, False), (False, True)]
    assert (pushes[0]["before"], pushes[0]["after"], pushes[1]["after"]) == ("0" * 40, first, second)
    assert [commit["message"] for commit in pushes[0]["commits"]] == ["first"]
    kinds = [item.kind for item in got if item.event == "pull_request"]
    assert kinds == ["pull_request.opened", "pull_request.synchronize", "pull_request.closed"]
    moved = next(item.payload for item in got if item.kind == "pull_request.synchronize")
    assert (moved["before"], moved["after"]) == (first, second)
    closed = got[-1].payload["pull_request"]
    assert (closed["merged"], closed["head"]["sha"], closed["merged_by"]["login"]) == (True, second, "bot")
