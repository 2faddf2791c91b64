"""Paths as runtimes and bundlers write them, brought to one form: folders and a file name, no scheme, host or query."""

import dataclasses
import re
import urllib.parse
from typing import Final

_LONGEST: Final = 4_096
_DEEPEST: Final = 60
_SCHEME: Final = re.compile(r"(?:async )?([a-z][a-z0-9+.-]+):(?=/|[^:/\\\d])(//)?", re.I)
_WITH_HOST: Final = frozenset({"http", "https", "ws", "wss", "capacitor", "ionic", "deno", "electron"})
_NAMED: Final = frozenset({"webpack", "webpack-internal", "turbopack", "rspack"})
_FOREIGN: Final = frozenset([
    "node", "bun", "ext", "deno-internal", "about", "data", "javascript", "native", "debugger", "wasm", "resource",
    "chrome", "chrome-extension", "moz-extension", "safari-extension", "safari-web-extension", "ms-browser-extension",
    "edge-extension", "evalmachine", "internal",
])  # fmt: skip
_PSEUDO: Final = re.compile(
    r"""<[^/\\]*>.*|\[[^/\\]*\]|\((?:eval|null|unknown|irb|erb)[^/\\]*\).*|eval (?:at|code)\b.*
      | native(?:\ code)?|native\ method|unknown(?:\ source|\ file)?|anonymous|undefined|null|none|index\ \d+|\?+|-+""",
    re.X | re.I,
)
_LOADER: Final = re.compile(r"!(?=\.{0,2}/|[a-z]:[\\/])", re.I)
_QUERY: Final = re.compile(r"(\.\w{1,6})[?#].*", re.S)
_POSITION: Final = re.compile(r"(?:(?<=\.\w\w)|(?<=\.\w\w\w)|(?<=\.\w)|(?<=\.\w{4})):\d+(?::\d+)?\Z")
_DRIVE: Final = re.compile(r"/*[A-Za-z]:(?=/)")
_GROUP: Final = re.compile(
    r"\([\w-]+\)|\[(?:project|root-of-the-server|output|app|client|turbopack)[^\[\]]*\](?: \([^()]*\))?"
)
_ESCAPED: Final = re.compile(r"!([a-z])")


@dataclasses.dataclass(frozen=True, slots=True)
class Spelling:
    """One path of a frame.

    Attributes:
        parts: Folders and the file name; empty when the text names no file.
        scheme: Scheme in lower case, or empty.
        host: What stands where a URL has its host: a host name, or the name of a bundle.
        rooted: Whether the path begins at a root (of a disk, a host or a bundle).
        folded: Whether it comes from a file system that takes `A` for `a`.
        pseudo: Whether it stands for code that is in no file (`<string>`, `native code`).
        runtime: Whether its scheme is one that only runtimes and extensions use.
    """

    parts: tuple[str, ...] = ()
    scheme: str = ""
    host: str = ""
    rooted: bool = False
    folded: bool = False
    pseudo: bool = False
    runtime: bool = False


def read(text: str) -> Spelling:
    """One path in its plain form. No text raises."""
    text = "".join(char for char in text[:_LONGEST].strip() if char.isprintable())
    if not text or _PSEUDO.fullmatch(text):
        return Spelling(pseudo=True)
    text = _LOADER.split(text)[-1]
    scheme, host, text = _unwrapped(text)
    if scheme in _FOREIGN:
        return Spelling(tuple(part for part in text.split("/") if part), scheme, runtime=True)
    if scheme and "%" in text:
        text = urllib.parse.unquote(text)
    text = _POSITION.sub("", _QUERY.sub(r"\1", text))
    folded = "\\" in text or _DRIVE.match(text) is not None
    text = text.replace("\\", "/")
    drive = _DRIVE.match(text)
    text = text[drive.end() :] if drive else text
    parts = _parts(text, scheme)
    if not parts or _PSEUDO.fullmatch(parts[-1]):
        return Spelling(scheme=scheme, host=host, pseudo=True)
    return Spelling(tuple(parts[-_DEEPEST:]), scheme, host, bool(scheme) or text.startswith("/"), folded)


def _unwrapped(text: str) -> tuple[str, str, str]:
    """First scheme that says something, the host beside it, and the rest of the text."""
    scheme = host = ""
    for _ in range(4):
        found = _SCHEME.match(text)
        if not found:
            break
        scheme, text = found[1].lower(), text[found.end() :]
        if found[2] and (scheme in _WITH_HOST or scheme in _NAMED):
            host, _, text = text.partition("/")
            host, text = (host, f"/{text}") if host not in {".", ".."} else ("", f"/{host}/{text}")
        elif scheme == "file":
            text = text.removeprefix("localhost")
    return scheme, host, text


def _parts(text: str, scheme: str) -> list[str]:
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part == "~" and (parts or scheme == "webpack"):
            parts.append("node_modules")  # an old spelling of webpack
        elif part not in {"", ".", "~"} and (parts or not (scheme in _NAMED and _GROUP.fullmatch(part))):
            parts.append(part)
    if "@fs" in parts:
        parts = parts[parts.index("@fs") + 1 :]
    if "mod" in parts and "@v" in "/".join(parts):
        parts = [_ESCAPED.sub(lambda found: found[1].upper(), part) for part in parts]
    return parts


_SCRIPT_ENDINGS: Final = (".d.ts", ".d.mts", ".d.cts", ".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs")
_COMPILED: Final = (".js", ".jsx", ".mjs", ".cjs", ".d.ts", ".d.mts", ".d.cts")
_ALIKE: Final = {".pyc": ".py", ".pyo": ".py", ".class": ".java", ".kts": ".kt"}
_CACHED: Final = re.compile(r"\.(?:cpython|pypy)-?\d+(?:\.opt-\d)?(?=\.py[co]\Z)")


def stem(name: str) -> str:
    """What a file name and the names of the files it is compiled to have in common."""
    name = _CACHED.sub("", name.removesuffix(".map"))
    for ending in _SCRIPT_ENDINGS:
        if name.endswith(ending):
            return f"{name.removesuffix(ending).removesuffix('.min')}.ts"
    head, dot, ending = name.rpartition(".")
    return f"{head}{_ALIKE.get(dot + ending, dot + ending)}" if head else name


def may_come_from(name: str, source: str) -> bool:
    """Whether a file of the first name may be the second one, or may have been compiled from it. Their stems agree."""
    if name == source or not stem(name).endswith(".ts"):
        return True
    if source.endswith((".d.ts", ".d.mts", ".d.cts")):  # declarations: nothing runs there
        return False
    if name.endswith(_COMPILED):
        return True
    return not source.endswith((".js", ".jsx", ".mjs", ".cjs"))


def compiled(name: str) -> bool:
    """Whether a file of this name may have been written by a compiler or bundler of scripts."""
    return name.removesuffix(".map").endswith(_COMPILED)
