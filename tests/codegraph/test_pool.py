"""The worker pool: every blob is answered once, whatever a grammar does."""

import concurrent.futures
import itertools
import multiprocessing
import os
import pathlib
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from codegraph import facts, pool, store

_ODD = "tests.codegraph.extractors:odd"
_PLAIN = "tests.codegraph.extractors:plain"
_SLOW = "tests.codegraph.extractors:slow"


def _tasks(*blobs: bytes) -> list[pool.Task]:
    return [(store.Key(f"{place:040x}", "python"), data) for place, data in enumerate(blobs)]


def _read(
    tasks: list[pool.Task], extractor: str, *, workers: int = 2, seconds: float = 5.0
) -> dict[bytes, facts.Facts]:
    data = dict(tasks)
    found: dict[bytes, facts.Facts] = {}
    for result in pool.run(tasks, workers=workers, seconds=seconds, extractor=extractor):
        assert data[result.key] not in found, "answered twice"
        found[data[result.key]] = facts.decode(result.payload)
        assert found[data[result.key]].parsed == result.parsed
    return found


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_every_blob_is_answered_once_by_any_number_of_workers(workers: int) -> None:
    blobs = [b"def f%d(): pass\n" % n for n in range(60)]
    found = _read(_tasks(*blobs), pool.EXTRACTOR, workers=workers)
    assert [found[data].definitions[0].name for data in blobs] == [f"f{n}" for n in range(60)]


def test_blobs_larger_than_a_pipe_are_answered() -> None:
    blobs = [b"%d" % n * size for n, size in enumerate([10, 70_000, 200_000, 900_000, 5, 65_536, 300_000] * 3, 10)]
    found = _read(_tasks(*blobs), _PLAIN)
    assert all(found[data].package == data.decode() for data in blobs)


@pytest.mark.parametrize("bad", [b"# spin", b"# wait"])
def test_a_grammar_that_hangs_costs_its_own_blob_only(bad: bytes) -> None:
    """One works for ever, as a faulty scanner does; one waits for ever. The kernel ends both."""
    good = [b"def f%d(): pass\n" % n for n in range(20)]
    blobs = [*good[:3], bad + b" some_word", *good[3:]]
    found = _read(_tasks(*blobs), _ODD, seconds=0.1)
    assert found.keys() == set(blobs)
    assert not found[blobs[3]].parsed
    assert found[blobs[3]].chunks[0]["some_word"] == 1
    assert all(found[data].parsed and found[data].definitions for data in good)


@pytest.mark.parametrize("bad", [b"# die", b"# raise", b"# grow"])
def test_a_blob_that_ends_its_worker_is_known_by_its_words(bad: bytes) -> None:
    good = [b"def f%d(): pass\n" % n for n in range(10)]
    found = _read(_tasks(bad + b" 1 some_word", *good, bad + b" 2 some_word"), _ODD)
    assert [found[data].parsed for data in found if data.startswith(bad)] == [False, False]
    assert all("some_word" in each.chunks[0] for data, each in found.items() if data.startswith(bad))
    assert all(found[data].parsed for data in good)


def test_what_a_grammar_prints_is_no_answer() -> None:
    found = _read(_tasks(b"# print\ndef f(): pass\n", b"def g(): pass\n"), _ODD, workers=1)
    assert [each.definitions[0].name for each in found.values()] == ["f", "g"]


def test_an_extractor_that_cannot_be_loaded_is_an_error_that_names_it() -> None:
    with pytest.raises(pool.Error, match=r"absent:extract.*ModuleNotFoundError"):
        _read(_tasks(b"1", b"2"), "absent:extract")


def test_an_error_of_the_tasks_reaches_the_caller() -> None:
    def tasks() -> Iterator[pool.Task]:
        yield from _tasks(b"1", b"2")
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(pool.run(tasks(), extractor=_PLAIN))


def test_who_leaves_early_does_not_wait_for_the_rest() -> None:
    results = pool.run(_tasks(b"1", b"# wait", b"# wait 2"), seconds=60.0, extractor=_ODD)
    began = time.monotonic()
    assert next(results).key.blob == "0" * 40
    results.close()
    assert time.monotonic() - began < 20
    assert not [thread for thread in threading.enumerate() if "_serve" in thread.name]


