"""How one value of the front matter is read: what each kind of key accepts, and the sentence when it gets another."""

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Final

from domain.agent import Autonomy, McpServer
from domain.hooks import SCRIPT_LIMIT
from domain.workflow_policy import Code, normal
from integrations.workflow_file.document import Node, kind_of

BACKENDS: Final = ("claude", "codex", "gemini", "kimi", "opencode")
"""Agents that a `command` may name."""
_LONGEST_TEXT: Final = 200
_MOST_ITEMS: Final = 50
DAY: Final = 24 * 3600.0
_VARIABLE: Final = re.compile(r"\$\{?\w+\}?")
_HOST: Final = re.compile(
    r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+(?::\d{1,5})?"
)
_LIST: Final = re.compile(r"[a-z][a-z0-9_-]{0,40}")
"""A list of hosts that the installation has a name for, such as `python`."""

_PERMISSION_MODES: Final = {
    "bypasspermissions": Autonomy.FULL,
    "acceptedits": Autonomy.EDIT,
    "default": Autonomy.EDIT,
    "dontask": Autonomy.EDIT,
    "plan": Autonomy.PLAN,
    **{each.value: each for each in Autonomy},
}


class Wrong(Exception):
    """A value is not what its key accepts. The sentence follows the key's name."""

    def __init__(self, sentence: str, node: Node, code: Code = Code.WRONG_VALUE) -> None:
        super().__init__(sentence)
        self.node = node
        self.code = code


Say = Callable[[Node, str], None]
"""Records a note beside a value that is taken."""
Convert = Callable[[Node, Say], object]


def text(node: Node, say: Say) -> str:
    if not isinstance(node.data, str) or not node.data.strip() or len(node.data) > _LONGEST_TEXT or "\n" in node.data:
        raise Wrong(f"is {kind_of(node)}, expected one line of text, at most {_LONGEST_TEXT} characters", node)
    return node.data.strip()


def texts(node: Node, say: Say) -> tuple[str, ...]:
    """A list of texts; also one text with commas, as Symphony reads them."""
    if isinstance(node.data, str):
        items = [Node(part.strip(), node.line, node.column) for part in node.data.split(",") if part.strip()]
    elif isinstance(node.data, list):
        items = node.data
    else:
        raise Wrong(f"is {kind_of(node)}, expected a list of texts", node)
    if len(items) > _MOST_ITEMS:
        raise Wrong(f"has {len(items)} entries, at most {_MOST_ITEMS} are read", node)
    return tuple(dict.fromkeys(text(item, say) for item in items))


def names(node: Node, say: Say) -> tuple[str, ...]:
    """Texts that are compared without regard to case."""
    return tuple(dict.fromkeys(normal(each) for each in texts(node, say)))


def script(node: Node, say: Say) -> str:
    if not isinstance(node.data, str) or not node.data.strip():
        raise Wrong(f"is {kind_of(node)}, expected a shell script as text", node)
    if len(node.data) > SCRIPT_LIMIT:
        raise Wrong(f"has {len(node.data)} characters, at most {SCRIPT_LIMIT} are read: call a file of yours", node)
    return node.data


def whole(least: int, most: int) -> Convert:
    """A whole number, also as text."""

    def convert(node: Node, say: Say) -> int:
        return _number(node, least, most)

    return convert


def seconds(most: float = DAY) -> Convert:
    """Milliseconds in the file, at most `most` seconds; seconds for us."""
    limit = int(most * 1000)

    def convert(node: Node, say: Say) -> float:
        return _number(node, 1, limit) / 1000

    return convert


def silence(node: Node, say: Say) -> float:
    """Symphony switches the detection off with 0 or less; a lost process would then hold its place for ever."""
    found = _number(node, -int(DAY * 1000), int(DAY * 1000))
    if found <= 0:
        say(node, "cannot be switched off: a silent agent is given the whole of its turn instead")
        return DAY
    return found / 1000


def choice(*accepted: str) -> Convert:
    def convert(node: Node, say: Say) -> str:
        if not isinstance(node.data, str) or node.data.strip() not in accepted:
            raise Wrong(f"is {_shown(node)}, expected one of {', '.join(accepted)}", node)
        return node.data.strip()

    return convert


def backend(node: Node, say: Say) -> str:
    """The agent that a command line starts. Fettle starts it itself, so arguments of the file are not used."""
    try:
        words = shlex.split(node.data) if isinstance(node.data, str) else []
    except ValueError:
        words = []
    name = words[0].rpartition("/")[2] if words else ""
    if name not in BACKENDS:
        raise Wrong(f"is {_shown(node)}, expected the name of an agent: {', '.join(BACKENDS)}", node)
    if words != [name]:
        say(node, f"names {name}; its path and arguments have no effect, since the agent host starts it")
    return name


def autonomy(node: Node, say: Say) -> Autonomy:
    found = _PERMISSION_MODES.get(node.data.strip().casefold()) if isinstance(node.data, str) else None
    if found is None:
        accepted = "bypassPermissions (full), acceptEdits (edit), default (edit), dontAsk (edit), plan (plan)"
        raise Wrong(f"is {_shown(node)}, expected one of {accepted}", node)
    return found


