import hashlib
from pathlib import Path

import pytest

from activities import artifact_store


@pytest.fixture
def store(tmp_path: Path) -> artifact_store.DirectoryStore:
    return artifact_store.DirectoryStore(tmp_path / "artifacts")


async def test_what_is_put_is_read_and_described(store: artifact_store.DirectoryStore) -> None:
    ref = await store.put("runs/issue/acme/api/7/diff.patch", b"+x\n", "one line")
    assert (ref.size, ref.sha256, ref.summary) == (3, hashlib.sha256(b"+x\n").hexdigest(), "one line")
    assert await store.read(ref.key) == b"+x\n"
    assert await store.read(ref.key, offset=1, most=1) == b"x"


async def test_a_second_put_replaces_the_first_whole(store: artifact_store.DirectoryStore) -> None:
    await store.put("a/b", b"long content")
    await store.put("a/b", b"new")
    assert await store.read("a/b") == b"new"
    assert store.keys("a") == ["a/b"]


async def test_a_log_is_readable_while_it_is_written_and_goes_on_after_a_restart(
    store: artifact_store.DirectoryStore,
) -> None:
    first = store.append_to("runs/r/turn-1.jsonl")
    first.write(b"one\n")
    assert await store.read("runs/r/turn-1.jsonl") == b"one\n"
    await first.close()
    second = store.append_to("runs/r/turn-1.jsonl")
    assert second.offset == 4
    second.write(b"two\n")
    ref = await second.close("turn 1")
    assert (await second.close("turn 1")) == ref
    assert await store.read(ref.key) == b"one\ntwo\n"
    assert (ref.size, ref.sha256) == (8, hashlib.sha256(b"one\ntwo\n").hexdigest())
    assert await store.read(ref.key, offset=100) == b""


async def test_files_are_for_the_workers_user_alone(store: artifact_store.DirectoryStore) -> None:
    await store.put("a/put", b"")
    await store.append_to("a/log").close()
    assert [(store.root / key).stat().st_mode & 0o077 for key in ("a/put", "a/log")] == [0, 0]


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "a/../../b", "a//b", ".", "..", "a/..", "a\x00b", "a b", "a\n", "~/x"]
)
async def test_a_key_that_is_no_plain_path_is_refused(store: artifact_store.DirectoryStore, key: str) -> None:
    with pytest.raises(ValueError, match="is no artifact key"):
        await store.put(key, b"")


async def test_a_link_does_not_lead_out_of_the_store(store: artifact_store.DirectoryStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    await store.put("a/b", b"")
    (store.root / "link").symlink_to(outside)
    with pytest.raises(ValueError, match="leads out of the artifact store"):
        await store.put("link/x", b"secret")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("run", ["issue/acme/api/7", "incident/sentry/a b:c", "../../etc", "x//y", "é"])
async def test_every_run_has_a_key(store: artifact_store.DirectoryStore, run: str) -> None:
    key = artifact_store.run_key(run, "turn-1.jsonl")
    await store.put(key, b"fine")
    assert key.startswith("runs/")
    assert await store.read(key) == b"fine"