def test_a_worker_that_is_hired_while_everybody_leaves_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process takes a while to start: the others may have been told to stop by then."""
    left, hired, take, cancel = threading.Event(), itertools.count(), pool._take, pool._Worker.cancel

    def late(extractor: str) -> pool._Worker:
        assert not next(hired) or left.wait(20)
        return take(extractor)

    def told(worker: pool._Worker) -> None:
        left.set()
        cancel(worker)

    monkeypatch.setattr(pool, "_take", late)
    monkeypatch.setattr(pool._Worker, "cancel", told)
    blobs = [b"1", b"2", *(b"# wait %d" % n for n in range(20))]
    results = pool.run(_tasks(*blobs), seconds=60.0, extractor=_ODD)
    next(results)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 20


def test_tasks_are_pulled_as_they_are_needed() -> None:
    """A repository must not be held in memory because its blobs are read faster than they are parsed."""
    pulled = itertools.count()

    def tasks() -> Iterator[pool.Task]:
        for task in _tasks(*(b"%d" % n for n in range(1_000))):
            next(pulled)
            yield task

    results = pool.run(tasks(), extractor=_SLOW)
    next(results)
    results.close()
    # Nine for each worker, and one more in each tenth of a second in which a busy machine does not let us leave.
    assert next(pulled) < 200


def test_runs_of_many_threads_do_not_mix() -> None:
    def one(number: int) -> bool:
        blobs = [b"%d/%d" % (number, n) for n in range(30)]
        found = _read(_tasks(*blobs), _PLAIN)
        return all(found[data].package == data.decode() for data in blobs)

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        assert all(threads.map(one, range(12)))


def test_a_worker_is_used_again() -> None:
    pids = []
    for _ in range(2):
        assert _read(_tasks(b"1"), "tests.codegraph.extractors:plain", workers=1)
        pids.append([found._process.pid for found in pool._idle[_PLAIN]])
    assert pids[0] == pids[1] != []


def test_an_idle_worker_that_ended_is_replaced_unseen() -> None:
    blobs = [b"def f%d(): pass\n" % n for n in range(4)]
    _read(_tasks(*blobs), pool.EXTRACTOR)
    for found in pool._idle[pool.EXTRACTOR]:
        os.kill(found._process.pid, signal.SIGALRM)
    assert all(each.parsed for each in _read(_tasks(*blobs), pool.EXTRACTOR).values())


def _forked(pipe: "multiprocessing.connection.Connection") -> None:
    blobs = [b"child %d" % n for n in range(20)]
    found = _read(_tasks(*blobs), _PLAIN)
    pipe.send(all(found[data].package == data.decode() for data in blobs))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # the fork is what is tested
def test_a_forked_process_has_workers_of_its_own() -> None:
    _read(_tasks(b"1"), _PLAIN)
    held = [found._process.pid for found in pool._idle[_PLAIN]]
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_forked, args=(theirs,))
    child.start()
    assert ours.poll(30)
    assert ours.recv()
    child.join()
    assert [found._process.pid for found in pool._idle[_PLAIN]] == held
    assert _read(_tasks(b"mine"), _PLAIN)[b"mine"].package == "mine"


def test_a_worker_that_hangs_outlives_nobody(tmp_path: pathlib.Path) -> None:
    """Whoever asked was ended in a way that let it clean up nothing; the grammar would go on for ever."""
    noted = tmp_path / "pid"
    child = multiprocessing.get_context("spawn").Process(target=_hang, args=(noted,))
    child.start()
    deadline = time.monotonic() + 30
    while not (noted.exists() and noted.read_text()) and time.monotonic() < deadline:
        child.join(0.05)
    worker = int(noted.read_text())
    child.kill()
    child.join()
    assert _runs(worker)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and _runs(worker):
        threading.Event().wait(0.05)
    assert not _runs(worker)


def _hang(noted: pathlib.Path) -> None:
    list(pool.run(_tasks(b"# spin " + os.fsencode(noted)), workers=1, seconds=0.5, extractor=_ODD))


def _runs(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
