"""A scripted model on loopback: it plays replies over a provider's wire protocol and records every request.

A protocol is one module (`servers_*.py`) with a `Wire`; the server below knows HTTP and the script, nothing else. A
conversation is told apart by a marker in its prompt, which every later request of it repeats. A request that the script
does not foresee is answered with an error and recorded in `unforeseen`: each test asserts that it is empty.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

_LONGEST_BODY = 64 * 1024 * 1024
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Call:
    """The model asks for a tool."""

    tool: str
    input: Mapping[str, Any]
    id: str = field(default_factory=lambda: f"call_{next(_numbers):06d}")


@dataclass(frozen=True)
class Reply:
    """One answer of the model."""

    parts: tuple[Text | Call, ...]
    input_tokens: int = 100
    output_tokens: int = 20

    @property
    def calls(self) -> bool:
        return any(isinstance(part, Call) for part in self.parts)


@dataclass(frozen=True)
class Failure:
    """The provider refuses, in its own format."""

    status: int
    kind: str
    message: str = "scripted failure"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stall:
    """The stream opens and then nothing comes, until the client goes away."""


@dataclass(frozen=True)
class Cut:
    """The stream of `reply` ends after its first events, in the middle."""

    reply: Reply
    events: int = 2


Step = Reply | Failure | Stall | Cut


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Mapping[str, Any]

    @property
    def text(self) -> str:
        return json.dumps(self.body, ensure_ascii=False)


class Wire(Protocol):
    """One provider's protocol."""

    def is_turn(self, request: Request) -> bool:
        """Whether a model is asked to go on with a conversation; everything else gets `side`."""
        ...

    def side(self, request: Request) -> tuple[int, bytes]:
        """Status and JSON for a request that is no turn: a probe, a title, a count."""
        ...

    def events(self, request: Request, reply: Reply) -> Sequence[bytes]:
        """The stream of a reply, one server-sent event an entry."""
        ...

    def failure(self, failure: Failure) -> bytes:
        """The JSON body of a refusal."""
        ...


def say(text: str) -> Reply:
    return Reply((Text(text),))


def call(tool: str, /, **arguments: Any) -> Reply:
    return Reply((Call(tool, arguments),))


class ModelServer:
    """Use `serving`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._scripts: dict[str, list[Step]] = {}
        self._changed = asyncio.Condition()
        self._clients: set[asyncio.Task[None]] = set()
        self.url = ""
        self.requests: list[Request] = []
        """Requests for an answer of the model, in order, retries included."""
        self.side: list[Request] = []
        self.unforeseen: list[str] = []

    def script(self, *steps: Step, marker: str = "") -> None:
        """What the model does in the conversation whose text has `marker`; appended to what it was told before."""
        self._scripts.setdefault(marker, []).extend(steps)

    def left(self) -> int:
        """Steps that nobody asked for."""
        return sum(len(steps) for steps in self._scripts.values())

    async def asked(self, count: int) -> None:
        """Wait until the model was asked `count` times."""
        async with self._changed, asyncio.timeout(30):
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(await _read(reader), reader, writer)
        except asyncio.CancelledError:
            pass  # the server closes; asyncio would print a task that ended by its cancellation
        finally:
            self._clients.discard(task)
            writer.close()

    async def close(self) -> None:
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._wire.is_turn(request):
            self.side.append(request)
            status, body = self._wire.side(request)
            await _whole(writer, status, body, {})
            return
        step = self._next(request)
        async with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        match step:
            case Failure():
                await _whole(writer, step.status, self._wire.failure(step), step.headers)
            case Stall():
                await _open_stream(writer)
                await reader.read()  # until the client hangs up
            case Cut():
                await _open_stream(writer)
                for event in self._wire.events(request, step.reply)[: step.events]:
                    await _chunk(writer, event)
            case Reply():
                await _open_stream(writer)
                for event in self._wire.events(request, step):
                    await _chunk(writer, event)
                await _chunk(writer, b"")

    def _next(self, request: Request) -> Step:
        text = request.text
        marker = next((each for each in self._scripts if each and each in text), "")
        steps = self._scripts.get(marker, [])
        if steps and request.body.get("stream") is not False:  # a fall-back after a stream that it did not like
            return steps.pop(0)
        self.unforeseen.append(f"{request.method} {request.path} in '{marker}': {text[-300:]}")
        return Failure(400, "invalid_request_error", "the script of this test has no more replies")


@asynccontextmanager
async def serving(wire: Wire) -> AsyncIterator[ModelServer]:
    """A server on a free port, ended with the context; a client that still waits is cut off."""
    model = ModelServer(wire)
    server = await asyncio.start_server(model.accept, "127.0.0.1", 0, limit=1024 * 1024)
    model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield model
    finally:
        server.close()
        await model.close()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        raw = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            raw += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        length = int(headers.get("content-length", "0"))
        assert length <= _LONGEST_BODY
        raw = await reader.readexactly(length)
    try:
        body = json.loads(raw) if raw else {}
    except ValueError:
        body = {}
    return Request(method, path, headers, body if isinstance(body, dict) else {})


async def _whole(writer: asyncio.StreamWriter, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} Scripted", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "connection: close", "", ""]).encode() + body)
    await writer.drain()


async def _open_stream(writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    )
    await writer.drain()


async def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    await writer.drain()
