"""`streamGenerateContent`, as Gemini CLI speaks it. An answer without a word is asked for again, unseen."""

import json
from collections.abc import Sequence
from typing import Any

from tests.agents import model_server


class Gemini:
    def is_turn(self, request: model_server.Request) -> bool:
        return ":streamGenerateContent" in request.path and bool(request.body.get("tools"))

    def side(self, request: model_server.Request) -> tuple[int, bytes]:
        return 404, self.failure(model_server.Failure(404, "NOT_FOUND"))

    def events(self, request: model_server.Request, reply: model_server.Reply) -> Sequence[bytes]:
        parts = [_part(part) for part in reply.parts]
        counted = {
            "promptTokenCount": reply.input_tokens,
            "candidatesTokenCount": reply.output_tokens,
            "totalTokenCount": reply.input_tokens + reply.output_tokens,
        }
        return [
            _event({"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}}]}),
            _event(
                {
                    "candidates": [{"index": 0, "content": {"role": "model", "parts": []}, "finishReason": "STOP"}],
                    "usageMetadata": counted,
                }
            ),
        ]

    def failure(self, failure: model_server.Failure) -> bytes:
        facts = {"code": failure.status, "message": failure.message, "status": failure.kind}
        return json.dumps({"error": facts}).encode()


def _part(part: model_server.Text | model_server.Call) -> dict[str, Any]:
    if isinstance(part, model_server.Text):
        return {"text": part.text}
    return {"functionCall": {"id": part.id, "name": part.tool, "args": dict(part.input)}}


def _event(facts: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(facts)}\n\n".encode()
