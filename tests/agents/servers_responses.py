"""The Responses protocol, as Codex speaks it: `response.output_item.done` for each item, then `response.completed` with
an id. Items found nowhere else count; a stream without the last event is asked for again."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

from tests.agents import model_server

_numbers = itertools.count(1)


class Responses:
    def is_turn(self, request: model_server.Request) -> bool:
        return request.method == "POST" and request.path == "/v1/responses"

    def side(self, request: model_server.Request) -> tuple[int, bytes]:
        return 404, b"{}"

    def events(self, request: model_server.Request, reply: model_server.Reply) -> Sequence[bytes]:
        found = [_event("response.output_item.done", item=_item(part)) for part in reply.parts]
        usage = {
            "input_tokens": reply.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": reply.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": reply.input_tokens + reply.output_tokens,
        }
        return [*found, _event("response.completed", response={"id": f"resp_{next(_numbers):06d}", "usage": usage})]

    def failure(self, failure: model_server.Failure) -> bytes:
        error = {"type": failure.kind, "code": failure.kind, "message": failure.message}
        return json.dumps({"error": error}).encode()


def _item(part: model_server.Text | model_server.Call) -> dict[str, Any]:
    if isinstance(part, model_server.Text):
        content = [{"type": "output_text", "text": part.text}]
        return {"type": "message", "role": "assistant", "id": f"msg_{next(_numbers):06d}", "content": content}
    item = {"type": "function_call", "call_id": part.id, "arguments": json.dumps(part.input)}
    if part.tool.startswith("mcp__"):
        server, _, name = part.tool.removeprefix("mcp__").partition("__")
        return {**item, "namespace": f"mcp__{server}", "name": name}
    return {**item, "name": part.tool}


def _event(kind: str, **facts: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **facts})}\n\n".encode()
