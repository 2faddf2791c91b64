"""The store: what was written or nothing, whatever became of the file."""

import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import random
import sqlite3
import subprocess
import sys

import pytest

from codegraph import answers, facts, graph, objects, skips, store
from tests.codegraph import shop


def _facts(number: int) -> facts.Facts:
    return facts.Facts("python", lines=number, chunks=({f"word_{number}_{n}": n for n in range(1, 40)},))


def _rows(count: int, start: int = 0) -> dict[store.Key, store.Row]:
    return {
        store.Key(f"{n:040x}", "python"): store.Row("", True, facts.encode(_facts(n)))
        for n in range(start, start + count)
    }


def _right(found: dict[store.Key, facts.Facts]) -> bool:
    return all(each == _facts(int(key.blob, 16)) for key, each in found.items())


def _filled(folder: pathlib.Path, count: int = 500) -> pathlib.Path:
    with store.Store(folder) as kept:
        kept.add(_rows(count))
        kept.add_commits({f"{n:040x}": b"c%d" % n for n in range(count)}, 1)
    return folder / "codegraph.sqlite"


def test_what_was_written_is_read_by_the_next(tmp_path: pathlib.Path) -> None:
    _filled(tmp_path)
    rows = _rows(1_000)
    with store.Store(tmp_path) as kept:
        found = kept.facts(rows)
        assert len(found) == len(kept.known(rows)) == 500
        assert _right(found)
        assert kept.commits([f"{n:040x}" for n in range(1_000)], 1)[f"{499:040x}"] == b"c499"
        assert not kept.volatile


def test_a_store_is_empty_until_something_is_kept(tmp_path: pathlib.Path) -> None:
    with store.Store(tmp_path) as kept:
        assert kept.empty
        kept.add(_rows(1))
        assert not kept.empty


def test_the_same_bytes_in_two_languages_are_two_things() -> None:
    keys = [store.Key("1" * 40, "c"), store.Key("1" * 40, "cpp")]
    kept = store.Store(None)
    kept.add({key: store.Row("", True, facts.encode(facts.Facts(key.language))) for key in keys})
    assert {key: each.language for key, each in kept.facts(keys).items()} == {keys[0]: "c", keys[1]: "cpp"}
    assert kept.facts([store.Key("1" * 40, "go")]) == {}


def test_a_skipped_blob_is_known_and_has_no_facts() -> None:
    kept, key = store.Store(None), store.Key("1" * 40, "go")
    kept.add({key: store.Row("generated", False, b"")})
    assert kept.known([key]) == {key: store.Row("generated", False, b"")}
    assert kept.facts([key]) == {}
    assert kept.known([key]), "it was forgotten by being read"


