"""The Messages protocol, as Claude Code speaks it. A tool's input must arrive as `input_json_delta`: the CLI ignores it
anywhere else; a reply that lacks a start or an `event:` line makes it ask again with `stream: false`, unseen."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

from tests.agents import model_server

_numbers = itertools.count(1)


class Messages:
    def is_turn(self, request: model_server.Request) -> bool:
        return request.method == "POST" and request.path.startswith("/v1/messages?") and bool(request.body.get("tools"))

    def side(self, request: model_server.Request) -> tuple[int, bytes]:
        if request.method == "HEAD":
            return 200, b""
        return 404, json.dumps({"type": "error", "error": {"type": "not_found_error", "message": "scripted"}}).encode()

    def events(self, request: model_server.Request, reply: model_server.Reply) -> Sequence[bytes]:
        usage = {"input_tokens": reply.input_tokens, "output_tokens": 1}
        name = f"msg_{next(_numbers):06d}"  # the CLI takes two messages of one id for parts of the same
        message = {"id": name, "type": "message", "role": "assistant", "model": request.body["model"], "content": []}
        found = [_event("message_start", message={**message, "stop_reason": None, "usage": usage})]
        for index, part in enumerate(reply.parts):
            if isinstance(part, model_server.Text):
                block: dict[str, Any] = {"type": "text", "text": ""}
                delta = {"type": "text_delta", "text": part.text}
            else:
                block = {"type": "tool_use", "id": f"toolu_{part.id}", "name": part.tool, "input": {}}
                delta = {"type": "input_json_delta", "partial_json": json.dumps(part.input)}
            found += [
                _event("content_block_start", index=index, content_block=block),
                _event("content_block_delta", index=index, delta=delta),
                _event("content_block_stop", index=index),
            ]
        stop = {"stop_reason": "tool_use" if reply.calls else "end_turn", "stop_sequence": None}
        found += [
            _event("message_delta", delta=stop, usage={"output_tokens": reply.output_tokens}),
            _event("message_stop"),
        ]
        return found

    def failure(self, failure: model_server.Failure) -> bytes:
        return json.dumps({"type": "error", "error": {"type": failure.kind, "message": failure.message}}).encode()


def _event(kind: str, **facts: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **facts})}\n\n".encode()
