"""Reads many blobs in several processes; one that hangs or dies costs one blob, never the run.

Workers are started from any thread, wait for more work for a minute, and end with the process that started them.
"""

import atexit
import collections
import contextlib
import itertools
import os
import pathlib
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Final, NamedTuple

from codegraph import extract, facts, store, worker

EXTRACTOR: Final = "codegraph.extract:extract"
SECONDS: Final = 5.0

_AHEAD: Final = 50_000  # bytes that a pipe takes while the worker is still at the blob before
_MOST_AHEAD: Final = 7  # blobs
_SLACK: Final = 10.0
_START_SECONDS: Final = 60.0
_MOST_IDLE: Final = 4
_START: Final = "import sys; sys.path[:] = sys.argv[2:]; from codegraph import worker; worker.main(sys.argv[1])"

Task = tuple[store.Key, bytes]


class Error(Exception):
    """No worker can be started, so nothing can be read."""


class Result(NamedTuple):
    """What came of one blob.

    Attributes:
        key: What was asked.
        parsed: Whether a grammar read it; otherwise its words are all that is known.
        payload: Its facts, encoded.
    """

    key: store.Key
    parsed: bool
    payload: bytes


class _DiedError(Exception):
    """The worker is gone, or was ended because it did not answer."""


class _Worker:
    def __init__(self, extractor: str) -> None:
        self.extractor = extractor
        self._ready = False
        root = str(pathlib.Path(__file__).resolve().parents[1])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, extractor, root, *filter(os.path.isabs, sys.path)],
                env={"LC_ALL": "C.UTF-8"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise Error(
                f"no process can be started to read files ({error.strerror}): free some and try again"
            ) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._answers, select.POLLIN)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, data: bytes, language: str, seconds: float) -> None:
        name = language.encode()
        try:
            self._requests.write(worker.HEAD.pack(seconds, len(name), len(data)) + name + data)
            self._requests.flush()
        except OSError as error:
            raise _DiedError from error

    def receive(self, seconds: float) -> tuple[int, bytes]:
        if not self._ready:
            self._begin()
        return self._answer(worker.patience(seconds) + _SLACK)

    def cancel(self) -> None:
        """Let whoever waits for an answer see the end of it."""
        self._process.kill()

    def end(self) -> None:
        self._process.kill()
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()

    def _begin(self) -> None:
        try:
            how, said = self._answer(_START_SECONDS)
        except _DiedError:
            how, said = worker.FAILED, b"it ended at once"
        if how != worker.READY:
            reason = said.decode("utf-8", "replace")[:300]
            raise Error(f"a process that reads files with {self.extractor} did not start: {reason}")
        self._ready = True

    def _answer(self, seconds: float) -> tuple[int, bytes]:
        how, size = worker.SIZE.unpack(self._exactly(worker.SIZE.size, seconds))
        return how, self._exactly(size, _SLACK)

    def _exactly(self, size: int, seconds: float) -> bytes:
        pieces = []
        while size:
            piece = os.read(self._answers.fileno(), size) if self._poll.poll(1_000 * seconds) else b""
            if not piece:
                raise _DiedError
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def run(
    tasks: Iterable[Task], *, workers: int = 2, seconds: float = SECONDS, extractor: str = EXTRACTOR
) -> Generator[Result, None, None]:
    """What came of every task, in the order in which they are ready; each is answered exactly once.

    Args:
        tasks: Pulled as workers get free, by one thread at a time.
        workers: How many processes; 0 reads in this one, where nothing can end a grammar that hangs.
        seconds: What the extractor is given for one blob. A process that works for twice as long is ended, and its blob
            is one that could not be parsed.
        extractor: The function that reads, as `module:name`.

    Raises:
        Error: No worker can be started.
    """
    if workers <= 0:
        function = worker.load(extractor)
        for key, data in tasks:
            yield _result(key, data, *worker.answer(function, data, key.language, seconds))
        return
    yield from _Run(tasks, workers, seconds, extractor).results()


def warm(workers: int, extractor: str = EXTRACTOR) -> None:
    """Start workers that will surely be needed, while other things are still being found out."""
    with _idle_lock:
        lacking = range(min(workers, _MOST_IDLE) - len(_idle[extractor]))
    for _ in lacking:
        _give_back(_Worker(extractor))


