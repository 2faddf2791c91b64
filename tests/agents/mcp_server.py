"""A tool server over standard input and output, the smallest that the CLIs take: its tool `stamp` writes a file."""

import json
import os
import sys
from pathlib import Path
from typing import Any

_TOOL = {
    "name": "stamp",
    "description": "Write a word into a file",
    "inputSchema": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
}


def _answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    match method:
        case "initialize":
            capabilities: dict[str, Any] = {"tools": {}}
            info = {"name": "desk", "version": "1"}
            return {"protocolVersion": params["protocolVersion"], "capabilities": capabilities, "serverInfo": info}
        case "tools/list":
            return {"tools": [_TOOL]}
        case "tools/call":
            Path(sys.argv[1]).write_text(f"{params['arguments']['word']} {os.environ.get('STAMP', '')}")
            return {"content": [{"type": "text", "text": "stamped"}]}
        case _:
            return {}


def main() -> None:
    for line in sys.stdin:
        call = json.loads(line)
        if "id" in call:
            result = _answer(call.get("method", ""), call.get("params") or {})
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
