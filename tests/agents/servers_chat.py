"""Chat completions as a stream, as opencode's custom provider and Kimi speak them. A request without tools is about a
title and gets one."""

import json
from collections.abc import Sequence
from typing import Any

from tests.agents import model_server


class Chat:
    def is_turn(self, request: model_server.Request) -> bool:
        return request.path.endswith("/chat/completions") and bool(request.body.get("tools"))

    def side(self, request: model_server.Request) -> tuple[int, bytes]:
        if not request.path.endswith("/chat/completions"):
            return 404, self.failure(model_server.Failure(404, "not_found_error"))
        message = {"role": "assistant", "content": "A title"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return 200, json.dumps({**_FACTS, "object": "chat.completion", "choices": [choice]}).encode()

    def events(self, request: model_server.Request, reply: model_server.Reply) -> Sequence[bytes]:
        text = "".join(part.text for part in reply.parts if isinstance(part, model_server.Text))
        calls = [part for part in reply.parts if isinstance(part, model_server.Call)]
        delta: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            delta["tool_calls"] = [_call(index, call) for index, call in enumerate(calls)]
        usage = {
            "prompt_tokens": reply.input_tokens,
            "completion_tokens": reply.output_tokens,
            "total_tokens": reply.input_tokens + reply.output_tokens,
        }
        last = {"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}
        return [
            _event({**_FACTS, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}),
            _event({**_FACTS, "choices": [last], "usage": usage}),
            b"data: [DONE]\n\n",
        ]

    def failure(self, failure: model_server.Failure) -> bytes:
        return json.dumps({"error": {"message": failure.message, "type": failure.kind, "code": failure.kind}}).encode()


_FACTS = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "scripted"}


def _call(index: int, call: model_server.Call) -> dict[str, Any]:
    function = {"name": call.tool, "arguments": json.dumps(dict(call.input))}
    return {"index": index, "id": call.id, "type": "function", "function": function}


def _event(facts: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(facts)}\n\n".encode()
