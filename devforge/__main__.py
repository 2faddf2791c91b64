"""`python -m devforge --state DIR --port P`: run the forge until SIGTERM."""

import argparse
import asyncio
import contextlib
import errno
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from devforge import app, errors, git_http, state

EXIT_FAILED = 1
EXIT_PORT_IN_USE = 3


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; the admin token may come from DEVFORGE_ADMIN_TOKEN, which no process list shows."""
    parser = argparse.ArgumentParser(prog="python -m devforge", description="Run a small GitHub-compatible forge.")
    parser.add_argument("--state", type=Path, required=True, help="directory that holds everything; created if missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=3300, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--url", help="address that links show (default: http://HOST:PORT)")
    parser.add_argument("--admin-token", help="default: DEVFORGE_ADMIN_TOKEN, else STATE/admin-token, made if missing")
    parser.add_argument("--ci-slots", type=int, default=2, help="CI commands at once (default: %(default)s)")
    parser.add_argument("--rate-limit", type=int, default=state.RATE_LIMIT, help="an hour (default: %(default)s)")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= (port := int(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: name one from 1 to 65535, or 0 for a free one")
    return port


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        StartupFailed: the port is in use or the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off: otherwise each answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as problem:
        listener.close()
        if problem.errno == errno.EADDRINUSE:
            raise errors.StartupFailed(
                f"Port {port} on {host} is in use by another process: stop it, or choose another with --port."
            ) from problem
        raise errors.StartupFailed(f"Cannot listen on {host} port {port}: {problem.strerror}.") from problem
    return listener


class _Server(uvicorn.Server):
    """A server that says on standard output where it listens, as soon as it does."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT, and exit with 0: uvicorn itself would end by the signal once more."""
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self.handle_exit, sign, None)
        try:
            yield
        finally:
            for sign in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(sign)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(json.dumps({"url": self._url, "pid": os.getpid()}) + "\n")
            sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code is 0, 3 when the port is in use, 1 when it cannot start."""
    options = parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        listener = listen(options.host, options.port)
    except errors.StartupFailed as problem:
        sys.stderr.write(f"{problem}\n")
        return EXIT_PORT_IN_USE
    shown = f"[{options.host}]" if ":" in options.host else options.host
    url = options.url or f"http://{shown}:{listener.getsockname()[1]}"
    token = options.admin_token or os.environ.pop("DEVFORGE_ADMIN_TOKEN", None)

    async def serve() -> bool:
        forge = state.Forge(options.state.resolve(), url, token, options.ci_slots, options.rate_limit)
        config = uvicorn.Config(
            app.create_app(forge), log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=3
        )
        server = _Server(config, url)
        await server.serve(sockets=[listener])
        return server.started

    try:
        git_http.backend()
        return 0 if asyncio.run(serve()) else EXIT_FAILED
    except errors.StartupFailed as problem:
        sys.stderr.write(f"{problem}\n")
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