def tracker_kind(node: Node, say: Say) -> str:
    if node.data != "github":
        raise Wrong(
            f"is {_shown(node)}: issues come from the forge that the repository lies on, expected github",
            node,
            Code.TRACKER_KIND,
        )
    return "github"


def state_limits(node: Node, say: Say) -> dict[str, int]:
    """Entries without a positive number are ignored, as Symphony does, and said."""
    if not isinstance(node.data, Mapping):
        raise Wrong(f"is {kind_of(node)}, expected a map of state to number", node)
    found: dict[str, int] = {}
    for name, limit in node.data.items():
        try:
            found[normal(name)] = _number(limit, 1, 1000)
        except Wrong as wrong:
            say(limit, f"has the entry '{name[:40]}', which is ignored: it {wrong}")
    return found


def secret(node: Node, say: Say) -> None:
    """A credential. Fettle has its own and hands out none, so a `$NAME` does nothing, and a literal one is lost."""
    if not isinstance(node.data, str) or not _VARIABLE.fullmatch(node.data.strip()):
        raise Wrong(
            "holds a value, and everybody who reads the repository knows it: revoke it and remove the key", node
        )
    say(node, "has no effect: Fettle uses the credentials of its installation")


def provider(node: Node, say: Say) -> None:
    if not isinstance(node.data, Mapping):
        raise Wrong(f"is {kind_of(node)}, expected a map", node)
    for name, member in node.data.items():
        if re.search(r"token|key|secret|password", name, re.IGNORECASE):
            secret(member, say)
    say(node, "has no effect: the installation knows the forge, and the repository is the file's own")


def mcp_servers(node: Node, say: Say) -> tuple[McpServer, ...]:
    if not isinstance(node.data, list):
        raise Wrong(f"is {kind_of(node)}, expected a list of servers with name and command", node)
    servers = tuple(_server(item) for item in node.data)
    known: set[str] = set()
    for server, item in zip(servers, node.data, strict=True):
        if server.name in known:
            raise Wrong(f"has two servers with the name '{server.name}'", item)
        known.add(server.name)
    return servers


def egress(node: Node, say: Say) -> tuple[str, ...]:
    found = names(node, say)
    for host in found:
        if re.fullmatch(r"[\d.]+(?::\d+)?", host) or not (_HOST.fullmatch(host) or _LIST.fullmatch(host)):
            accepted = "host names such as api.example.com or api.example.com:443, and lists of the installation"
            raise Wrong(f"names '{host}', expected {accepted}", node)
    return found


def _server(node: Node) -> McpServer:
    if not isinstance(node.data, Mapping):
        raise Wrong(f"has an entry that is {kind_of(node)}, expected name and command", node)
    members = dict(node.data)
    name, command = members.pop("name", None), members.pop("command", None)
    args, env = members.pop("args", None), members.pop("env", None)
    for key, member in members.items():
        raise Wrong(f"has a server with the key '{key}', expected name, command, args, env", member)
    if name is None or not isinstance(name.data, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name.data):
        raise Wrong("has a server without a name of letters, digits, - and _", name or node)
    words = _words(name.data, command or node)
    return McpServer(name=name.data, command=words[0], args=(*words[1:], *_args(args)), env=_env(name.data, env))


def _words(name: str, node: Node) -> list[str]:
    try:
        words = shlex.split(node.data) if isinstance(node.data, str) else []
    except ValueError:
        words = []
    if not words:
        raise Wrong(f"has no command line for the server '{name}'", node)
    return words


def _args(node: Node | None) -> list[str]:
    if node is None:
        return []
    if not isinstance(node.data, list):
        raise Wrong(f"has args that are {kind_of(node)}, expected a list of texts", node)
    for item in node.data:
        if isinstance(item.data, Mapping | list | None):
            raise Wrong(f"has an argument that is {kind_of(item)}, expected text", item)
    return [str(item.data) for item in node.data]


def _env(name: str, node: Node | None) -> dict[str, str]:
    """Literal values alone: a file of the repository does not choose what leaves the host's environment."""
    if node is None:
        return {}
    if not isinstance(node.data, Mapping):
        raise Wrong(f"has an env that is {kind_of(node)}, expected a map of texts", node)
    for key, member in node.data.items():
        if isinstance(member.data, Mapping | list | None):
            raise Wrong(f"has the variable {key} of the server '{name}' that is {kind_of(member)}", member)
        if isinstance(member.data, str) and _VARIABLE.search(member.data):
            raise Wrong(
                f"asks for {member.data[:60]} in the variable {key} of the server '{name}': no variable of the agent "
                "host is given to a repository's file, write the value or leave it out",
                member,
            )
    return {key: str(member.data) for key, member in node.data.items()}


def _number(node: Node, least: int, most: int) -> int:
    found = node.data
    if isinstance(found, str) and re.fullmatch(r"[+-]?\d{1,12}", found.strip()):
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise Wrong(f"is {_shown(node)}, expected a whole number from {least} to {most}", node)
    return found


def _shown(node: Node) -> str:
    """The value itself where it is short and plain, else what it is."""
    if isinstance(node.data, str):
        return f"'{node.data[:60]}'"
    return str(node.data)[:60] if isinstance(node.data, bool | int | float) else kind_of(node)
