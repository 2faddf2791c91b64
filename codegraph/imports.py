"""Import statements of each language, read from the text of one statement that a query has cut out."""

import re
from collections.abc import Callable

from codegraph import facts

Parsed = list[tuple[str, tuple[str, ...]]]
"""Module and the names taken from it, for each module that one statement names."""

_LIMIT = 512
"""Names of one statement that are kept; a longer list is generated."""

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_HASH_COMMENT = re.compile(r"#[^\n]*")
_STRING = re.compile(r"""(['"`])(.*?)\1""", re.DOTALL)
_WORD = re.compile(r"\w+")


def read(language: str, text: str, line: int) -> list[facts.Import]:
    """Imports of one statement; a statement that cannot be understood has none.

    Args:
        language: Name of the language.
        text: The whole statement.
        line: Its first line.
    """
    return [
        facts.Import(module, tuple(dict.fromkeys(names))[:_LIMIT], line)
        for module, names in _READERS[language](text)
        if module
    ]


def _names(text: str) -> tuple[str, ...]:
    """First word of every item of a list: what is taken, not what it is called afterwards."""
    found = []
    for item in text.split(","):
        words = _WORD.findall(item)
        if words and words[0] == "type" and len(words) > 1 and words[1] != "as":
            words = words[1:]
        if words:
            found.append(words[0])
    return tuple(found)


def _python(text: str) -> Parsed:
    flat = _HASH_COMMENT.sub("", text).replace("\\\n", " ")
    if flat.startswith("from"):
        module, found, names = flat[4:].partition(" import")
        if not found:
            module, _, names = flat[4:].partition("import")
        return [("".join(module.split()), _names(names.strip().strip("()")))]
    return [("".join(item.split(" as ")[0].split()), ()) for item in flat[len("import") :].split(",")]


_FROM = re.compile(r"(?:import|export)\s*(.*?)\s*from\s*$", re.DOTALL)
_BRACES = re.compile(r"\{(.*)\}", re.DOTALL)


def _javascript(text: str) -> Parsed:
    flat = text if len(text) < 200 and "/*" not in text and "\n" not in text else _uncommented(text)
    string = next((match for match in _STRING.finditer(flat)), None)
    if string is None:
        return []
    clause = flat[: string.start()]
    braces = _BRACES.search(clause)
    names = _names(braces[1]) if braces else ()
    if clause.startswith(("import", "export")):
        taken = _FROM.match(clause)
        if taken and taken[1] and taken[1][0] not in "{*":
            first = taken[1].removeprefix("type ").lstrip()
            if first and first[0] not in "{*":
                names = ("default", *names)
    return [(string[2], names)]


def _uncommented(text: str) -> str:
    return re.sub(r"""(['"`]).*?\1|//[^\n]*|/\*.*?\*/""", lambda m: m[0] if m[1] else " ", text, flags=re.DOTALL)


def _go(text: str) -> Parsed:
    string = _STRING.search(text)
    return [(string[2], ())] if string else []


_RUST_HEAD = re.compile(r"^(?:pub\s*(?:\([^)]*\))?\s*)?(use|extern\s+crate|mod)\b")


def _rust(text: str) -> Parsed:
    flat = _COMMENT.sub(" ", text).strip().rstrip(";").strip()
    head = _RUST_HEAD.match(flat)
    if head is None:
        return []
    rest = flat[head.end() :].strip()
    if head[1] == "mod":
        return [(f"self::{rest}", ())]
    if head[1] != "use":
        return [(rest.split(" ")[0], ())]
    return _use_tree(rest)


def _use_tree(text: str) -> Parsed:
    """`a::{b, c::{d, e}}` as `a` with `b`, and `a::c` with `d` and `e`; a single path stays whole."""
    found: dict[str, list[str]] = {}
    prefixes: list[str] = [""]
    current = ""
    for token in [*re.findall(r"[{},]|[^{},]+", text), ","]:
        if token == "{":
            prefixes.append(current.removesuffix("::"))
            current = ""
        elif token in ",}":
            _add_use(found, prefixes[-1], current, len(prefixes) > 1)
            current = ""
            if token == "}" and len(prefixes) > 1:
                prefixes.pop()
        else:
            path = "".join(token.split(" as ")[0].split())
            current = f"{prefixes[-1]}::{path}" if path and prefixes[-1] else path
    return [(module, tuple(names)) for module, names in found.items()]


def _add_use(found: dict[str, list[str]], prefix: str, path: str, grouped: bool) -> None:
    if not path:
        return
    head, _, last = path.rpartition("::")
    if last == "*":
        found.setdefault(head, [])
    elif last == "self":
        found.setdefault(head, []).append("self")
    elif grouped and head:
        found.setdefault(head, []).append(last)
    else:
        found.setdefault(path, [])