def _result(key: store.Key, data: bytes, how: int, payload: bytes) -> Result:
    if how in (worker.PARSED, worker.UNPARSED):
        return Result(key, how == worker.PARSED, payload)
    return Result(key, False, facts.encode(extract.words_only(data, key.language)))


class _Run:
    """One call of `run`: a thread a worker, each with some blobs sent ahead, so that the worker never waits for us."""

    def __init__(self, tasks: Iterable[Task], workers: int, seconds: float, extractor: str) -> None:
        self._tasks = iter(tasks)
        self._pull = threading.Lock()
        self._seconds, self._extractor = seconds, extractor
        self._done: queue.SimpleQueue[Result | BaseException | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._hired: list[_Worker] = []
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]

    def results(self) -> Iterator[Result]:
        for thread in self._threads:
            thread.start()
        running = len(self._threads)
        try:
            while running:
                result = self._done.get()
                if result is None:
                    running -= 1
                elif isinstance(result, BaseException):
                    raise result
                else:
                    yield result
        finally:
            self._stop.set()
            if running:
                with self._pull:
                    for found in self._hired:
                        found.cancel()
            for thread in self._threads:
                thread.join()

    def _next(self) -> Task | None:
        with self._pull:
            return None if self._stop.is_set() else next(self._tasks, None)

    def _serve(self) -> None:
        serving: _Worker | None = None
        ready: collections.deque[Task] = collections.deque()
        sent: collections.deque[Task] = collections.deque()
        tried: set[store.Key] = set()
        try:
            while not self._stop.is_set():
                self._refill(ready)
                if not ready and not sent:
                    break
                serving = serving or self._hire(fresh=bool(tried))
                began = time.monotonic()
                try:
                    self._send(serving, ready, sent)
                    answer = serving.receive(self._seconds)
                except _DiedError:
                    serving.end()
                    serving, answer = None, (worker.FAILED, b"")
                    ready.extendleft(reversed(sent))
                    sent.clear()
                    first = ready[0][0]
                    if first not in tried and time.monotonic() - began < self._seconds:
                        tried.add(first)  # perhaps it was an idle worker at the end of its minute; the next one is new
                        continue
                    sent.append(ready.popleft())
                key, data = sent.popleft()
                self._done.put(_result(key, data, *answer))
            if serving is not None and not sent:
                with self._pull:
                    self._hired.remove(serving)
                _give_back(serving)
                serving = None
        except BaseException as error:  # whatever it was, the thread that waits for results must hear of it
            self._done.put(error)
        finally:
            if serving is not None:
                serving.end()
            self._done.put(None)

    def _refill(self, ready: "collections.deque[Task]") -> None:
        if not ready and (task := self._next()) is not None:
            ready.append(task)

    def _send(self, serving: _Worker, ready: "collections.deque[Task]", sent: "collections.deque[Task]") -> None:
        """Send one blob, and more ahead if the pipe surely takes them while the worker is busy."""
        ahead = sum(len(data) for _, data in itertools.islice(sent, 1, None))
        while ready and (not sent or (len(sent) <= _MOST_AHEAD and ahead + len(ready[0][1]) < _AHEAD)):
            ahead += len(ready[0][1]) if sent else 0
            sent.append(ready.popleft())
            key, data = sent[-1]
            serving.send(data, key.language, self._seconds)
            self._refill(ready)

    def _hire(self, *, fresh: bool) -> _Worker:
        found = _Worker(self._extractor) if fresh else _take(self._extractor)
        with self._pull:
            self._hired.append(found)
            if self._stop.is_set():  # the others were told before this one was among them
                found.cancel()
        return found


_idle: dict[str, list[_Worker]] = collections.defaultdict(list)
_idle_lock = threading.Lock()


def _take(extractor: str) -> _Worker:
    with _idle_lock:
        while _idle[extractor]:
            found = _idle[extractor].pop()
            if found.alive:
                return found
            found.end()
    return _Worker(extractor)


def _give_back(found: _Worker) -> None:
    with _idle_lock:
        if len(_idle[found.extractor]) < _MOST_IDLE:
            _idle[found.extractor].append(found)
            return
    found.end()


def _forget_idle() -> None:
    """A forked process must not talk to the workers of its parent."""
    _idle.clear()


@atexit.register
def _end_idle() -> None:
    with _idle_lock:
        for found in [each for group in _idle.values() for each in group]:
            found.end()
        _idle.clear()


os.register_at_fork(after_in_child=_forget_idle)
