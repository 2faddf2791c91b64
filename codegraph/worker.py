"""One process that reads blobs for another: requests come on standard input, encoded facts leave on standard output.

A grammar may hang inside its own code, where nothing of Python runs. So the clock is the kernel's: it ends this process
when one blob takes too long, and whoever asked sees the pipe close. The clock counts work, so a busy machine changes
nothing; another one counts time, for what waits.
"""

import gc
import importlib
import os
import resource
import signal
import struct
from collections.abc import Callable
from typing import IO, Final

from codegraph import facts

HEAD: Final = struct.Struct("<dII")
"""A request: seconds that it may take, then the counts of bytes of its language and of its contents, which follow."""
SIZE: Final = struct.Struct("<BI")
"""An answer: how it went, and the count of bytes that follow."""
PARSED: Final = 0
UNPARSED: Final = 1
FAILED: Final = 2
READY: Final = 3
Extract = Callable[[bytes, str, float], facts.Facts]

_IDLE_SECONDS: Final = 60.0
_MEMORY: Final = 3 << 30
_GARBAGE: Final = 100_000


def grace(seconds: float) -> float:
    """Seconds of work after which a process that was given `seconds` for a blob is ended."""
    return 2 * seconds + 1


def patience(seconds: float) -> float:
    """Seconds after which it is ended even if it did not work at all: waiting for something, or kept from running. Long
    enough for a machine that gives it an eighth of a processor: what a file says must not depend on others."""
    return 8 * grace(seconds)


def load(name: str) -> Extract:
    """The function that `module:name` means."""
    module, _, attribute = name.partition(":")
    found: Extract = getattr(importlib.import_module(module), attribute)
    return found


def answer(extract: Extract, data: bytes, language: str, seconds: float) -> tuple[int, bytes]:
    """How reading one blob went, and its encoded facts."""
    try:
        found = extract(data, language, seconds)
        return PARSED if found.parsed else UNPARSED, facts.encode(found)
    except Exception as error:  # one odd file is one file without facts, whatever it was that failed
        return FAILED, repr(error).encode("utf-8", "replace")


def main(name: str) -> None:
    """Answer until standard input ends; a minute without a request ends the process too.

    Args:
        name: The extractor, as `module:function`.
    """
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY if most == resource.RLIM_INFINITY else min(_MEMORY, most), most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for clock in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(clock, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked decides; its pipe closes then
    with os.fdopen(os.dup(0), "rb") as requests, os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a grammar prints must not be taken for an answer
        try:
            extract = load(name)
        except Exception as error:  # whoever asked must learn why there will be no facts
            _send(answers, FAILED, repr(error).encode("utf-8", "replace"))
            return
        _send(answers, READY, b"")
        gc.freeze()
        gc.set_threshold(_GARBAGE)  # reading makes very many objects, and hardly any that hold each other
        _serve(extract, requests, answers)


def _serve(extract: Extract, requests: IO[bytes], answers: IO[bytes]) -> None:
    while True:
        signal.setitimer(signal.ITIMER_REAL, _IDLE_SECONDS)
        head = requests.read(HEAD.size)
        if len(head) < HEAD.size:
            return
        seconds, language_size, size = HEAD.unpack(head)
        language, data = requests.read(language_size).decode(), requests.read(size)
        signal.setitimer(signal.ITIMER_REAL, patience(seconds))
        signal.setitimer(signal.ITIMER_PROF, grace(seconds))
        how, payload = answer(extract, data, language, seconds)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(answers, how, payload)


def _send(answers: IO[bytes], how: int, payload: bytes) -> None:
    answers.write(SIZE.pack(how, len(payload)) + payload)
    answers.flush()