def _java(text: str) -> Parsed:
    words = _COMMENT.sub(" ", text).strip().rstrip(";").split()
    if len(words) < 2:
        return []
    path = "".join(words[1:]).removeprefix("static")
    if words[1] != "static":
        return [(path, ())]
    module, _, name = path.rpartition(".")
    return [(module, () if name == "*" else (name,))]


_INCLUDED = re.compile(r"""(?:"([^"\n]+)"|(<[^<>\n]+>))""")


def _c(text: str) -> Parsed:
    path = _INCLUDED.search(text)
    return [(path[1] or path[2], ())] if path else []


def _c_sharp(text: str) -> Parsed:
    words = _COMMENT.sub(" ", text).strip().rstrip(";").replace("=", " = ").split()
    return [
        ("".join(word for word in words[words.index("=") + 1 if "=" in words else 1 :] if word not in _CS_WORDS), ())
    ]


_CS_WORDS = frozenset(("using", "static", "unsafe", "global"))


def _php(text: str) -> Parsed:
    if not text.startswith("use"):
        string = _STRING.search(text)
        if string is None:
            return []
        before = text[: string.start()]
        up = before.count("dirname") - before.count("__FILE__")
        here = "__DIR__" in before or "__FILE__" in before
        return [(f".{'/..' * min(up, 20)}{string[2]}" if here else string[2], ())]
    flat = _COMMENT.sub(" ", text)[3:].strip().rstrip(";")
    flat = re.sub(r"^(?:function|const)\s+", "", flat)
    prefix, group, rest = flat.partition("{")
    if group:
        names = [re.sub(r"^(?:function|const)\s+", "", item.strip()) for item in rest.rstrip("} \n").split(",")]
        return [(prefix.strip().strip("\\"), tuple(name.split()[0] for name in names if name))]
    return [(item.split()[0].lstrip("\\"), ()) for item in flat.split(",") if item.strip()]


_RUBY_HERE = re.compile(r"#\{\s*(?:__dir__|File\.dirname\(__FILE__\))\s*\}")


def _ruby(text: str) -> Parsed:
    string = next(iter(_STRING.finditer(text)), None)
    if string is None:
        return []
    path = _RUBY_HERE.sub(".", string[2])
    around = text[: string.start()] + text[string.end() :]
    if "expand_path" in around and "__FILE__" in around and "dirname" not in around:
        path = f"./{path.removeprefix('../')}"  # as seen from the file as if that were a folder
    elif "__dir__" in around or "__FILE__" in around or text.startswith("require_relative"):
        path = path if path.startswith(".") else f"./{path.lstrip('/')}"
    return [(path, ())]


_EXPANSION = re.compile(r"\$\([^()]*\)|`[^`]*`|\$\{[^{}$]*\}|\$[0_](?!\w)|\$BASH_SOURCE\b")
_SELF = re.compile(r"BASH_SOURCE|\$\{?0\b|\x01")
_UP = re.compile(r"\bdirname\b|%/\*|/\.\.|\x02")
_OWN = re.compile(r"\x01(\x02*)")
"""The script itself, and how many folders above it."""
_MARKED = {1: None, 2: None, 3: "{", 4: "}"}


def _bash(text: str) -> Parsed:
    """What is sourced; what a script finds out of its own folder is `.`, and what it asks others for is a variable."""
    rest = text[:2_000].partition(" ")[2] or text.partition("\t")[2]
    for _ in range(5):
        rest, count = _EXPANSION.subn(_expanded, rest)
        if not count:
            break
    words = rest.replace('"', "").replace("'", "").split()
    if not words:
        return []
    path = _OWN.sub(lambda found: "/".join([".", *[".."] * (len(found[1]) - 1)]), words[0])
    return [] if path.startswith("<(") else [(path.translate(_MARKED), ())]


def _expanded(found: "re.Match[str]") -> str:
    said = found[0]
    if _SELF.search(said):
        return "\x01" + "\x02" * len(_UP.findall(said))
    if said.startswith("${"):
        return "$\x03" + (re.match(r"\w*", said[2:]) or [""])[0] + "\x04"
    return "$\x03_\x04" if said[1:2] == "(" or said[0] == "`" else said


_READERS: dict[str, Callable[[str], Parsed]] = {
    "bash": _bash,
    "c": _c,
    "c-sharp": _c_sharp,
    "cpp": _c,
    "go": _go,
    "java": _java,
    "javascript": _javascript,
    "php": _php,
    "python": _python,
    "ruby": _ruby,
    "rust": _rust,
    "tsx": _javascript,
    "typescript": _javascript,
}
