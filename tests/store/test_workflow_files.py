"""The last good version of a repository's file stays, whatever becomes of the newer ones."""

from datetime import timedelta

from domain import refs
from domain.workflow_policy import Source
from store import engine
from tests.store.conftest import NOW

REPO = refs.Repository(owner="Acme", name="API")
GOOD = Source(branch="main", commit_sha="a" * 40, blob_sha="b" * 40)
BAD = Source(branch="main", commit_sha="c" * 40, blob_sha="d" * 40)


async def test_nothing_is_known_at_first(store: engine.Store) -> None:
    assert await store.workflow_files.get(REPO) is None
    await store.workflow_files.forget(REPO)


async def test_a_good_version_is_found_whatever_the_case_of_the_name(store: engine.Store) -> None:
    await store.workflow_files.keep(REPO, GOOD, "Do ünïcode\n", read_at=NOW)
    found = await store.workflow_files.get(refs.Repository(owner="acme", name="api"))
    assert found is not None
    assert (found.source, found.text, found.problem, found.read_at) == (GOOD, "Do ünïcode\n", "", NOW)


async def test_a_bad_version_leaves_the_good_one_and_a_good_one_ends_the_problem(store: engine.Store) -> None:
    await store.workflow_files.keep(REPO, GOOD, "one", read_at=NOW)
    later = NOW + timedelta(minutes=1)
    for _ in range(2):
        await store.workflow_files.refuse(REPO, BAD, "line 3: wrong", read_at=later)
    found = await store.workflow_files.get(REPO)
    assert found is not None
    assert (found.source, found.text) == (GOOD, "one")
    assert (found.problem, found.problem_source, found.read_at) == ("line 3: wrong", BAD, later)
    for _ in range(2):
        await store.workflow_files.keep(REPO, BAD, "two", read_at=later)
    found = await store.workflow_files.get(REPO)
    assert found is not None
    assert (found.source, found.text, found.problem, found.problem_source) == (BAD, "two", "", Source())


async def test_a_first_version_that_is_bad_has_no_text(store: engine.Store) -> None:
    await store.workflow_files.refuse(REPO, BAD, "wrong", read_at=NOW)
    found = await store.workflow_files.get(REPO)
    assert found is not None
    assert found.text is None
    await store.workflow_files.forget(REPO)
    assert await store.workflow_files.get(REPO) is None
