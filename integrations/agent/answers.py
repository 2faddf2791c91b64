"""Answers in a given shape from CLIs that have no switch for a schema: asked for in words, found in the last words.

Whether an answer fits is not judged here; `verdicts.checked` does that for every backend.
"""

import json
import re
from typing import Final

from domain import agent

_FENCED: Final = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n[ \t]*```", re.DOTALL)
_LONGEST: Final = 1024 * 1024


def asked(prompt: str, request: agent.TurnRequest) -> str:
    """The prompt, and after it what the answer has to look like."""
    if not request.answer_schema:
        return prompt
    return (
        f"{prompt}\n\n## Answer\n\nEnd with one JSON object and nothing after it. It has to fit this JSON Schema:\n\n"
        f"{request.answer_schema}\n"
    )


def given(said: str) -> str:
    """The JSON object in what was said last: all of it, else its last fenced block, else what its outer braces hold.
    Empty when there is none."""
    text = said.strip()[-_LONGEST:]
    blocks = _FENCED.findall(text)
    candidates = [text, *blocks[-1:], text[text.find("{") : text.rfind("}") + 1]]
    return next((found for found in map(_object, candidates) if found), "")


def _object(text: str) -> str:
    try:
        value = json.loads(text)
        return json.dumps(value, allow_nan=False) if isinstance(value, dict) else ""
    except (ValueError, RecursionError):
        return ""
