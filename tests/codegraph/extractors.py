"""Extractors that misbehave, for workers to run in place of the real one."""

import os
import pathlib
import signal
import sys
import time

from codegraph import extract, facts


def plain(data: bytes, language: str, seconds: float) -> facts.Facts:
    """The bytes as the package, so that an answer shows what was asked."""
    del seconds
    return facts.Facts(language, package=data.decode("utf-8", "replace"))


def odd(data: bytes, language: str, seconds: float) -> facts.Facts:
    """As the bytes say: works for ever, waits for ever, dies, raises, prints, grows, or reads as usual."""
    if data.startswith(b"# spin"):
        if data.startswith(b"# spin /"):
            pathlib.Path(os.fsdecode(data[7:])).write_text(str(os.getpid()))
        while True:
            pass
    if data.startswith(b"# wait"):
        time.sleep(3_600)
    if data.startswith(b"# die"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if data.startswith(b"# raise"):
        raise RuntimeError("an odd file")
    if data.startswith(b"# print"):
        os.write(1, b"x" * 100)
        sys.stdout.write("y" * 100)
    if data.startswith(b"# grow"):
        return plain(b"x" * (8 << 30), language, seconds)
    return extract.extract(data, language, seconds)


def slow(data: bytes, language: str, seconds: float) -> facts.Facts:
    """A tenth of a second for each blob."""
    time.sleep(0.1)
    return plain(data, language, seconds)