@pytest.mark.parametrize(("module", "name"), [(facts, "EXTRACTOR"), (skips, "RULES")])
def test_facts_of_other_rules_are_not_there_and_are_replaced(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    rows = _rows(3)
    _filled(tmp_path, 3)
    monkeypatch.setattr(module, name, getattr(module, name) + 1)
    with store.Store(tmp_path) as kept:
        assert kept.known(rows) == {}
        assert kept.facts(rows) == {}
        kept.add(rows)
        assert len(kept.facts(rows)) == 3
    with sqlite3.connect(tmp_path / "codegraph.sqlite") as db:
        assert db.execute("SELECT count(*) FROM facts").fetchone() == (3,)
    db.close()


def test_commits_of_another_version_are_not_there(tmp_path: pathlib.Path) -> None:
    _filled(tmp_path, 3)
    with store.Store(tmp_path) as kept:
        assert kept.commits([f"{1:040x}"], 2) == {}


def _damage(file: pathlib.Path, how: str) -> None:
    data = bytearray(file.read_bytes())
    chance = random.Random(how)
    if how == "half":
        data = data[: len(data) // 2]
    elif how == "odd length":
        data = data[:5_000]
    elif how == "empty":
        data = bytearray()
    elif how == "garbage":
        data = bytearray(chance.randbytes(len(data)))
    elif how == "garbage after the header":
        data[4_096:] = chance.randbytes(len(data) - 4_096)
    elif how == "zeros":
        data[8_192:] = bytes(len(data) - 8_192)
    elif how == "another program":
        data = bytearray(b"PK\x03\x04 something else")
    elif how == "tables gone":
        db = sqlite3.connect(file)
        db.execute("DROP TABLE facts")
        db.close()
        return
    elif how == "another layout":
        db = sqlite3.connect(file)
        db.execute("PRAGMA user_version = 99")
        db.close()
        return
    file.write_bytes(data)


@pytest.mark.parametrize(
    "how",
    ["half", "odd length", "empty", "garbage", "garbage after the header", "zeros", "another program", "tables gone",
     "another layout"],
)  # fmt: skip
def test_a_damaged_file_is_rebuilt(tmp_path: pathlib.Path, how: str) -> None:
    file = _filled(tmp_path)
    _damage(file, how)
    rows = _rows(500)
    with store.Store(tmp_path) as kept:
        assert _right(kept.facts(rows))
        kept.known(rows)
        kept.commits([key.blob for key in rows], 1)
        kept.add(rows)
        assert len(kept.facts(rows)) == 500
        assert not kept.volatile
    with store.Store(tmp_path) as kept:
        found = kept.facts(rows)
        assert len(found) == 500
        assert _right(found)


@pytest.mark.parametrize("seed", range(15))
def test_flipped_bytes_never_give_wrong_facts(tmp_path: pathlib.Path, seed: int) -> None:
    """A page may hold another page, a row another row: what is given is what was written, or nothing."""
    file = _filled(tmp_path, 120)
    data = bytearray(file.read_bytes())
    chance = random.Random(seed)
    pages = len(data) // 4_096
    for _ in range(chance.randrange(1, 12)):
        at = chance.randrange(100, len(data))
        data[at : at + 8] = chance.randbytes(8)
    one, two = (4_096 * chance.randrange(1, pages) for _ in range(2))
    data[one : one + 4_096] = data[two : two + 4_096]
    file.write_bytes(data)
    rows = _rows(120)
    with store.Store(tmp_path) as kept:
        assert all(row == rows[key]._replace(payload=b"") for key, row in kept.known(rows).items())
        assert _right(kept.facts(rows))
        assert all(data == b"c%d" % int(sha, 16) for sha, data in kept.commits([k.blob for k in rows], 1).items())
        found = kept.facts(rows)
        kept.add({key: row for key, row in rows.items() if key not in found})
        assert _right(kept.facts(rows))


def test_a_row_whose_facts_are_damaged_is_forgotten(tmp_path: pathlib.Path) -> None:
    """Were it still known, nobody would ever read that blob again."""
    file = _filled(tmp_path, 2)
    db = sqlite3.connect(file)
    db.execute("UPDATE facts SET payload = x'00' WHERE id = 1")
    db.commit()
    db.close()
    rows = _rows(2)
    with store.Store(tmp_path) as kept:
        assert len(kept.facts(rows)) == 1
        assert len(kept.known(rows)) == 1


def test_a_damaged_file_that_others_hold_is_left_to_them(tmp_path: pathlib.Path) -> None:
    file = _filled(tmp_path)
    rows = _rows(10)
    with store.Store(tmp_path) as first:
        data = file.read_bytes()
        file.write_bytes(b"\0" * 50_000)
        with store.Store(tmp_path) as second:
            assert second.volatile
            second.add(rows)
            assert len(second.facts(rows)) == 10
        assert file.stat().st_size == 50_000
        file.write_bytes(data)
        assert len(first.facts(rows)) == 10
    with store.Store(tmp_path) as third:
        assert not third.volatile


@pytest.mark.parametrize("how", ["half", "garbage after the header", "empty"])
def test_a_file_that_is_damaged_under_its_reader_is_rebuilt(tmp_path: pathlib.Path, how: str) -> None:
    file = _filled(tmp_path)
    rows = _rows(500)
    with store.Store(tmp_path) as kept:
        _damage(file, how)
        assert _right(kept.facts(rows))
        kept.add(rows)
        found = kept.facts(rows)
        kept.add({key: row for key, row in rows.items() if key not in found})
        assert len(kept.facts(rows)) == 500


def test_a_place_that_cannot_be_used_is_worked_around(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder/codegraph.sqlite").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "file/below", tmp_path / "folder"):
        with store.Store(folder) as kept:
            kept.add(_rows(3))
            assert kept.volatile
            assert len(kept.facts(_rows(3))) == 3
    assert (tmp_path / "folder/codegraph.sqlite").is_dir()


def test_a_pipe_in_the_place_of_the_lock_keeps_nobody_waiting(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with store.Store(tmp_path) as kept:
        kept.add(_rows(3))
        assert len(kept.facts(_rows(3))) == 3


def test_a_file_that_grows_too_large_loses_its_older_half(tmp_path: pathlib.Path) -> None:
    with store.Store(tmp_path, limit=400_000) as kept:
        for start in range(0, 3_000, 200):
            kept.add(_rows(200, start))
        assert len(kept.facts(_rows(200, 2_800))) == 200
        assert len(kept.facts(_rows(3_000))) < 2_000
    assert (tmp_path / "codegraph.sqlite").stat().st_size < 900_000


def _write_many(folder: pathlib.Path, start: int) -> bool:
    with store.Store(folder) as kept:
        for first in range(start, start + 1_000, 50):
            kept.add(_rows(50, first))
        found = kept.facts(_rows(1_000, start))
        return len(found) == 1_000 and _right(found) and not kept.volatile


def test_two_processes_write_at_once(tmp_path: pathlib.Path) -> None:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as processes:
        assert all(processes.map(_write_many, [tmp_path, tmp_path], [0, 500]))
    with store.Store(tmp_path) as kept:
        assert len(kept.facts(_rows(1_500))) == 1_500


def test_two_processes_find_a_damaged_file_at_once(tmp_path: pathlib.Path) -> None:
    _damage(_filled(tmp_path), "half")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as processes:
        list(processes.map(_write_many, [tmp_path, tmp_path], [0, 500]))
    with store.Store(tmp_path) as kept:
        assert not kept.volatile
        assert _right(kept.facts(_rows(1_500)))


def test_threads_share_one_store(tmp_path: pathlib.Path) -> None:
    with store.Store(tmp_path) as kept, concurrent.futures.ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda start: kept.add(_rows(50, start)), range(0, 1_000, 50)))
        assert all(threads.map(lambda start: _right(kept.facts(_rows(100, start))), range(0, 900, 50)))
        assert len(kept.facts(_rows(1_000))) == 1_000


def test_the_file_lies_in_the_git_directory_and_names_no_place(tmp_path: pathlib.Path) -> None:
    with store.Store.of(tmp_path) as kept:
        kept.add(_rows(20))
    file = tmp_path / "fettle/codegraph.sqlite"
    assert os.fsencode(tmp_path) not in file.read_bytes()
    assert os.fsencode(tmp_path.name) not in file.read_bytes()


_READ_ONLY = """
import ctypes, json, pathlib, sys
from codegraph import answers, graph, objects, store
libc = ctypes.CDLL(None, use_errno=True)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
none = (ctypes.c_uint32 * 6)()  # no capability at all: without them the modes of files hold for the superuser too
if libc.capset(header, none):
    sys.exit(f"capset: {ctypes.get_errno()}")
at, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
try:
    (folder if folder.exists() else folder.parent).joinpath("probe").touch()
except PermissionError:
    pass
else:
    sys.exit("the folder can be written")
kept = store.Store(folder)
held = graph.Graph(objects.Repository(at), kept, workers=2)
held.at("main")
kept.close()
print(json.dumps([kept.volatile, answers.stats(held), answers.locate(held, "Send the invoice by mail")]))
"""


@pytest.mark.parametrize("before", ["filled", "empty", "absent"])
def test_a_store_in_a_folder_that_cannot_be_written_changes_no_answer(tmp_path: pathlib.Path, before: str) -> None:
    at, holder = tmp_path / "shop.git", tmp_path / "holder"
    shop.build(at)
    folder = holder / "kept"
    holder.mkdir()
    if before != "absent":
        folder.mkdir()
    fresh = graph.Graph(objects.Repository(at), store.Store(folder if before == "filled" else None), workers=0)
    fresh.at("main")
    names = sorted(path.name for path in holder.rglob("*"))
    for place in (*holder.rglob("*"), holder):
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        command = [sys.executable, "-c", _READ_ONLY, str(at), str(folder)]
        root = pathlib.Path(__file__).parents[2]
        ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=50)
        assert (ended.returncode, ended.stderr) == (0, "")
        volatile, *found = json.loads(ended.stdout)
        assert volatile
        assert found == json.loads(
            json.dumps([answers.stats(fresh), answers.locate(fresh, "Send the invoice by mail")])
        )
        assert sorted(path.name for path in holder.rglob("*")) == names
    finally:
        for place in (holder, *holder.rglob("*")):
            place.chmod(0o755)
