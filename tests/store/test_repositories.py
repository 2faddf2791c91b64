from datetime import timedelta

import pytest
import sqlalchemy as sa

from domain import errors, policy, refs
from store import engine, repositories, schema
from tests.store.conftest import NOW

API = refs.Repository.parse("acme/api")


def registration(**changes: object) -> repositories.Registration:
    return repositories.Registration.model_validate({"ref": API, "added_at": NOW} | changes)


async def store_policy(store: engine.Store, text: str) -> None:
    async with store.database.writing() as connection:
        await connection.execute(sa.update(schema.repositories).values(policy=text))


async def test_registration_comes_back_as_it_was_stored(store: engine.Store) -> None:
    given = registration(
        policy=policy.RepositoryPolicy(
            approval_mode=policy.ApprovalMode.FULL_AUTO,
            verify_command="make test",
            budgets=policy.RetryBudgets(ci=1),
        ),
        enabled=False,
    )
    await store.repositories.upsert(given)
    assert await store.repositories.get(API) == given
    assert await store.repositories.list() == [given]


async def test_upsert_replaces_settings_and_keeps_the_first_date(store: engine.Store) -> None:
    await store.repositories.upsert(registration())
    changed = policy.RepositoryPolicy(max_in_flight=1)
    await store.repositories.upsert(registration(policy=changed, added_at=NOW + timedelta(days=1)))
    assert await store.repositories.list() == [registration(policy=changed)]


async def test_repository_is_found_whatever_the_case_of_its_name(store: engine.Store) -> None:
    """GitHub takes both spellings for one repository; two registrations would mean two runs of one issue."""
    await store.repositories.upsert(registration())
    await store.repositories.upsert(registration(ref=refs.Repository.parse("Acme/API")))
    assert len(await store.repositories.list()) == 1
    found = await store.repositories.get(API)
    assert found is not None
    assert str(found.ref) == "Acme/API"


async def test_settings_that_were_not_given_are_not_frozen(store: engine.Store) -> None:
    await store.repositories.upsert(registration(policy=policy.RepositoryPolicy(model="m")))
    async with store.database.reading() as connection:
        assert await connection.scalar(sa.select(schema.repositories.c.policy)) == '{"model":"m"}'


async def test_removed_repository_is_gone(store: engine.Store) -> None:
    await store.repositories.upsert(registration())
    assert await store.repositories.remove(API)
    assert not await store.repositories.remove(API)
    assert await store.repositories.get(API) is None


@pytest.mark.parametrize(
    ("stored", "facts"),
    [
        ('{"aproval_mode": "full-auto"}', ["'aproval_mode'", "did you mean 'approval_mode'?"]),
        ('{"budgets": {"cii": 1}}', ["'budgets.cii'", "did you mean 'ci'?"]),
        ('{"max_in_flight": 0}', ["'max_in_flight' is 0", "greater than or equal to 1"]),
        ('{"zzzzzzzz": 1}', ["'zzzzzzzz'", "allowed_authors", "verify_command"]),
        ("not json", ["'policy'", "Invalid JSON"]),
    ],
)
async def test_stored_policy_that_cannot_be_read_is_refused_by_key(
    store: engine.Store, stored: str, facts: list[str]
) -> None:
    await store.repositories.upsert(registration())
    await store_policy(store, stored)
    for read in (store.repositories.get(API), store.repositories.list()):
        with pytest.raises(errors.ConfigurationError) as refused:
            await read
        assert [fact for fact in ["acme/api", *facts] if fact not in str(refused.value)] == []
